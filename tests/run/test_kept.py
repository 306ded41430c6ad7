"""A folder whose checkpoints are gone: no result is lost."""

import json

import pytest

from alexnet_jax import default_config
from alexnet_jax.config import validate
from alexnet_jax.data import create_data
from alexnet_jax.errors import InputError
from alexnet_jax.exporting.folder import MARK
from alexnet_jax.run.checksums import CHECKSUMS
from alexnet_jax.run.folder import open_folder
from alexnet_jax.run.records import restore_rows
from alexnet_jax.run.rows import Stored

ROW = {"step": 10, "epoch": 1.0, "train/loss": 0.5, "train/top1": 0.8}
RESULT = ROW | {"test/loss": 0.6, "test/top1": 0.75}


def left(folder, row):
    """A run's folder without checkpoints."""
    text = json.dumps({"config": default_config().to_dict()})
    (folder / "config.json").write_text(text)
    (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n")


def opens(folder, **changes):
    config = default_config()
    config.update(changes)
    with open_folder(folder, config):
        pass


def test_another_config_does_not_begin_over_results(tmp_path):
    left(tmp_path, RESULT)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    with pytest.raises(InputError, match="another config's run: batch_size was 128"):
        opens(tmp_path, batch_size=64)
    assert (
        before.items()
        <= {path.name: path.read_bytes() for path in tmp_path.iterdir()}.items()
    )
    opens(tmp_path, num_epochs=3)  # as long as one likes


def test_weights_that_are_not_taken_are_noted(tmp_path, capsys):
    left(tmp_path, RESULT)
    step = tmp_path / "checkpoints" / "10"
    step.mkdir(parents=True)
    (step / CHECKSUMS).write_text("{}")

    def recorded(**checkpoint):
        config = default_config()
        config.checkpoint.update(checkpoint)
        with open_folder(tmp_path, config) as folder:
            assert config.checkpoint.init_from == checkpoint.get("init_from")
            return folder.config.checkpoint.init_from

    assert recorded() is None and not capsys.readouterr().out
    assert recorded(init_from="runs/other") is None
    line = "'runs/other' is not read: the run has begun, with weights of its own; "
    assert line in capsys.readouterr().out
    record = {"config": default_config().to_dict()}
    record["config"]["checkpoint"]["init_from"] = "runs/first"
    (tmp_path / "config.json").write_text(json.dumps(record))
    assert recorded(init_from="runs/other") == recorded() == "runs/first"
    assert "with those of 'runs/first'; choose" in capsys.readouterr().out
    assert recorded(init_from="runs/first") == "runs/first"
    assert not capsys.readouterr().out
    assert recorded(init_from="runs/first", init_layers=("conv*",)) == "runs/first"
    line = "init_layers ('conv*',) is not read: the run has begun, with all layers that"
    assert line in capsys.readouterr().out


def test_layers_that_are_not_taken_do_not_spoil_the_record(tmp_path):
    left(tmp_path, RESULT)
    step = tmp_path / "checkpoints" / "10"
    step.mkdir(parents=True)
    (step / CHECKSUMS).write_text("{}")
    config = default_config()
    config.checkpoint.init_from, config.checkpoint.init_layers = "runs/a", ("conv*",)
    with open_folder(tmp_path, config) as folder:
        validate(folder.config)
        assert folder.config.checkpoint.init_layers is None
    record = {"config": config.to_dict()}
    record["config"]["checkpoint"]["init_layers"] = ["conv*"]  # as JSON has it
    (tmp_path / "config.json").write_text(json.dumps(record))
    with open_folder(tmp_path, default_config()) as folder:
        validate(folder.config)
        assert folder.config.checkpoint.init_layers == ("conv*",)
    record["config"]["checkpoint"]["init_from"] = {"a": 1}
    (tmp_path / "config.json").write_text(json.dumps(record))
    with open_folder(tmp_path, default_config()):
        pass


def test_a_run_without_results_gives_way(tmp_path):
    left(tmp_path, ROW)
    opens(tmp_path, batch_size=64)


def test_the_same_run_begins_anew_and_keeps_what_it_had(tmp_path, capsys):
    left(tmp_path, RESULT)
    path = tmp_path / "metrics.jsonl"
    before = path.read_bytes()
    assert restore_rows(path, 0, Stored([], True)) == []
    assert "no checkpoint reaches its 1 row; the run begins anew" in (
        capsys.readouterr().out
    )
    assert (tmp_path / "metrics.jsonl.damaged").read_bytes() == before
    assert path.read_bytes() == b""


@pytest.mark.parametrize("content", ["{}", "[1]", '{"model_type": "bert"}', "null"])
def test_another_programs_config_is_not_replaced(content, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(content)
    with pytest.raises(InputError, match=r"config.json is not a run's"):
        opens(tmp_path)
    assert path.read_text() == content


def test_files_of_a_folder_that_is_no_run_are_moved_aside(tmp_path, capsys):
    names = {"data.json", "statistics.npz", "split.csv", "curves.png", "metrics.jsonl"}
    for name in names:
        (tmp_path / name).write_text(name)
    (tmp_path / "imported.json").symlink_to("data.json")
    opens(tmp_path)
    told = capsys.readouterr().out
    for name in names:
        assert f"{tmp_path / name} is of no run that goes on; moved to" in told
        assert (tmp_path / f"{name}.damaged").read_text() == name
    assert not (tmp_path / "imported.json").is_symlink()


def test_what_a_killed_run_began_with_stays(config, tmp_path, capsys):
    data = create_data(config.data, batch_size=4, eval_batch_size=4, seed=0)
    data.spec.save(tmp_path)
    data.close()
    opens(tmp_path)
    assert not [*tmp_path.glob("*.damaged")] and not capsys.readouterr().out


@pytest.mark.parametrize("text", ['{"config": {', '{"config": {"num_epochs": 4.0}}'])
def test_a_damaged_config_is_moved_aside(text, tmp_path, capsys):
    (tmp_path / "config.json").write_text(text)
    opens(tmp_path)
    assert "is damaged; moved to" in capsys.readouterr().out
    assert (tmp_path / "config.json.damaged").read_text() == text


def test_a_kill_between_the_first_two_files(tmp_path, capsys):
    (tmp_path / "statistics.npz").write_bytes(b"ours, or not")
    opens(tmp_path)
    assert "statistics.npz is of no run that goes on; moved" in capsys.readouterr().out


def test_what_is_evaluated_otherwise_is_noted(tmp_path, capsys):
    left(tmp_path, RESULT)
    step = tmp_path / "checkpoints" / "10"
    step.mkdir(parents=True)
    (step / CHECKSUMS).write_text("{}")
    opens(tmp_path, eval={"metrics": ("loss", "top1", "ece")})
    found = capsys.readouterr().out
    assert "note      eval.metrics was " in found and "ece" in found
    assert "results so far are of the former" in found


def test_an_exports_folder_is_no_runs(tmp_path):
    (tmp_path / "README.md").write_text(f"---\n---\n\n{MARK}\n")
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="^workdir: .* holds an export, whose files"):
        opens(tmp_path)
    names = {one.name for one in tmp_path.iterdir()}
    assert names == {"README.md", "config.json", ".lock"}
    assert (tmp_path / "config.json").read_text() == "{}"
