import json
from pathlib import Path

import numpy as np

from alexnet_jax.data import digits
from alexnet_jax.data.preparation.builder import decode, resolve_data_dir


def test_where_prepared_data_lies(monkeypatch, tmp_path):
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    assert resolve_data_dir(None) == tmp_path
    assert resolve_data_dir("/there") == resolve_data_dir("/there/")
    monkeypatch.delenv("TFDS_DATA_DIR")
    assert resolve_data_dir(None).parts[-1] == "tensorflow_datasets"


def test_another_formats_copy_is_left_alone(tmp_path, capsys):
    folder = tmp_path / "digits" / "1.0.0"
    folder.mkdir(parents=True)
    (folder / "dataset_info.json").write_text(json.dumps({"fileFormat": "tfrecord"}))
    builder = digits.load(tmp_path)
    assert str(tmp_path / "alexnet_jax") in str(builder.data_path)
    out = capsys.readouterr().out
    assert f"{folder} holds tfrecord" in out
    assert [path.name for path in folder.iterdir()] == ["dataset_info.json"]


def test_the_decoded_copy(tmp_path):
    """It is read in place of the records, unless it is damaged or another's."""
    builder = digits.load(tmp_path)
    kept = Path(builder.data_path) / "test-decoded.npz"
    image, label = decode(builder, "test")
    assert kept.exists()
    with np.load(kept) as file:
        np.savez(kept, image=file["image"] ^ 1, label=file["label"])
    np.testing.assert_array_equal(decode(builder, "test")[0], image ^ 1)
    for damaged in (b"", kept.read_bytes()[:-3000], kept.read_bytes()[:3000] * 2):
        kept.write_bytes(damaged)
        again = decode(builder, "test")
        np.testing.assert_array_equal(again[0], image)
        np.testing.assert_array_equal(again[1], label)
    np.savez(kept, image=image[:-1], label=label[:-1])
    assert len(decode(builder, "test")[1]) == len(label)
    # Where it cannot be laid, the records serve.
    kept.unlink()
    kept.mkdir()
    np.testing.assert_array_equal(decode(builder, "test")[0], image)
    assert not list(kept.parent.glob("*.part"))
