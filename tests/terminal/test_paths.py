"""Paths of runs: odd ones work, or are refused before anything is done."""

import os
import string
from pathlib import Path

import jax
import numpy as np
import pytest

from alexnet_jax import evaluate, main, predict, report, summary, train
from alexnet_jax.data import open_data_set
from alexnet_jax.errors import InputError
from alexnet_jax.run.checkpoints import Checkpoints
from alexnet_jax.run.checksums import find_fault
from alexnet_jax.run.weights import find_checkpoint, load_arrays
from alexnet_jax.terminal.paths import expand, local_path
from alexnet_jax.train import train_and_evaluate

REFUSED = set("\\*?[") | {chr(code) for code in (*range(1, 32), *range(127, 160))}
ODD = [chr(code) for code in range(1, 128) if not chr(code).isalnum()]
ODD += [
    "é",
    "²",
    "日",
    "😀",
    "e\u0301",
    "\u202e",
    "\xa0",
    "%20",
    "{a}",
    "$HOME",
    "...",
    "-x",
]
ODD += ["a:b", "file:", "|zarr", "~x", ".zarr"]
STATE = {"params": {"kernel": np.arange(12.0)}}


@pytest.mark.slow
def test_odd_characters_work_or_are_refused(tmp_path):
    for odd in ODD:
        if odd == "/":
            continue
        name = f"x{odd}x" if len(odd) == 1 else odd
        if odd in REFUSED:
            with pytest.raises(
                InputError, match="^workdir: .* choose another"
            ) as error:
                local_path(tmp_path / name, "workdir")
            assert "\n" not in str(error.value), odd
            continue
        if f"{name}/".endswith(":/"):
            with pytest.raises(InputError, match="would be taken for a remote store"):
                local_path(tmp_path / name / "run", "workdir")
            continue
        check_works(local_path(tmp_path / name, "workdir"))


def check_works(folder):
    folder.mkdir()
    checkpoints = Checkpoints(folder / "checkpoints", keep=1)
    checkpoints.save(1, STATE, {})
    checkpoints.close()
    whole = folder / "checkpoints" / "1"
    assert find_fault(whole) is None
    np.testing.assert_array_equal(
        load_arrays(whole)["params"]["kernel"], STATE["params"]["kernel"]
    )


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("~nosuchuser/x", "begins with '~nosuchuser', which is no user's home folder"),
        ("a\\b", r"holds '\\\\'; checkpoints cannot be kept"),
        ("a\nb", r"holds '\\n'; "),
        ("a\u2028b", r"holds '\\u2028'; "),
        (os.fsdecode(b"a\xffb"), r"holds '\\udcff'; "),
        ("a\ud800b", r"holds '\\ud800'; "),
        ("a\0b", r"holds '\\x00'; "),
        ("a?b/c*", r"holds '\*', '\?'; "),
        ("/gs/bucket", "would be taken for a remote store"),
        ("gs://bucket", "is an address; .* mount the bucket or copy its files"),
        ("x" * 256, "is too long; it may have"),
        ("/".join(["x" * 200] * 20), "is too long; it may have"),
        ("x/" * 201, "and 200 folders; choose"),
        ("a\0b/../c", r"holds '\\x00'; "),
    ],
)
def test_what_is_refused(path, line, config):
    with pytest.raises(InputError, match=f"workdir: .*{line}"):
        train_and_evaluate(config, path)
    with pytest.raises(InputError, match=f"checkpoint: .*{line}"):
        find_checkpoint(path)


ADDRESSES = {
    "gs://bucket/x": "'gs://bucket/x' is an address; only local .* mount the bucket",
    "s3://bucket": "'s3://bucket' is an address; .* mount the bucket",
    "GS://bucket": "'GS://bucket' is an address; .* mount the bucket",
    "abfs.x.y://c@a/d": "'abfs.x.y://c@a/d' is an address; .* mount the bucket",
    "hf://me/data": "'hf://me/data' is an address; .* download the files",
    "https://a.org/b.zip": "'https://a.org/b.zip' is an .* download the files",
    "file:///data/x": "'file:///data/x' is an .* give the path alone, '/data/x'",
}


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses_are_refused_at_the_door(address, config, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = ADDRESSES[address]
    for form in (address, Path(address)):
        with pytest.raises(InputError, match=f"^workdir: {line}"):
            train_and_evaluate(config, form)
        with pytest.raises(InputError, match=f"^checkpoint: {line}"):
            find_checkpoint(form)
    for key in ("data.data_dir", "data.manual_dir", "checkpoint.init_from"):
        one = config.copy_and_resolve_references()
        group, name = key.split(".")
        one[group][name] = address
        with pytest.raises(InputError, match=f"^{key}: {line}"):
            train_and_evaluate(one, "run")
    monkeypatch.setenv("TFDS_DATA_DIR", address)
    config.data.data_dir = None
    with pytest.raises(InputError, match=f"^TFDS_DATA_DIR: {line}"):
        open_data_set(config.data)
    for command, words in (
        (predict, ["run", address]),
        (evaluate, [address]),
        (report, [address]),
        (report, ["run", f"--output={address}"]),
        (summary, ["alexnet_paper", f"--picture={address}"]),
    ):
        with pytest.raises(InputError, match=line):
            command.make_parser().parse_args(words)
    assert not list(tmp_path.iterdir())


def test_a_name_with_a_colon_is_no_address(tmp_path):
    for name in ("a:b", "c:/x", "1:/x", "x/gs://y"):
        expand(name, "workdir")


def test_a_home_folder_that_is_not_there(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert expand("~/run", "workdir") == tmp_path / "run"
    assert expand("a/~", "workdir") == Path.cwd() / "a" / "~"
    monkeypatch.setenv("HOME", str(tmp_path / "gone"))
    with pytest.raises(InputError, match="'~', which is no user's home folder"):
        expand("~/run", "workdir")


def test_a_way_up(tmp_path):
    (tmp_path / "there").mkdir()
    (tmp_path / "link").symlink_to("there")
    assert local_path(tmp_path / "x" / ".." / "run", "workdir") == tmp_path / "run"
    assert local_path(tmp_path / "link" / "run", "workdir").parts[-2] == "link"
    check_works(local_path(tmp_path / "link" / ".." / "run", "workdir"))
    assert (tmp_path / "run" / "checkpoints" / "1").is_dir()


@pytest.mark.parametrize("name", ["fashion_mnist", "image_folder", "imagenet2012"])
def test_folders_of_data(config, monkeypatch, name):
    config.data.name = name
    config.data.manual_dir = "~nosuchuser/files"
    with pytest.raises(InputError, match="^data.manual_dir: '~nosuchuser/files' beg"):
        open_data_set(config.data)
    config.data.data_dir = "~nosuchuser"
    with pytest.raises(InputError, match="^data.data_dir: '~nosuchuser' begins"):
        open_data_set(config.data)
    config.data.data_dir = None
    monkeypatch.setenv("TFDS_DATA_DIR", "~nosuchuser")
    with pytest.raises(InputError, match="^TFDS_DATA_DIR: '~nosuchuser' begins"):
        open_data_set(config.data)


def test_a_run_without_a_home_folder_has_no_cache(config, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path / "gone"))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(jax.config, "update", lambda name, value: pytest.fail(value))
    monkeypatch.setattr(type(jax.config), "jax_compilation_cache_dir", None)
    monkeypatch.setattr(train, "train_and_evaluate", lambda *_: {"done": 1.0})
    assert main.run(config, tmp_path / "run") == {"done": 1.0}


def test_all_of_ascii_is_tried():
    assert {*ODD} >= {*string.punctuation, *string.whitespace}
