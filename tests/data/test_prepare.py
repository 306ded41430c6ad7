import sys

import pytest

from alexnet_jax.data import prepare
from tests.pictures import write_folder


def run(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["prepare", *map(str, words)])
    prepare.main()


def test_a_data_set_is_prepared(monkeypatch, tmp_path, capsys):
    folder = write_folder(tmp_path / "zoo", 2, 1)
    flags = f"--manual-dir={folder}", f"--data-dir={tmp_path / 'data'}"
    for _ in range(2):
        run(monkeypatch, "image_folder", *flags)
        last = capsys.readouterr().out.splitlines()[-1]
        assert last.startswith(
            "ready     image_folder 1.0.0, 9 train, 3 validation images, "
        )
    run(monkeypatch, "digits", f"--data-dir={tmp_path / 'data'}")
    assert "ready     digits 1.0.0, " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["imagenet"], "error: argument NAME: invalid choice: 'imagenet'"),
        (["image_folder", "--on-broken=replace"], "error: argument --on-broken: inv"),
        (["imagenet2012_256"], "error: data.manual_dir must be set, since ImageNet "),
    ],
)
def test_mistakes_are_answered_with_a_line(error_line, tmp_path, words, line):
    shown = error_line(prepare.main, *words, f"--data-dir={tmp_path}")
    assert shown.startswith(line)


def test_an_interruption(monkeypatch, tmp_path, capsys):
    def interrupted(config):
        raise KeyboardInterrupt

    monkeypatch.setattr(prepare, "open_data_set", interrupted)
    with pytest.raises(SystemExit, match="^130$"):
        run(monkeypatch, "digits", f"--data-dir={tmp_path}")
    line = "error: interrupted; run the same command to continue\n"
    assert capsys.readouterr().err == line
