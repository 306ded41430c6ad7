"""The command that reads published weights."""

import hashlib
import json
import re

import jax
import numpy as np
import pytest

from alexnet_jax.convert import main
from alexnet_jax.weights import read
from alexnet_jax.weights.mapping import convert
from alexnet_jax.weights.preprocessing import create_config, create_spec
from alexnet_jax.weights.read import read_source
from alexnet_jax.weights.verification import verify
from tests.exporting.runs import make_run
from tests.weights import writers
from tests.weights.published import npy_layers, params_of, weights_of, write_torch
from tests.weights.runnable import save_runnable_onnx


def test_the_report_of_a_file(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    path = tmp_path / "w.pth"
    params = write_torch(path)
    main(["--check", str(path)])
    text = capsys.readouterr().out
    head, *lines = text.splitlines()
    count = sum(leaf.size for one in params.values() for leaf in one.values())
    assert head == (
        f"{path}: PyTorch state dict, alexnet_torchvision of width 0.0625, 7 classes, "
        f"{count:,} parameters"
    )
    (line,) = [line for line in lines if "fc6/kernel" in line]
    assert "classifier.1.weight   256×576 float32 " in line and "576×256" in line
    assert "rows C,H,W to H,W,C" in line
    kernel = params["fc6"]["kernel"].astype(np.float64)
    assert f"{kernel.mean():.3g}" in line and f"{kernel.std():.3g}" in line
    assert f"{kernel.nbytes / 2e6:.2f}" in line
    assert sorted(tmp_path.iterdir()) == [path]


@pytest.mark.heavy
def test_the_report_as_json(tmp_path, capsys):
    writers.save_npy(tmp_path / "w", npy_layers(params_of("caffenet")))
    main(["--check", "--json", "--network=caffenet", str(tmp_path / "w")])
    found = json.loads(capsys.readouterr().out)
    assert (found["network"], found["num_classes"]) == ("caffenet", 7)
    first = found["arrays"][0]
    assert (first["name"], first["changes"]) == ("conv1/kernel", "BGR to RGB")
    assert found["parameters"] == sum(one["parameters"] for one in found["arrays"])
    assert found["bytes"] == 4 * found["parameters"]


def report_of(capsys, *flags):
    main(["--check", *map(str, flags)])
    return capsys.readouterr().out


@pytest.mark.heavy
def test_the_totals_and_what_they_are_set_against(tmp_path, capsys):
    params = write_torch(tmp_path / "w.pth", extra=np.zeros(3, np.float32))
    count = sum(leaf.size for one in params.values() for leaf in one.values())
    text = report_of(capsys, "--ignore", tmp_path / "w.pth")
    assert re.search(rf"^total +{count:,} +{4e-6 * count:.2f}$", text, re.M)
    wanted = f"{count:,} parameters, as alexnet_torchvision of width 0.0625 has with 7"
    assert f"\n{wanted} classes\n" in text
    assert "left out  extra" in text and "nothing left over" not in text
    write_torch(tmp_path / "w.pth")
    assert "\nnothing left over\n" in report_of(capsys, tmp_path / "w.pth")
    found = json.loads(report_of(capsys, "--json", tmp_path / "w.pth"))
    assert found["total"] == {"parameters": count, "bytes": 4 * count}
    assert found["expected"] == count


def test_the_totals_of_a_run_with_running_statistics(tmp_path, capsys):
    changes = {"model.normalization": "batch", "data.image_size": (67, 80)}
    weights = make_run(tmp_path / "run", "alexnet_paper", (70, 80, 1), **changes)
    count, states = (
        sum(leaf.size for leaf in jax.tree.leaves(weights[name]))
        for name in ("params", "model_state")
    )
    text = report_of(capsys, tmp_path / "run")
    assert f"{count:,} parameters, as alexnet_paper of width 0.0625 has" in text
    assert f"7 classes; {states:,} running statistics besides" in text


def test_a_network_with_other_parameters_is_said(tmp_path):
    write_torch(tmp_path / "w.pth")
    source, convention = read_source(tmp_path / "w.pth")
    conversion = convert(tmp_path / "w.pth", source, convention)
    config = create_config(conversion)
    config.model.num_classes = 8
    report = verify(conversion, config, create_spec(conversion, None))
    assert report.expected == report.parameters + 257
    assert f"parameters, not {report.expected:,} as alexnet" in report.expected_text


@pytest.mark.parametrize("columns", [40, 60, 80, 100, 120, 150])
def test_the_table_fits_the_terminal(columns, tmp_path, capsys, monkeypatch):
    params = write_torch(tmp_path / "w.pth")
    monkeypatch.setenv("COLUMNS", str(columns))
    _, *lines = report_of(capsys, tmp_path / "w.pth").splitlines()
    (end,) = (k for k, line in enumerate(lines) if line.startswith("total"))
    table = [line.rstrip() for line in lines[: end + 1]]
    assert len(table) == 20 and max(map(len, table)) <= columns
    assert "…" not in "".join(table)
    assert all(f"{layer}/kernel" in "".join(table) for layer in params)
    if columns >= 80:
        assert any("classifier.1.weight" in line for line in table)


def test_what_is_left_out_is_named(tmp_path, capsys, error_line):
    write_torch(tmp_path / "w", extra=np.zeros(3, np.float32))
    line = error_line(main, "--check", tmp_path / "w")
    assert "extra would be left over" in line and "--ignore" in line
    main(["--check", "--ignore", str(tmp_path / "w")])
    assert "left out  extra" in capsys.readouterr().out


def test_a_file_that_is_missing_or_a_folder(tmp_path, error_line):
    assert "No such file" in error_line(main, "--check", tmp_path / "w")
    assert "is a folder, but no run" in error_line(main, "--check", tmp_path)


@pytest.mark.heavy
def test_a_digest_in_a_name(tmp_path, capsys):
    path = tmp_path / "w"
    write_torch(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assumed = "does not say what images"  # as it is of seven classes
    path = path.rename(tmp_path / f"alexnet-owt-{digest[:8]}.pth")
    main(["--check", str(path)])
    (line,) = capsys.readouterr().err.splitlines()
    assert assumed in line
    for name in ("alexnet-owt-01234567.pth", "alexnet-0123456a.pth"):
        path = path.rename(tmp_path / name)
        main(["--check", str(path)])
        other, line = sorted(capsys.readouterr().err.splitlines())
        assert assumed in other or assumed in line
        assert f"begins with {digest[:8]}" in other + line
    path = path.rename(tmp_path / "alexnet-20240131.pth")  # a date
    main(["--check", str(path)])
    (line,) = capsys.readouterr().err.splitlines()
    assert assumed in line


def broken_graph(path):
    """Writes a graph that is read otherwise than ONNX Runtime does."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    save_runnable_onnx(path, "alexnet_torchvision", weights_of("alexnet_torchvision"))
    model = onnx.load(path)
    made = model.graph.node[-1].output[0]
    twice = onnx.helper.make_node("Add", [made, made], ["twice"])
    model.graph.node.append(twice)
    model.graph.output[0].name = "twice"
    onnx.save(model, path)


@pytest.mark.heavy
def test_nothing_is_left_of_a_run_that_is_an_error(tmp_path, capsys):
    broken_graph(tmp_path / "w.onnx")
    kept = tmp_path / "kept"
    (kept / "sub").mkdir(parents=True)
    (kept / "sub" / "notes").write_text("mine")
    (kept / "checkpoints").write_text("also mine, moved aside")
    for workdir in (tmp_path / "new", tmp_path / "a" / "b", kept):
        with pytest.raises(SystemExit, match="^1$"):
            main([str(tmp_path / "w.onnx"), f"--to={workdir}"])
        out, err = capsys.readouterr()
        assert "do not rely on these weights" in err and "workdir" not in out
    left = {one.name for one in tmp_path.rglob("*")}
    texts = [one.read_text() for one in kept.rglob("*") if one.is_file()]
    assert sorted(texts) == ["also mine, moved aside", "mine"]
    assert {"w.onnx", "kept", "sub", "notes"} <= left and len(left) == 5
    assert len([*tmp_path.iterdir()]) == 2


@pytest.mark.heavy
def test_a_run_is_not_made_in_another(tmp_path, error_line, capsys):
    write_torch(tmp_path / "w")
    run = tmp_path / "run"
    main([str(tmp_path / "w"), f"--to={run}"])
    capsys.readouterr()
    before = sorted(tmp_path.rglob("*"))
    for source in (run, run / "checkpoints" / "0"):
        for inner in ("new", "checkpoints", "checkpoints/new"):
            line = error_line(main, source, f"--to={run / inner}")
            assert line.startswith("error: --to: ") and "inside" in line
    for inner in ("checkpoints", "checkpoints/new/er"):
        line = error_line(main, tmp_path / "w", f"--to={run / inner}")
        assert "among the checkpoints of" in line
    assert sorted(tmp_path.rglob("*")) == before
    main([str(tmp_path / "w"), f"--to={tmp_path / 'checkpoints' / 'new'}"])
    assert "workdir" in capsys.readouterr().out


def test_errors_of_a_place_name_the_flag(tmp_path, error_line):
    write_torch(tmp_path / "w")
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file", tmp_path / "file" / "run"):
        line = error_line(main, tmp_path / "w", f"--to={place}")
        assert "--to" in line and "--workdir" not in line and "workdir:" not in line


def test_out_of_memory_is_said_in_converts_words(tmp_path, error_line, monkeypatch):
    def fail(_):
        raise MemoryError

    monkeypatch.setattr(read, "read_source", fail)
    line = error_line(main, "--check", write_torch(tmp_path / "w") and tmp_path / "w")
    assert "out of memory" in line and "batch_size" not in line
