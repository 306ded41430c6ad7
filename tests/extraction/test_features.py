"""Features of pictures: from the command, from code, and by the network itself."""

import csv
import importlib.util
import json
import os
import re
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from PIL import Image
from pyarrow import parquet

import alexnet_jax.features as command
from alexnet_jax.data.pictures import read_picture
from alexnet_jax.errors import InputError
from alexnet_jax.extraction.outputs import POOLS
from alexnet_jax.features import main
from alexnet_jax.trained import TrainedModel
from tests.exporting.runs import make_run
from tests.helpers import activations

ENDINGS = [".npz", ".csv", ".parquet"]
if importlib.util.find_spec("h5py"):  # an extra
    ENDINGS += [".h5", ".hdf5"]


@pytest.fixture(scope="module")
def network(trained):
    return TrainedModel(trained)


@pytest.fixture(scope="module")
def digits(network):
    return network.open_split("test").image


@pytest.fixture(scope="module")
def folder(digits, tmp_path_factory):
    """Ten pictures, two of them below, in an order that is not that of their digits."""
    folder = tmp_path_factory.mktemp("pictures")
    (folder / "c,d").mkdir()
    for i, digit in enumerate(digits[:10, ..., 0]):
        name = f"{(7 * i) % 10}.png"
        Image.fromarray(digit).save(folder / ("c,d" if i < 2 else "") / name)
    return folder


@pytest.fixture
def broken(folder, tmp_path):
    """The same, and broken ones: one between, and all of the last batch of four."""
    shutil.copytree(folder, tmp_path / "some")
    for name in ("2b.png", "z1.png", "z2.png"):
        (tmp_path / "some" / name).write_bytes(b"broken")
    return tmp_path / "some"


def extract(*argv):
    main([str(word) for word in argv])


def read(file):
    """The paths and the layers of a file; CSV's and Parquet's flat."""
    if file.suffix == ".npz":
        with np.load(file) as found:
            layers = {name: found[name] for name in found.files}
    elif file.suffix == ".csv":
        with open(file, newline="") as lines:
            header, *rows = csv.reader(lines)
        values = np.array([row[1:] for row in rows]).astype(np.float32)
        layers = {"path": np.array([row[0] for row in rows])}
        names = [column.rpartition("_")[0] for column in header[1:]]
        for name in dict.fromkeys(names):
            chosen = [i for i, other in enumerate(names) if other == name]
            layers[name] = values[:, chosen]
            wanted = [f"{name}_{i}" for i in range(len(chosen))]
            assert [header[1 + i] for i in chosen] == wanted
    elif file.suffix == ".parquet":
        table = parquet.read_table(file).to_pydict()
        layers = {
            name: np.array(column, None if name == "path" else np.float32)
            for name, column in table.items()
        }
    else:
        h5py = pytest.importorskip("h5py")
        with h5py.File(file) as found:
            layers = {name: found[name][()] for name in found}
            layers["path"] = found["path"].asstr()[()]
    layers.pop("metadata", None)
    return [str(path) for path in layers.pop("path")], layers


def names_below(folder):
    return sorted(str(path) for path in folder.rglob("*") if path.is_file())


@pytest.mark.heavy
def test_command_code_and_network_agree(trained, network, digits, folder, tmp_path):
    out = tmp_path / "made" / "f.npz"
    argv = ("--layers=conv2, sigmoid*,fc5", f"--output={out}", "--batch-size=4")
    extract(trained, folder, *argv)
    paths, layers = read(out)
    assert paths == names_below(folder)
    images = np.stack([np.asarray(Image.open(path))[..., None] for path in paths])
    assert not np.array_equal(images, digits[:10])  # in the order of their names
    names = [name for name in network.layer_names if "sig" in name]
    assert [*layers] == sorted(["conv2", "fc5", *names], key=network.layer_names.index)
    by_code = network.features(images, ["conv2", "sigmoid*", "fc5"])
    by_files = network.features(folder, "conv2,sigmoid*,fc5")
    variables = {"params": network.weights["params"]}
    own = activations(network.model, variables, network._preprocess(images))
    one = network.features(images[3:4], [*layers])
    for name, rows in layers.items():
        assert rows.dtype == np.float32 and len(rows) == 10
        assert rows.std(axis=0).max() > 1e-4
        np.testing.assert_array_equal(by_files[name], by_code[name])
        for other in (by_code[name], np.asarray(own[name])):
            np.testing.assert_allclose(rows, other, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(rows[3:4], one[name], rtol=1e-4, atol=1e-5)
    assert (own["conv2"] < 0).any() and (own["sigmoid2"] >= 0).all()


@pytest.mark.parametrize("pool", ["mean", "max"])
def test_maps_are_pooled(pool, trained, network, folder, tmp_path):
    out = tmp_path / "f.npz"
    extract(trained, folder, "--layers=conv1,fc4", f"--pool={pool}", f"--output={out}")
    _, layers = read(out)
    whole = network.features(folder, ["conv1", "fc4"])
    wanted = getattr(whole["conv1"], pool)(axis=(1, 2))
    np.testing.assert_allclose(layers["conv1"], wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(layers["fc4"], whole["fc4"])
    pooled = network.features(folder, "conv1", pool=pool)["conv1"]
    np.testing.assert_array_equal(layers["conv1"], pooled)


@pytest.mark.slow
def test_all_endings_agree_to_the_bit(trained, folder, tmp_path):
    found = {}
    for ending in ENDINGS:
        out = tmp_path / f"f{ending.upper() if ending == '.csv' else ending}"
        extract(
            trained, folder, "--layers=conv1,fc5", "--batch-size=3", f"--output={out}"
        )
        found[ending] = read(out.rename(tmp_path / f"f{ending}"))
    paths, layers = found[".npz"]
    for ending, (other_paths, others) in found.items():
        assert other_paths == paths and [*others] == [*layers], ending
        for name, rows in layers.items():
            flat = others[name].reshape(len(rows), -1)
            assert flat.dtype == np.float32
            np.testing.assert_array_equal(flat, rows.reshape(len(rows), -1))
        if ending in (".npz", ".h5", ".hdf5"):
            assert others["conv1"].shape == (10, 28, 28, 6)


def test_a_file_says_where_it_comes_from(trained, folder, tmp_path):
    for ending in {".npz", ".parquet", ".h5"} & {*ENDINGS}:
        extract(trained, folder, "--pool=max", f"--output={tmp_path / f'f{ending}'}")
    with np.load(tmp_path / "f.npz") as npz:
        texts = [str(npz["metadata"])]
    if ".h5" in ENDINGS:
        with pytest.importorskip("h5py").File(tmp_path / "f.h5") as h5:
            texts.append(h5.attrs["metadata"])
    schema = parquet.read_schema(tmp_path / "f.parquet")
    table = parquet.ParquetFile(tmp_path / "f.parquet").metadata.metadata
    texts.append(table[b"metadata"].decode())
    assert schema.field("sigmoid4").metadata[b"shape"] == b"[84]"
    assert len({*texts}) == 1
    found = json.loads(texts[0])
    assert found["run"] == str(trained) and found["step"] == 8
    assert found["layers"] == {"sigmoid4": [84]} and found["pool"] == "max"
    assert found["preprocessing"]["data.scale"] == "standard"
    assert found["dtype"] == "float32"


@pytest.mark.heavy
@pytest.mark.parametrize("ending", ENDINGS)
def test_broken_pictures_have_no_row(ending, trained, folder, broken, tmp_path, capsys):
    out = tmp_path / f"f{ending}"
    with pytest.raises(SystemExit, match="^1$"):
        extract(trained, broken, "--layers=fc5", "--batch-size=4", f"--output={out}")
    paths, layers = read(out)
    assert [path.replace(str(broken), str(folder)) for path in paths] == names_below(
        folder
    )
    good = TrainedModel(trained).features(folder, "fc5")["fc5"]
    np.testing.assert_allclose(layers["fc5"], good, rtol=1e-4, atol=1e-5)
    shown, err = capsys.readouterr()
    lines = err.splitlines()
    for name, line in zip(("2b", "z1", "z2"), lines, strict=False):
        assert line.startswith("error: ") and f"{name}.png: is not a picture" in line
    assert lines[3:] == ["error: 3 of 13 pictures have no row"]
    assert f"{out}, 10 rows, " in shown
    with pytest.raises(InputError, match="2b.png: is not a picture"):
        TrainedModel(trained).features(broken, "fc5")


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_error_leaves_what_was_there(ending, trained, tmp_path, capsys, monkeypatch):
    out = tmp_path / "out" / f"f{ending}"
    out.parent.mkdir()
    out.write_text("old")
    bad = tmp_path / "a.png"
    bad.write_bytes(b"broken")
    with pytest.raises(SystemExit, match="^1$"):
        extract(trained, bad, bad, f"--output={out}")
    *lines, last = capsys.readouterr().err.splitlines()
    assert len(lines) == 2
    assert last == "error: IMAGE: none of 2 can be read; nothing is written"

    def interrupted(*args, **kwargs):
        yield from TrainedModel.stream_features(*args, **kwargs)
        raise KeyboardInterrupt

    Image.new("L", (8, 8)).save(bad)
    network = TrainedModel(trained)
    monkeypatch.setattr(
        network,
        "stream_features",
        lambda *args, **how: interrupted(network, *args, **how),
    )
    monkeypatch.setattr("alexnet_jax.trained.TrainedModel", lambda source: network)
    with pytest.raises(SystemExit, match="^130$"):
        extract(trained, bad, f"--output={out}")
    assert [*out.parent.iterdir()] == [out] and out.read_text() == "old"


def test_a_second_call_does_not_read_the_first_ones_file(trained, broken, tmp_path):
    for name in ("2b.png", "z1.png", "z2.png"):
        (broken / name).unlink()
    for _ in range(2):
        extract(trained, broken, f"--output={broken / 'f.npz'}")
    assert len(read(broken / "f.npz")[0]) == 10


@pytest.mark.parametrize(
    ("image", "output"),
    [("f.npz", "f.npz"), ("../HERE/f.npz", "f.npz"), (".", "link.npz")],
)
def test_no_picture_is_replaced(image, output, tmp_path, error_line):
    Image.new("L", (8, 8)).save(tmp_path / "a.png")
    (tmp_path / "a.png").rename(tmp_path / "f.npz")
    (tmp_path / "f.npz").rename(tmp_path / ("b.png" if image == "." else "f.npz"))
    if image == ".":
        (tmp_path / "link.npz").symlink_to("b.png")
    before = {*tmp_path.iterdir()}
    image = tmp_path / image.replace("HERE", tmp_path.name)
    line = error_line(main, "nothing", image, f"--output={tmp_path / output}")
    assert line.endswith(" is one of the images; choose another file")
    assert {*tmp_path.iterdir()} == before


def test_a_folder_of_an_output_alone(tmp_path, error_line):
    (tmp_path / "f.npz").touch()
    out = f"--output={tmp_path}/../{tmp_path.name}/f.npz"
    line = error_line(main, "nothing", tmp_path, out)
    assert line.startswith("error: IMAGE: there is no file but that of --output, ")


@pytest.mark.heavy
def test_dark_on_light_is_noted_and_turned(trained, digits, tmp_path, capsys):
    for i in range(3):
        Image.fromarray(255 - digits[0, ..., 0]).save(tmp_path / f"{i}.png")
    out = tmp_path / "f.npz"
    extract(trained, tmp_path, f"--output={out}")
    assert "note      of 3: its background is brighter" in capsys.readouterr().out
    extract(trained, tmp_path, "--invert", "--layers=fc5", f"--output={out}")
    assert "note  " not in capsys.readouterr().out
    wanted = TrainedModel(trained).features(digits[:1], "fc5")["fc5"]
    np.testing.assert_allclose(read(out)[1]["fc5"][:1], wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.heavy
def test_paths_of_any_bytes_are_the_same_in_all(trained, digits, tmp_path):
    for name in (
        'a "b", c.png',
        "d\ne.png",
        "e\rf.png",
        b"f\xff.png".decode(errors="surrogateescape"),
    ):
        Image.fromarray(digits[0, ..., 0]).save(tmp_path / name)
    out = tmp_path.parent / f"{tmp_path.name}-out"
    found = []
    for ending in ENDINGS:
        extract(trained, tmp_path, f"--output={out / f'f{ending}'}")
        found.append(read(out / f"f{ending}")[0])
    assert all(paths == found[0] for paths in found)
    assert found[0][:2] == [f'{tmp_path}/a "b", c.png', f"{tmp_path}/d\ne.png"]
    assert found[0][2:] == [f"{tmp_path}/e\rf.png", f"{tmp_path}/f\\udcff.png"]


@pytest.mark.slow
def test_pictures_of_any_size_and_runs_that_came_from_elsewhere(tmp_path):
    """In bfloat16, with ten views: features are float32, of the center."""
    changes = {"dtype": "bfloat16", "data.image_size": (67, 67), "eval.views": 10}
    make_run(
        tmp_path / "run", "alexnet_torchvision", (72, 72, 3),
        **changes, **{"augment.canvas": (72, 72)},
    )  # fmt: skip
    (tmp_path / "pictures").mkdir()
    for i, shape in enumerate([(90, 120, 3), (300, 80, 3), (67, 67), (72, 72, 4)]):
        pixels = np.random.default_rng(i).integers(0, 256, shape, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "pictures" / f"{i}.png")
    out = tmp_path / "f.npz"
    extract(
        tmp_path / "run", tmp_path / "pictures", "--layers=relu*", f"--output={out}"
    )
    _, layers = read(out)
    assert [*layers] == [f"relu{i}" for i in range(1, 8)]
    network = TrainedModel(tmp_path / "run", views=1)
    paths = sorted((tmp_path / "pictures").iterdir())
    images = np.stack([read_picture(path, network.spec).image for path in paths])
    center = network._preprocess(images).astype("bfloat16")
    assert center.shape == (4, 67, 67, 3)
    params = jax.tree.map(lambda x: x.astype("bfloat16"), network.weights["params"])
    own = activations(network.model, {"params": params}, center)
    for name, rows in layers.items():
        assert rows.dtype == np.float32 and rows.shape == own[name].shape
        wanted = np.asarray(own[name], np.float32)
        np.testing.assert_allclose(rows, wanted, rtol=0, atol=0.02 * wanted.max())
        assert rows.min() == 0 < rows.max()


def test_flags_know_the_poolings():
    assert tuple(POOLS) == command._POOLS


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["--output=f.txt"], "--output must end in one of .npz, .csv, .parquet, .h5, "),
        (["--output=f"], r"--output must end in one of .*; got '.*f'"),
        (["--output=folder.npz"], r"--output: .*folder.npz is no file"),
        (["--output=file/f.npz"], "--output: .*file is no folder"),
        (["--output=file/new/f.csv"], "--output: .*file is no folder"),
        (["--output="], "argument --output: must not be empty"),
        ([], "the following arguments are required: --output"),
        (
            ["--output=f.npz", "--layers=fc9"],
            "--layers: no layer is named 'fc9'; the n",
        ),
        (["--output=f.npz", "--layers=relu*"], r"--layers: no layer is named 'relu\*'"),
        (["--output=f.npz", "--layers="], "--layers must name a layer, such as 'fc5'"),
        (["--output=f.npz", "--layers=,"], "--layers must name a layer, such as 'fc5'"),
        (["--output=f.npz", "--pool=min"], "argument --pool: invalid choice: 'min'"),
        (["--output=f.npz", "--batch-size=0"], "argument --batch-size: must be at lea"),
    ],
)
def test_bad_input(argv, line, trained, folder, tmp_path, error_line, monkeypatch):
    def refuse(*args):
        raise AssertionError("a network was run")

    monkeypatch.setattr("alexnet_jax.trained.make_outputs", refuse)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder.npz").mkdir()
    (tmp_path / "file").touch()
    assert re.search(line, error_line(main, trained, folder, *argv))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder.npz"]


def test_a_folder_without_pictures(trained, tmp_path, error_line):
    (tmp_path / "empty").mkdir()
    line = error_line(main, trained, tmp_path / "empty", f"--output={tmp_path}/f.npz")
    assert "empty contains no files" in line


def test_arrays_of_any_kind_and_files_in_code(network, digits, folder):
    wanted = network.features(digits[:2], "fc5")["fc5"]
    for images in (jax.numpy.asarray(digits[:2]), list(digits[:2])):
        np.testing.assert_array_equal(network.features(images, "fc5")["fc5"], wanted)
    paths = names_below(folder)
    whole = network.features(folder, "fc5")["fc5"]
    for images, count in ((paths[0], 1), (paths[:3], 3), ([paths[0], folder], 11)):
        found = network.features(images, "fc5")["fc5"]
        assert len(found) == count
        np.testing.assert_allclose(found[0], whole[0], rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="images must be"):
        network.features(np.zeros((2, 8, 8, 3), np.uint8), "fc5")


def test_images_in_code_are_read_once(network, folder):
    paths = names_below(folder)[:3]
    wanted = network.features(paths, "fc5")["fc5"]
    arrays = [read_picture(Path(path), network.spec).image for path in paths]
    for images in (
        (path for path in paths),
        map(Path, paths),
        iter(paths),
        tuple(paths),
        np.array(paths),
        np.array(paths, object),
        map(np.asarray, arrays),
        (jax.numpy.asarray(one) for one in arrays),
        tuple(arrays),
    ):
        found = network.features(images, (name for name in ["fc5"]))["fc5"]
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)


DIGIT = np.zeros((8, 8, 1), np.uint8)


class Tensor:
    """Another library's, which NumPy cannot take."""

    def __init__(self, error):
        self.error = error

    def __array__(self, dtype=None, copy=None):
        raise self.error


@pytest.mark.parametrize(
    ("images", "line"),
    [
        ([], "several paths; got none"),
        ((), "several paths; got none"),
        (iter([]), "several paths; got none"),
        ("", ": a path must not be empty"),
        (["", "a.png"], ": a path must not be empty"),
        ("gs://bucket/a.png", ": 'gs://bucket/a.png' is an address"),
        (np.zeros((0, 8, 8, 1), np.uint8), r"N >= 1; got \(0, 8, 8, 1\) uint8"),
        (None, "got NoneType"),
        ([None], "got several NoneType"),
        (5, "got int"),
        (5.0, "got float"),
        (True, "got bool"),
        (b"a.png", "got bytes"),
        ([b"a.png"], "got several bytes"),
        ({"a.png": 1}, "got dict"),
        ({"a.png"}, "got set"),
        (object(), "got object"),
        (Image.new("L", (8, 8)), "got Image"),
        (["a.png", DIGIT], "got paths and ndarray mixed"),
        ([DIGIT, Path("a.png")], "got paths and ndarray mixed"),
        (["a.png", None], "got paths and NoneType mixed"),
        ([DIGIT, DIGIT[:4]], "got ndarray of several shapes"),
        ([[[0, 0], [0]]], "got list of several shapes"),
        (Tensor(TypeError("can't convert cuda:0")), r"got Tensor, .* cuda:0\)$"),
        (Tensor(RuntimeError("requires grad")), r"got Tensor, .* \(requires grad\)$"),
        ([1, 2], r"got \(2,\) int64"),
        (DIGIT, r"got \(8, 8, 1\) uint8"),
        (np.uint8(3), r"got \(\) uint8"),
        (np.zeros((2, 8, 8, 1)), r"got \(2, 8, 8, 1\) float64"),
    ],
)
def test_what_are_no_images(images, line, network):
    with pytest.raises(InputError, match=rf"^images.*{line}") as error:
        network.features(images, "fc5")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("argument", "line"),
    [
        *(
            ({"layers": one}, f"layers must be a name .*; got {kind}$")
            for one, kind in [
                (None, "NoneType"),
                (5, "int"),
                (Path("fc5"), "PosixPath"),
                (b"fc5", "bytes"),
                (["fc5", 5], "int"),
                ([b"fc5"], "bytes"),
                ([["fc5"]], "list"),
            ]
        ),
        *(
            ({"pool": one}, f"pool must be one of .*; got {kind}$")
            for one, kind in [
                (None, "NoneType"),
                (["mean"], "list"),
                ({}, "dict"),
                (np.zeros((9, 9)), "ndarray"),
                ("", "''"),
                ("MEAN", "'MEAN'"),
            ]
        ),
    ],
)
def test_other_arguments_of_a_wrong_kind(argument, line, network, folder):
    for images in (DIGIT[None], folder):
        with pytest.raises(InputError, match=rf"^{line}") as error:
            network.features(images, **({"layers": "fc5"} | argument))
        assert "\n" not in str(error.value)


@pytest.mark.heavy
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_last_layer_is_what_predictions_come_from(dtype, tmp_path):
    make_run(tmp_path, "lenet5", (28, 28, 1), dtype=dtype)
    network = TrainedModel(tmp_path)
    draw = np.random.default_rng(0)
    images = draw.integers(0, 256, (5, 28, 28, 1), np.uint8)
    last = network.layer_names[-1]
    logits = network.logits(images)
    np.testing.assert_array_equal(network.features(images, last)[last], logits)
    # With others XLA fuses, and so rounds, at other places.
    found = network.features(images, ["conv2", "fc*"])
    slack = {"float32": 1e-5, "bfloat16": 0.02}[dtype]
    atol = slack * np.abs(logits).max()
    np.testing.assert_allclose(found[last], logits, rtol=0, atol=atol)
    assert all(rows.dtype == np.float32 for rows in found.values())
    mean = network.features(images, "conv2", pool="mean")["conv2"]
    np.testing.assert_allclose(mean, found["conv2"].mean(axis=(1, 2)), slack, slack)


def test_a_folder_made_for_nothing_is_removed(trained, tmp_path, error_line):
    bad = tmp_path / "a.png"
    bad.touch()
    with pytest.raises(SystemExit, match="^1$"):
        extract(trained, bad, f"--output={tmp_path / 'new' / 'er' / 'f.npz'}")
    assert [*tmp_path.iterdir()] == [bad]


def test_what_is_no_file_in_a_folder_is_named(trained, broken, tmp_path, capsys):
    for name in ("2b.png", "z1.png", "z2.png"):
        (broken / name).unlink()
    (broken / "0a.png").symlink_to("nowhere")
    os.mkfifo(broken / "z.png")
    (broken / f"f.npz.{'0' * 16}.tmp").write_bytes(b"left by a kill")
    out = tmp_path / "f.npz"
    with pytest.raises(SystemExit, match="^1$"):
        extract(trained, broken, f"--output={out}")
    first, second, last = capsys.readouterr().err.splitlines()
    assert "0a.png: cannot be read (No such file or directory)" in first
    assert "z.png: cannot be read (it is a FIFO, not a regular file)" in second
    assert last == "error: 2 of 12 pictures have no row" and len(read(out)[0]) == 10


def test_poolings_in_code(network, digits):
    with pytest.raises(
        InputError, match=r"pool must be one of \('none', .*; got 'min'"
    ):
        network.features(digits[:1], "fc5", pool="min")
    with pytest.raises(InputError, match="layers must name a layer"):
        network.features(digits[:1], [])
