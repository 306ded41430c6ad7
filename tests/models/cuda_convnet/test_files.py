"""cuda-convnet's files: their form, and what is none."""

import re

import pytest

from alexnet_jax.errors import InputError
from alexnet_jax.models.cuda_convnet import params_beside, read_text
from alexnet_jax.models.cuda_convnet.files import near, parse_file

TEXT = """# Epoch 10: rates / 10
[conv1]
type=conv
 inputs = data , b
filterSize: 11

;old: 0.4
[a b]
[conv1]
TYPE=conv
"""


def test_sections_keys_lines_and_comments():
    file = parse_file(TEXT, "net.cfg")
    assert file.name == "net.cfg"
    assert file.comments == ("Epoch 10: rates / 10", "old: 0.4")
    assert [*file.sections] == ["conv1", "a b"]
    section = file.sections["conv1"]
    assert section.values["type"].text == "conv"
    assert section.values["inputs"].text == "data , b"
    assert section.values["filtersize"].text == "11"
    assert section.place == ("net.cfg", 2)
    assert section.values["filtersize"].place.line == 5
    assert str(section.error("wrong", "filterSize")) == "net.cfg:5: [conv1] wrong"
    assert str(section.error("wrong")) == "net.cfg:2: [conv1] wrong"


def test_a_remark_after_a_value():
    file = parse_file("[a]\nx=1 ; one\ny=exp[a;b]\n", "net.cfg")
    assert {key: value.text for key, value in file.sections["a"].values.items()} == {
        "x": "1",
        "y": "exp[a;b]",
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("x=1\n", "net.cfg:1: a key must stand in a section; got 'x=1'"),
        (
            "[a]\nword\n",
            "net.cfg:2: a line must be [NAME], KEY=VALUE or a # comment; got",
        ),
        (
            "[a]\n[b\n",
            "net.cfg:2: a line must be [NAME], KEY=VALUE or a # comment; got",
        ),
        (
            "[]\n",
            "net.cfg:1: a line must be [NAME], KEY=VALUE or a # comment; got '[]'",
        ),
        (
            "[a]\n=1\n",
            "net.cfg:2: a line must be [NAME], KEY=VALUE or a # comment; got",
        ),
        (
            "[a]\nx=1\n\n[a]\nX=2\n",
            "net.cfg:5: [a] X has two values, '1' in line 2 and '2'; remove one",
        ),
        ("[a]\n" + "w" * 1000, "net.cfg:2: a line must be"),
        ("[" + "n" * 101 + "]", "net.cfg:1: a name must be printable, of at most 100"),
        ("[a]\n\x1b[31m=1", "net.cfg:2: a name must be printable, of at most 100"),
        ("\x00\x01\x1b[31m", "net.cfg:1: a line must be"),
    ],
)
def test_what_is_no_line(text, expected):
    with pytest.raises(InputError, match=f"^{re.escape(expected)}") as caught:
        parse_file(text, "net.cfg")
    message = str(caught.value)
    assert message.isprintable() and len(message) < 200


def test_the_nearest_names():
    assert near("filterSise", ["filterSize", "channels"]) == "; the nearest: filterSize"
    assert near("xyz", ["filterSize", "channels"]) == ""


def test_files_that_are_none(tmp_path):
    is_none = "must be a text file in UTF-8 of at most 1,000,000 bytes, and 10,000 char"
    cases = {
        "folder": is_none,
        "missing.cfg": "cannot read .*missing.cfg'?: No such file",
        "big.cfg": is_none,
        "bytes.cfg": is_none,
        "spaces.cfg": is_none,
        "nul\0.cfg": "cannot read .*: embedded null",
        "../../../../../../../dev/zero": "must be a text file in UTF-8",
    }
    (tmp_path / "folder").mkdir()
    (tmp_path / "big.cfg").write_text("#" * 1_000_001)
    (tmp_path / "spaces.cfg").write_text("[a]\nx=1" + " " * 900_000 + "2")
    (tmp_path / "bytes.cfg").write_bytes(b"[conv1]\n\xff\xfe")
    for name, expected in cases.items():
        with pytest.raises(InputError, match=f"^model.name: {expected}") as caught:
            read_text(str(tmp_path / name), "model.name")
        assert len(str(caught.value).splitlines()) == 1


def test_a_text_with_a_mark_in_front_and_other_ends_of_lines(tmp_path):
    file = tmp_path / "layers.cfg"
    file.write_bytes(b"\xef\xbb\xbf[a]\r\nx=1\r\n")
    text = read_text(str(file), "model.name")
    assert parse_file(text, "net.cfg").sections["a"].values["x"].text == "1"


def test_the_home_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "layers-x.cfg").write_text("[a]")
    (tmp_path / "layer-params-x.cfg").write_text("[a]")
    assert read_text("~/layers-x.cfg", "model.name") == "[a]"
    assert params_beside("~/layers-x.cfg") == tmp_path / "layer-params-x.cfg"


def test_a_folder_that_cannot_be_looked_into(tmp_path, monkeypatch):
    assert params_beside("~no-such-user/layers-1.cfg") is None

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("pathlib.Path.is_file", refuse)
    assert params_beside(str(tmp_path / "layers-1.cfg")) is None


def test_the_parameter_file_of_a_layer_file(tmp_path):
    params = tmp_path / "layer-params-layers.cfg"
    assert params_beside(str(tmp_path / "layers-layers.cfg")) is None
    params.write_text("")
    assert params_beside(str(tmp_path / "layers-layers.cfg")) == params
    assert params_beside(str(tmp_path / "net.cfg")) is None
