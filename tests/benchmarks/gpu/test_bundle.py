"""What goes along to a machine without network; pip is not started."""

import json
import subprocess
from pathlib import Path

import pytest

from alexnet_jax.data.fashion_mnist import FILES
from benchmarks.gpu import bundle

MACHINE = (
    "Jax==0.11.2\nnumpy == 2.3.1 ; x\nzope.event\nmine @ file:///a\n-e git+b\n# c\n"
)


def test_a_machine_is_read():
    assert bundle.read_machine(MACHINE) == {
        "jax": "0.11.2",
        "numpy": "2.3.1",
        "zope-event": None,
        "mine": None,
    }


def test_what_it_lacks_is_named():
    names = [("Zope_Event", "1"), ("TensorBoardX", "2.6"), ("grain", "0.2.18")]
    made = [{"metadata": {"name": name, "version": one}} for name, one in names]
    report = json.dumps({"install": made})
    found = bundle.missing(report, bundle.read_machine(MACHINE))
    assert found == ["grain==0.2.18", "tensorboardx==2.6"]


def test_a_bundle(tmp_path, monkeypatch, capsys, error_line):
    commands = []

    def pip(command, *words, **_):
        if command[0] == "git":
            return run(command, *words, **_)
        commands.append(command[3:])
        for word in command:
            if word.startswith("--report="):
                one = {"metadata": {"name": "grain", "version": "0.2.18"}}
                text = json.dumps({"install": [one]})
                Path(word.partition("=")[2]).write_text(text)
            if word.startswith("--constraint="):
                lines = Path(word.partition("=")[2]).read_text()
                assert lines == "jax==0.11.2\nnumpy==2.3.1\n"
        return subprocess.CompletedProcess(command, 0)

    run = subprocess.run
    monkeypatch.setattr(bundle.subprocess, "run", pip)
    machine, data = tmp_path / "machine.txt", tmp_path / "data"
    machine.write_text(MACHINE)
    data.mkdir()
    words = [tmp_path / "bundle", f"--machine={machine}", f"--data={data}"]
    assert "--data must hold train-images" in error_line(bundle.main, *words)
    for name in FILES:
        (data / name).write_bytes(b"1")
    words[0].mkdir(exist_ok=True)
    (words[0] / "mine").touch()
    assert "BUNDLE must be a new or empty folder" in error_line(bundle.main, *words)
    words[0] = tmp_path / "other"
    with monkeypatch.context() as patch:  # pip fails; the same command is given again
        failed = subprocess.CompletedProcess([], 1, "", "no such version")
        quick = lambda c, *a, **k: run(c, *a, **k) if c[0] == "git" else failed  # noqa: E731
        patch.setattr(bundle.subprocess, "run", quick)
        assert "pip wheel: no such version" in error_line(bundle.main, *words)
    assert not [*words[0].iterdir()]
    bundle.main([str(word) for word in words])
    assert [command[0] for command in commands] == ["wheel", "install", "download"]
    assert "grain==0.2.18" in commands[2]
    made = {path.name for path in words[0].iterdir()}
    assert made == {"repository", "wheels", "data"}
    assert (words[0] / "repository/benchmarks/gpu/bundle.py").is_file()
    assert not (words[0] / "repository/results").exists()
    assert not [*(words[0] / "wheels").iterdir()]  # neither report nor constraints
    assert {path.name for path in (words[0] / "data").iterdir()} == FILES.keys()
    assert "repository" in capsys.readouterr().out
    machine.write_text("numpy")
    words[0] = tmp_path / "third"
    assert "--machine must list jax" in error_line(bundle.main, *words)


def test_what_pip_says_is_told(tmp_path, monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "no such version")
    monkeypatch.setattr(bundle.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(bundle.RunError, match="^pip wheel: no such version$"):
        bundle.download(tmp_path / "wheels", {}, "3.12")


def test_no_checkout(tmp_path, monkeypatch):
    monkeypatch.setattr(bundle, "ROOT", tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    with pytest.raises(bundle.RunError, match="^git: .*; bundle a Git checkout$"):
        bundle.copy_repository(tmp_path / "there")
