"""The command that writes a trained network for other tools."""

import json
import re
import resource
import shutil
import signal
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from alexnet_jax.convert import main as convert
from alexnet_jax.errors import InputError
from alexnet_jax.export import main
from alexnet_jax.exporting import formats, safetensors_file
from alexnet_jax.exporting.folder import (
    BESIDE_FILES,
    MARK,
    MODEL_FILES,
    OTHER_FILES,
    check_place,
    export_folder,
)
from alexnet_jax.trained import TrainedModel
from alexnet_jax.weights.safetensors import read

BESIDE = {"README.md", "config.json", "preprocessing.json"}
FILES = {
    "safetensors": {"model.safetensors"},
    "onnx": {"model.onnx"},
    "stablehlo": {"model.stablehlo"},
}


@pytest.fixture
def run(trained, tmp_path):
    """A copy of the tiny run."""
    return shutil.copytree(trained, tmp_path / "run")


def names(folder):
    return {path.name for path in folder.iterdir()}


@pytest.mark.parametrize("form", FILES)
def test_what_is_written_and_said(form, run, capsys):
    main([str(run), f"--format={form}"])
    folder = run / "export" / form
    assert names(folder) == FILES[form] | BESIDE
    assert names(folder.parent) == {form}
    out = capsys.readouterr().out
    for path in folder.iterdir():
        assert f"wrote     {path.name}, {path.stat().st_size:,} bytes" in out
    assert f"folder    {folder}" in out and "note      the config names folders" in out
    (share,) = re.findall(r"check .*: (?:largest difference (\S+) of|equal)", out)
    assert float(share or 0) < 1e-5
    assert (share == "") == (form == "safetensors")
    assert (folder / "config.json").read_bytes() == (run / "config.json").read_bytes()
    assert {path.stat().st_mode for path in folder.iterdir()} == {
        (run / "config.json").stat().st_mode
    }


def test_as_json(run, capsys):
    main([str(run), "--format=safetensors", "--json"])
    found = json.loads(capsys.readouterr().out)
    folder = run / "export" / "safetensors"
    assert (found["folder"], found["format"]) == (str(folder), "safetensors")
    assert (found["step"], found["difference"]) == (8, 0.0)
    sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
    assert found["files"] == sizes


def test_a_checkpoint_by_its_step(run, tmp_path):
    main([str(run / "checkpoints" / "4"), "--format=safetensors"])
    convert([str(run / "export/safetensors/model.safetensors"), f"--to={tmp_path}/b"])
    wanted = TrainedModel(run / "checkpoints" / "4").weights["params"]
    found = TrainedModel(tmp_path / "b").weights["params"]
    jax.tree.map(np.testing.assert_array_equal, found, wanted)
    assert not np.array_equal(
        found["fc5"]["bias"], TrainedModel(run).weights["params"]["fc5"]["bias"]
    )
    card = (run / "export/safetensors/README.md").read_text()
    assert "at step 4" in card and "last, step 4" in card


def test_a_damaged_checkpoint_is_passed_over(run, capsys):
    (run / "checkpoints" / "8" / "checksums.json").unlink(missing_ok=True)
    for path in (run / "checkpoints" / "8").glob("*.json"):
        path.unlink()
    main([str(run), "--format=safetensors"])
    captured = capsys.readouterr()
    assert "step 4" in captured.out and "warning: checkpoint of step 8" in captured.err


def test_preprocessing_inside(run, tmp_path, capsys):
    onnxruntime = pytest.importorskip("onnxruntime")
    flags = ["--format=onnx", "--with-preprocessing", f"--to={tmp_path / 'out'}"]
    main([str(run), *flags])
    net = TrainedModel(run)
    image = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 1), np.uint8)
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx")
    (found,) = session.run(["probabilities"], {"image": image})
    wanted = net.predict(image).probabilities
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)
    assert "uint8" in (tmp_path / "out" / "README.md").read_text()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("form", ["stablehlo", "safetensors"])
def test_where_preprocessing_is_no_choice(form, run, capsys):
    main([str(run), f"--format={form}", "--with-preprocessing"])
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("warning: --with-preprocessing")


def test_an_export_is_replaced_and_nothing_else(run, tmp_path, error_line):
    folder, flags = tmp_path / "out", ["--format=safetensors", f"--to={tmp_path}/out"]
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    main([str(run / "checkpoints" / "4"), *flags])
    first = (folder / "model.safetensors").read_bytes()
    (folder / "mean_image.npy").write_bytes(b"of the last export")
    main([str(run), *flags])
    assert (folder / "model.safetensors").read_bytes() != first
    assert names(folder) == {"model.safetensors", "notes.txt", *BESIDE}
    # Another format's, or a card that is somebody's own, stays.
    line = error_line(main, run, "--format=onnx", f"--to={folder}")
    assert "holds model.safetensors of an export as safetensors" in line
    card = (folder / "README.md").read_text()
    assert MARK in card
    (folder / "README.md").write_text(card.replace(MARK, ""))
    line = error_line(main, run, *flags)
    assert "README.md" in line and "which no export wrote" in line


@pytest.mark.parametrize("name", ["README.md", "model.safetensors", "config.json"])
def test_files_of_others_are_not_replaced(name, run, tmp_path, error_line):
    (tmp_path / name).write_text("mine")
    line = error_line(main, run, "--format=safetensors", f"--to={tmp_path}")
    assert f"holds {name}, which no export wrote" in line
    assert (tmp_path / name).read_text() == "mine" and names(tmp_path) == {"run", name}


WRITTEN = [
    (form, name)
    for form, files in MODEL_FILES.items()
    for name in (*files, *BESIDE_FILES.get(form, ()), *OTHER_FILES)
]


@pytest.mark.parametrize(("form", "name"), WRITTEN)
def test_what_is_in_the_way_of_any_file(form, name, tmp_path):
    """Of somebody's own, and, in an export, a folder of that name."""
    (tmp_path / name).write_text("mine")
    with pytest.raises(InputError, match=f"holds {name}, which no export wrote"):
        check_place(tmp_path, form)
    (tmp_path / name).unlink()
    (tmp_path / name).mkdir()
    with pytest.raises(InputError, match=name):
        check_place(tmp_path, form)
    if name != "README.md":
        (tmp_path / "README.md").write_text(MARK)
        with pytest.raises(InputError, match=f"holds a folder {name}"):
            check_place(tmp_path, form)


def test_all_that_is_written_is_known_to_be(run):
    main([str(run), "--format=safetensors"])
    written = names(run / "export" / "safetensors")
    assert written <= {*MODEL_FILES["safetensors"], *OTHER_FILES}
    TrainedModel(run).spec.save(run / "export")  # beside a state dict
    assert names(run / "export") == {"safetensors", *BESIDE_FILES["torch"]}


@pytest.mark.parametrize(
    "place",
    ["run", "run/checkpoints", "run/checkpoints/4", "run/checkpoints/new/a", "link"],
)
def test_a_runs_own_folders(place, run, tmp_path, error_line):
    (tmp_path / "link").symlink_to(run / "checkpoints")
    before = sorted(run.rglob("*"))
    flags = ["--format=safetensors", f"--to={tmp_path / place}"]
    assert "is a run's own" in error_line(main, run, *flags)
    assert sorted(run.rglob("*")) == before


def test_the_root(run, error_line):
    assert "is the root" in error_line(main, run, "--format=onnx", "--to=/")


def test_other_folders_that_are_called_so(run, tmp_path):
    main([str(run), "--format=safetensors", f"--to={tmp_path / 'checkpoints' / 'a'}"])
    assert names(tmp_path / "checkpoints" / "a") == FILES["safetensors"] | BESIDE


def test_two_exports_to_one_new_folder(tmp_path):
    """The second begins while the first is at work; the last one's files stay."""
    folder = tmp_path / "out"
    with export_folder(folder, "safetensors") as one:
        (one / "README.md").write_text(MARK)
        (one / "model.safetensors").write_text("1")
        with export_folder(folder, "safetensors") as other:
            (other / "README.md").write_text(MARK)
            (other / "model.safetensors").write_text("2")
            assert one.is_dir()
        assert (folder / "model.safetensors").read_text() == "2"
    assert (folder / "model.safetensors").read_text() == "1"
    assert names(tmp_path) == {"out"}
    assert names(folder) == {"README.md", "model.safetensors"}


def test_two_formats_to_one_new_folder(tmp_path):
    with (
        pytest.raises(InputError, match="choose a folder for each format"),
        export_folder(tmp_path / "out", "onnx"),
        export_folder(tmp_path / "out", "safetensors") as part,
    ):
        (part / "README.md").write_text(MARK)
        (part / "model.safetensors").write_text("2")
    assert names(tmp_path) == {"out"}


def test_places_where_nothing_can_be_written(run, tmp_path, error_line):
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for place in ("file", "link", "file/out"):
        path = tmp_path / place
        line = error_line(main, run, "--format=safetensors", f"--to={path}")
        assert line.startswith(f"error: --to: {path}")
    assert error_line(main, run, "--format=safetensors", "--to=gs://x/y")


@pytest.mark.parametrize(
    "form",
    [
        "safetensors",
        "onnx",
        pytest.param("stablehlo", marks=pytest.mark.heavy),
        pytest.param("torch", marks=pytest.mark.slow),
    ],
)
def test_a_full_disk(form, run, tmp_path, error_line):
    """As far as the system is concerned: a limit of the size of files."""
    pytest.importorskip(form if form in ("onnx", "torch") else "jax")
    to, soft = tmp_path / "a" / "b", resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, soft[1]))
    try:
        line = error_line(main, run, f"--format={form}", f"--to={to}")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, soft)
    assert line == (
        f"error: --to: {to} cannot be written (File too large); make room, or choose "
        "another folder"
    )
    assert names(tmp_path) == {"run"}


@pytest.mark.parametrize("words", ["I/O error: x (os error 28)", "no number"])
def test_what_the_system_says_of_a_disk(words, run, tmp_path, error_line, monkeypatch):
    def fail(*_):
        raise safetensors_file.SafetensorError(words)

    monkeypatch.setattr(safetensors_file, "save_file", fail)
    line = error_line(main, run, "--format=safetensors", f"--to={tmp_path / 'a'}")
    wanted = "No space left on device" if "28" in words else words
    assert f"cannot be written ({wanted})" in line


@pytest.mark.heavy
@pytest.mark.parametrize("form", ["safetensors", "onnx"])
def test_the_same_bytes_each_time(form, run, tmp_path):
    """And of the run that `convert` makes of them."""
    pytest.importorskip("onnx")
    path = tmp_path / "out" / MODEL_FILES[form][0]

    def written(run):
        main([str(run), f"--format={form}", f"--to={path.parent}"])
        return path.read_bytes()

    first = written(run)
    assert all(written(run) == first for _ in range(3))
    convert([str(path), f"--to={tmp_path / 'b'}"])
    assert written(tmp_path / "b") == first


def test_any_metadata_in_order(tmp_path):
    """As the library writes them, whatever the letters."""
    path = tmp_path / "w"
    text = "".join(map(chr, [*range(0x300), 0x2028, 0x2029, 0xFFFF, 0x1F600]))
    words = {key: text for key in "badec"}
    found = set()
    for _ in range(5):
        save_file({"a": np.zeros(3, np.float32)}, path, words)
        safetensors_file._sort_metadata(path)
        found.add(path.read_bytes())
        assert read(path).metadata == words
    assert len(found) == 1


def test_an_interrupt_leaves_nothing_half(run, tmp_path, capsys, monkeypatch):
    def interrupt(*_):
        signal.raise_signal(signal.SIGINT)

    flags = ["--format=safetensors", f"--to={tmp_path / 'a' / 'out'}"]
    main([str(run / "checkpoints" / "4"), *flags])
    before = {p: p.read_bytes() for p in (tmp_path / "a" / "out").iterdir()}
    monkeypatch.setattr(formats, "check_safetensors", interrupt)
    for to in ("a/out", "new/out"):
        with pytest.raises(SystemExit, match="130"):
            main([str(run), "--format=safetensors", f"--to={tmp_path / to}"])
    assert {p: p.read_bytes() for p in (tmp_path / "a" / "out").iterdir()} == before
    assert names(tmp_path) == {"run", "a"} and names(tmp_path / "a") == {"out"}


def test_an_export_that_answers_otherwise_is_not_written(
    run, tmp_path, error_line, monkeypatch
):
    monkeypatch.setattr(formats, "call_stablehlo", lambda _, image: np.ones((2, 10)))
    line = error_line(main, run, "--format=stablehlo", f"--to={tmp_path / 'out'}")
    assert "largest difference" in line and names(tmp_path) == {"run"}
    monkeypatch.setattr(formats, "call_stablehlo", lambda _, image: np.ones((2, 9)))
    line = error_line(main, run, "--format=stablehlo", f"--to={tmp_path / 'out'}")
    assert "(2, 9)" in line
    nan = np.full((2, 10), np.nan)
    monkeypatch.setattr(formats, "call_stablehlo", lambda _, image: nan)
    assert error_line(main, run, "--format=stablehlo", f"--to={tmp_path / 'out'}")


def test_a_run_in_a_folder_that_is_none(tmp_path, error_line):
    line = error_line(main, tmp_path, "--format=safetensors")
    assert "no intact checkpoint" in line
    line = error_line(main, tmp_path, "--format=hdf5")
    assert "hdf5" in line and "safetensors" in line
    assert "--format" in error_line(main, tmp_path)
    assert names(tmp_path) == set()


@pytest.mark.parametrize(
    ("form", "library", "package"),
    [
        ("torch", "torch", "alexnet_jax[torch]"),
        ("onnx", "onnx", "alexnet_jax[onnx]"),
        ("onnx", "onnxruntime", "alexnet_jax[onnx]"),
        ("stablehlo", "flatbuffers", "flatbuffers"),
    ],
)
def test_a_library_that_is_missing(
    form, library, package, run, tmp_path, error_line, capsys, monkeypatch
):
    monkeypatch.setitem(sys.modules, library, None)
    flags = [f"--format={form}", f"--to={tmp_path / 'out'}"]
    if library == "onnxruntime":  # which only compares
        main([str(run), *flags])
        out = capsys.readouterr().out
        assert "not compared" in out and f"pip install '{package}'" in out
        return
    # Before the run is read, which may take long.
    line = error_line(main, tmp_path / "none", *flags)
    assert line.startswith(f"error: {library} is not installed")
    assert line.endswith(f"pip install '{package}'")
    assert names(tmp_path) == {"run"}


@pytest.mark.slow
def test_pytorch_takes_its_own(run, capsys):
    pytest.importorskip("torch")
    main([str(run), "--format=torch"])
    folder = run / "export" / "torch"
    assert names(folder) == {*MODEL_FILES["torch"], *BESIDE_FILES["torch"], *BESIDE}
    assert "opened again by PyTorch" in capsys.readouterr().out
    first = (folder / "model.pth").read_bytes()
    main([str(run), "--format=torch"])  # once more, in its place
    assert (folder / "model.pth").read_bytes() == first


def test_a_license_is_an_identifier(run, error_line):
    line = error_line(main, run, "--format=safetensors", "--license=My own: do!")
    assert "--license must be an identifier" in line
    assert not Path(run / "export").exists()
