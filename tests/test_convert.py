"""The command that reads published weights."""

import hashlib
import json

import numpy as np

from alexnet_jax.convert import main
from tests.weights import writers
from tests.weights.published import npy_layers, params_of, write_torch


def test_the_report_of_a_file(tmp_path, capsys):
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
    assert "classifier.1.weight 256×576 float32" in line and "576×256" in line
    assert "rows C,H,W to H,W,C" in line
    kernel = params["fc6"]["kernel"].astype(np.float64)
    assert f"{kernel.mean():.3g}" in line and f"{kernel.std():.3g}" in line
    assert f"{kernel.nbytes / 2e6:.2f}" in line
    assert sorted(tmp_path.iterdir()) == [path]


def test_the_report_as_json(tmp_path, capsys):
    writers.save_npy(tmp_path / "w", npy_layers(params_of("caffenet")))
    main(["--check", "--json", "--network=caffenet", str(tmp_path / "w")])
    found = json.loads(capsys.readouterr().out)
    assert (found["network"], found["num_classes"]) == ("caffenet", 7)
    first = found["arrays"][0]
    assert (first["name"], first["changes"]) == ("conv1/kernel", "BGR to RGB")
    assert found["parameters"] == sum(one["parameters"] for one in found["arrays"])
    assert found["bytes"] == 4 * found["parameters"]


def test_what_is_left_out_is_named(tmp_path, capsys, error_line):
    write_torch(tmp_path / "w", extra=np.zeros(3, np.float32))
    line = error_line(main, "--check", tmp_path / "w")
    assert "extra would be left over" in line and "--ignore" in line
    main(["--check", "--ignore", str(tmp_path / "w")])
    assert "left out  extra" in capsys.readouterr().out


def test_a_file_that_is_missing_or_a_folder(tmp_path, error_line):
    assert "No such file" in error_line(main, "--check", tmp_path / "w")
    assert "is a folder, but no run" in error_line(main, "--check", tmp_path)


def test_a_digest_in_a_name(tmp_path, capsys):
    path = tmp_path / "w"
    write_torch(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    path = path.rename(tmp_path / f"alexnet-owt-{digest[:8]}.pth")
    main(["--check", str(path)])
    assert capsys.readouterr().err == ""
    path = path.rename(tmp_path / "alexnet-owt-01234567.pth")
    main(["--check", str(path)])
    err = capsys.readouterr().err
    assert f"begins with {digest[:8]}" in err and err.count("\n") == 1
