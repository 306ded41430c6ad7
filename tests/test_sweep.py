"""Sweeps: what is written, what is refused, where runs go, and their table."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
from absl import flags

from alexnet_jax import main, sweep
from alexnet_jax.config import flatten_config
from alexnet_jax.errors import BusyError, InputError, NotFiniteError, RunError
from alexnet_jax.run.read import read_runs, settings
from alexnet_jax.terminal.tables import table_lines
from tests.helpers import config_with


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("seed=0,1", {"seed": ["0", "1"]}),
        (" a.b = 1 , 2 ; seed=0;", {"a.b": ["1", "2"], "seed": ["0"]}),
        ("size=28,(28,32),[1,2]", {"size": ["28", "(28,32)", "[1,2]"]}),
        ("a='x,y;z',\"it's\",b", {"a": ["x,y;z", "it's", "b"]}),
        ("a={'fc8': 1, 'fc7': (2)},None", {"a": ["{'fc8': 1, 'fc7': (2)}", "None"]}),
        ("a=('b,c', 'd'),fc8=10", {"a": ["('b,c', 'd')", "fc8=10"]}),
    ],
)
def test_what_is_written(text, expected):
    assert sweep.parse_sweep(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "--sweep is empty; write --sweep='optim.learning_rate=0.01,0.03;seed="),
        (";", "--sweep is empty"),
        ("seed", "'seed' lacks a value; write"),
        ("seed=", "'seed=' lacks a value"),
        ("seed=0,,1", "'seed=0,,1' lacks a value"),
        ("=1", "'=1' lacks a value"),
        ("seed=0;seed=1", "seed is given twice; give all values at once"),
        ("a=(1,2", "'a=(1,2' lacks a closing )"),
        ("a='b", 'lacks a closing \''),
        ("name=a,b", "name is the same in all runs; give --config.name instead"),
        ("parallel.process_id=0,1", "parallel.process_id is the same in all runs"),
    ],
)  # fmt: skip
def test_what_cannot_be_read(text, expected):
    with pytest.raises(InputError) as error:
        sweep.parse_sweep(text)
    assert expected in str(error.value)


@pytest.fixture
def combinations(monkeypatch):
    """Returns the combinations of a command line, as a process parses it."""

    def combinations(*words, seeds=None):
        argv = ["main", "--config=experiments/digits.py"]
        argv += [word for word in words if word.startswith("--config.")]
        values = flags.FlagValues()
        monkeypatch.setattr(main.flags, "FLAGS", values)
        given = [word.removeprefix("--sweep=") for word in words if "--sweep=" in word]
        monkeypatch.setattr(main, "_SWEEP", SimpleNamespace(value=given or None))
        monkeypatch.setattr(main, "_SEEDS", SimpleNamespace(value=seeds))
        main._parse_flags(argv)
        return main._combinations()

    return combinations


def test_values_are_read_as_flags_are(combinations):
    runs = combinations(
        "--sweep=data.image_size=64,(96,128);model.init=author",
        "--sweep=model.width=0.5;model.dropout_rate=None,0",
        "--config.num_epochs=2",
        seeds=["3", "4"],
    )
    assert len(runs) == 8
    flat = [flatten_config(one.config) for one in runs]
    assert {config["num_epochs"] for config in flat} == {2}
    assert [config["data.image_size"] for config in flat[::4]] == [64, (96, 128)]
    assert [config["model.dropout_rate"] for config in flat[:4:2]] == [None, 0.0]
    assert [config["seed"] for config in flat] == [3, 4] * 4
    assert runs[-1].folder == (
        "image_size-96x128,init-author,width-0.5,dropout_rate-0.0,seed-4"
    )
    assert str(runs[0]).startswith("data.image_size=64, model.init=author, ")


@pytest.mark.parametrize(
    "sweep",
    [
        "data.scale=unit,foo",
        "eval.metrics=('loss','top1'),('loss','top1','foo')",
        "data.name=digits,foo",
        "optim.accumulate_steps=1,3",
    ],
)
def test_all_are_checked_before_the_first(sweep, combinations):
    with pytest.raises(InputError, match=r"^with .*(foo\S*|=3): "):
        combinations(f"--sweep={sweep}")


def test_without_a_sweep_there_is_none(combinations):
    assert combinations() == []


def test_references_between_keys_hold(combinations, tmp_path, monkeypatch):
    path = tmp_path / "config.py"
    path.write_text(
        "from alexnet_jax.config import default_config\n\n"
        "def get_config():\n  config = default_config()\n  with config.unlocked():\n"
        "    config.eval.batch_size = config.get_ref('batch_size')\n  return config\n"
    )
    load = main.load_config
    monkeypatch.setattr(main, "load_config", lambda _: load(str(path)))
    runs = combinations("--sweep=batch_size=10,20")
    assert [one.config.eval.batch_size for one in runs] == [10, 20]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--sweep=optim.lr=1"], 'no key lr in optim. Did you mean "optim.learning_'),
        (["--sweep=optim=sgd"], "--config.optim is a group of keys; set one of them"),
        (["--sweep=seed=0,0"], "seed=0 and seed=0 are the same; give each value once"),
        (["--sweep=optim.momentum=0.5,5e-1"], "0.5 and optim.momentum=0.5 are the sa"),
        (["--sweep=optim.learning_rate=None,0.01"], "are the same; give each value"),
        (["--sweep=batch_size=8,0"], "with batch_size=0: batch_size must be an int"),
        (["--sweep=batch_size=few"], "with batch_size=few: flag --config.batch_size"),
        (["--sweep=seed=None"], "with seed=None: flag --config.seed=None: it must be"),
        (["--sweep=seed=0;model.name=lenet"], "with seed=0, model.name=lenet: model."),
        (["--sweep=model.name=lenet5;model.width=2"], "model.width must be 1 with le"),
        (["--sweep=seed=0", "--config.seed=1"], "--config.seed and a sweep both set"),
        (
            [f"--sweep=seed={','.join(map(str, range(1001)))}"],
            "--sweep: 1,001 runs are more than 1,000; give fewer values",
        ),
    ],
)
def test_what_is_refused_before_the_first_run(combinations, words, expected):
    with pytest.raises(InputError) as error:
        combinations(*words)
    assert expected in str(error.value)


def test_seeds_are_given_once(combinations):
    with pytest.raises(InputError, match="--seeds and --sweep both give seeds"):
        combinations("--sweep=seed=0,1", seeds=["2"])
    runs = combinations(seeds=["0", "12"])
    assert [one.folder for one in runs] == ["seed-0", "seed-12"]


def test_folders_are_safe_and_distinct():
    texts = ["a/b", "a_b", "../a", "a b", "x" * 99, "x" * 98, "ä", "-1.5e+3"]
    runs = sweep.combine({"data.manual_dir": texts}, config_with)
    names = [one.folder for one in runs]
    assert len(set(names)) == len(texts) and max(map(len, names)) < 70
    assert all(name.isascii() and "/" not in name and " " not in name for name in names)
    assert names[1] == "manual_dir-a_b" and names[-1] == "manual_dir--1.5e+3"
    assert names[0].startswith("manual_dir-a_b~")


def test_folders_of_keys_with_one_last_word():
    keys = {"seed": 0, "model.name": 0, "batch_size": 0, "eval.batch_size": 0}
    assert [*sweep.short_labels(keys).values()] == [
        "seed", "model.name", "batch_size", "eval.batch_size"
    ]  # fmt: skip


RATES = {"optim.learning_rate": [0.1, 0.5], "seed": [1, 2]}


def train(config, workdir):
    """Stands for a run: seed 2 of the higher rate fails."""
    if config.optim.learning_rate == 0.5 and config.seed == 2:
        raise NotFiniteError("loss: step 3")
    top1 = config.optim.learning_rate + config.seed / 10
    workdir.mkdir(parents=True)
    row = {"step": 2, "epoch": 1.0, "train/loss": 1.0, "train/top1": top1}
    row |= {"test/loss": 1.0, "test/top1": top1}
    (workdir / "metrics.jsonl").write_text(json.dumps(row) + "\n")
    return {"step": 2, "test/top1": top1, "best/top1": top1 + 0.1}


def test_a_run_that_fails_leaves_the_others(tmp_path, capsys):
    runs = sweep.combine(RATES | {"optim.momentum": [0.9]}, config_with)
    runs.sort(key=lambda one: -one.values["seed"])  # it fails in the midst
    with pytest.raises(RunError, match="^1 of 4 runs failed, as said above: "):
        sweep.run_all(runs, tmp_path, train, is_primary=True)
    out = capsys.readouterr().out
    assert (
        "run       2 of 4: optim.learning_rate=0.5, seed=2, optim.momentum=0.9" in out
    )
    assert "failed    loss: step 3\n" in out
    table = out.partition("\n\n")[2].splitlines()
    assert max(map(len, table)) <= 80
    rows = [" ".join(line.split()) for line in table]
    assert rows[2:] == [
        "0.1 0.9 2 0.2500 ± 0.0707 0.3500 ± 0.0707",
        "0.5 0.9 1 of 2 0.6000 0.7000 best",
    ]
    records = json.loads((tmp_path / "sweep.json").read_text())
    assert [record["folder"] for record in records] == [one.folder for one in runs]
    assert records[0]["values"]["optim.learning_rate"] == 0.1
    assert records[0]["result"]["best/top1"] == pytest.approx(0.4)
    assert records[1]["result"] == {} and records[1]["error"] == "loss: step 3"


def test_other_errors_end_it(tmp_path):
    def full(config, workdir):
        raise RunError("disk full")

    runs = sweep.combine(RATES, config_with)
    with pytest.raises(RunError, match="^disk full$"):
        sweep.run_all(runs, tmp_path, full, is_primary=True)
    assert len(json.loads((tmp_path / "sweep.json").read_text())) == 4


def test_a_refused_start_loses_no_result(tmp_path):
    def refuse(config, workdir):
        raise InputError("holds another config's run")

    runs = sweep.combine(RATES, config_with)[:2]
    sweep.run_all(runs, tmp_path, train, is_primary=True)
    before = (tmp_path / "sweep.json").read_text()
    for others in (RATES, {"seed": [7, 8]}):
        with pytest.raises(InputError):
            sweep.run_all(
                *(sweep.combine(others, config_with), tmp_path, refuse), is_primary=True
            )
        assert (tmp_path / "sweep.json").read_text() == before

    def stop(config, workdir):
        if config.seed != runs[0].config.seed:
            raise RunError("disk full")
        return runs[0].result

    again = sweep.combine(RATES, config_with)
    with pytest.raises(RunError):
        sweep.run_all(again, tmp_path, stop, is_primary=True)
    records = json.loads((tmp_path / "sweep.json").read_text())
    assert [bool(record["result"]) for record in records] == [True, True, False, False]


def test_one_that_is_refused_later_leaves_the_others(tmp_path, capsys):
    def some(config, workdir):
        if config.seed == 2 and config.optim.learning_rate != 0.5:
            raise InputError("data.name: no such")
        return train(config, workdir)

    runs = sweep.combine({"optim.learning_rate": [0.1], "seed": [1, 2, 3]}, config_with)
    with pytest.raises(RunError, match="^1 of 3 runs failed, as said above: "):
        sweep.run_all(runs, tmp_path, some, is_primary=True)
    assert "failed    data.name: no such\n" in capsys.readouterr().out
    records = json.loads((tmp_path / "sweep.json").read_text())
    assert [bool(record["result"]) for record in records] == [True, False, True]


def test_a_folder_that_is_a_run_too(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(main, "run", train)
    (tmp_path / "metrics.jsonl").touch()
    runs = sweep.combine({"seed": [0], "optim.learning_rate": [0.1]}, config_with)
    main.run_sweep(runs, tmp_path)
    assert f"note      {tmp_path} holds a run by itself, too" in capsys.readouterr().out


def test_a_refused_run_keeps_the_result_it_had(tmp_path):
    def refuse(config, workdir):
        if config.seed == 2:
            raise InputError("another run is writing")
        return {"test/top1": 0.5, "best/top1": 0.5}

    runs = sweep.combine(RATES, config_with)
    sweep.run_all(runs[:2], tmp_path, train, is_primary=True)
    again = sweep.combine(RATES, config_with)[:2]
    with pytest.raises(RunError, match="^1 of 2 runs failed"):
        sweep.run_all(again, tmp_path, refuse, is_primary=True)
    records = json.loads((tmp_path / "sweep.json").read_text())
    failed = [record for record in records if "error" in record]
    assert len(failed) == 1 and failed[0]["result"]["test/top1"] > 0
    with pytest.raises(InputError):  # in one of several processes
        sweep.run_all(again, tmp_path, refuse, is_primary=True, is_alone=False)


def test_another_sweep_in_the_folder_keeps_the_results(tmp_path):
    def made(config, workdir):
        workdir.mkdir(exist_ok=True)
        return {"test/top1": 0.5, "best/top1": 0.5}

    def folders_after(*seeds):
        runs = sweep.combine({"seed": seeds}, config_with)
        sweep.run_all(runs, tmp_path, made, is_primary=True)
        records = json.loads((tmp_path / "sweep.json").read_text())
        return [record["folder"] for record in records if record["result"]]

    assert folders_after(0, 1) == ["seed-0", "seed-1"]
    assert folders_after(2) == folders_after(1) == ["seed-0", "seed-1", "seed-2"]
    (tmp_path / "seed-0").rmdir()
    assert folders_after(3) == ["seed-1", "seed-2", "seed-3"]


@pytest.mark.parametrize(
    "text", ["", "[", "{}", "[1]", '[{"folder": "a"}]', "null", '{"method": "grid"}']
)
def test_a_damaged_list_is_written_anew(tmp_path, text):
    (tmp_path / "sweep.json").write_text(text)
    runs = sweep.combine(RATES, config_with)[:2]
    sweep.run_all(runs, tmp_path, train, is_primary=True)
    records = json.loads((tmp_path / "sweep.json").read_text())
    assert [bool(record["result"]) for record in records] == [True, True]
    assert (tmp_path / "sweep.json.damaged").read_text() == text


def half(config, workdir):
    """Stands for a run of any config."""
    return {"test/top1": 0.5, "best/top1": 0.5}


def test_records_that_are_whole_are_taken_over(tmp_path):
    (tmp_path / "seed-7").mkdir()
    whole = {"folder": "seed-7", "values": {"seed": 7}, "result": {"test/top1": 0.5}}
    (tmp_path / "sweep.json").write_text(json.dumps([{"folder": 3}, whole]))
    runs = sweep.combine({"seed": [1]}, config_with)
    sweep.run_all(runs, tmp_path, half, is_primary=True)
    records = json.loads((tmp_path / "sweep.json").read_text())
    assert [record["folder"] for record in records] == ["seed-7", "seed-1"]
    assert records[0] == whole


def test_two_sweeps_at_once_keep_each_others_results(tmp_path):
    def nested(config, workdir):
        workdir.mkdir()
        if config.seed == 0:  # another process, as this one trains
            other = sweep.combine({"seed": [2, 3]}, config_with)
            sweep.run_all(other, tmp_path, nested, is_primary=True)
        return {"test/top1": 0.5, "best/top1": 0.5}

    runs = sweep.combine({"seed": [0, 1]}, config_with)
    sweep.run_all(runs, tmp_path, nested, is_primary=True)
    records = json.loads((tmp_path / "sweep.json").read_text())
    assert {record["folder"] for record in records if record["result"]} == {
        f"seed-{seed}" for seed in range(4)
    }


def test_a_run_that_another_sweep_trains_is_left_to_it(tmp_path):
    def sweep_with(run):
        values = {"optim.learning_rate": [0.1], "seed": [0, 1, 2]}
        runs = sweep.combine(values, config_with)
        sweep.run_all(runs, tmp_path, run, is_primary=True)

    def end(config, workdir):
        workdir.mkdir(exist_ok=True)
        return {"test/top1": 0.5, "best/top1": 0.5}

    def busy(config, workdir):
        if config.seed == 1:
            sweep_with(end)
            raise BusyError("workdir: another run is writing to it")
        return end(config, workdir)

    with pytest.raises(RunError, match="^1 of 3 runs failed, as said above: "):
        sweep_with(busy)
    records = json.loads((tmp_path / "sweep.json").read_text())
    assert all(record["result"] for record in records) and len(records) == 3
    assert not any("error" in record for record in records)


def test_a_folder_in_place_of_the_list(tmp_path, capsys):
    (tmp_path / "sweep.json").mkdir()
    runs = sweep.combine({"seed": [1]}, config_with)
    sweep.run_all(runs, tmp_path, half, is_primary=True)
    assert "sweep.json is in the way; moved to" in capsys.readouterr().out
    line = "^workdir: /dev/null/x cannot be written .Not a directory.; make room or "
    with pytest.raises(RunError, match=line):
        sweep.run_all(runs, Path("/dev/null/x"), half, is_primary=True)


def test_seeds_of_another_config_are_refused(tmp_path):
    """They would be averaged with these."""
    config = config_with({"seed": 0})
    config.optim.learning_rate = 0.5
    (tmp_path / "seed-0").mkdir()
    record = {"config": config.to_dict()}
    (tmp_path / "seed-0" / "config.json").write_text(json.dumps(record))
    runs = sweep.combine({"seed": [1]}, config_with)
    line = "seed-0 is of another config .optim.learning_rate was 0.5, is .*averaged"
    with pytest.raises(InputError, match=line):
        sweep.run_all(runs, tmp_path, half, is_primary=True)
    record["config"]["optim"]["learning_rate"] = runs[0].config.optim.learning_rate
    (tmp_path / "seed-0" / "config.json").write_text(json.dumps(record))
    sweep.run_all(runs, tmp_path, half, is_primary=True)


def test_a_run_that_needs_too_much_memory_leaves_the_others(tmp_path, capsys):
    def large(config, workdir):
        if config.seed == 1:
            raise RuntimeError("RESOURCE_EXHAUSTED: out of memory")
        return {"test/top1": 0.5, "best/top1": 0.5}

    runs = sweep.combine({"seed": [1, 2]}, config_with)
    with pytest.raises(RunError, match="^1 of 2 runs failed"):
        sweep.run_all(runs, tmp_path, large, is_primary=True)
    assert "failed    the run needs more memory than there is" in (
        capsys.readouterr().out
    )
    with pytest.raises(RuntimeError, match="RESOURCE"):  # others would wait for it
        sweep.run_all(runs, tmp_path, large, is_primary=True, is_alone=False)


def test_the_folder_is_that_of_the_runs(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    runs = sweep.combine({"seed": [1, 2]}, config_with)
    sweep.run_all(runs, Path("~/lab"), lambda *_: {}, is_primary=True)
    assert [path.name for path in tmp_path.iterdir()] == ["lab"]
    with pytest.raises(InputError, match="workdir: .* holds '\\*'"):
        sweep.run_all(runs, Path("a*b"), train, is_primary=True)
    assert [path.name for path in tmp_path.iterdir()] == ["lab"]


def test_seeds_alone_are_two_lines(tmp_path, capsys):
    runs = sweep.combine({"seed": [1, 2], "optim.learning_rate": [0.1]}, config_with)
    for one in runs:
        del one.values["optim.learning_rate"]
    sweep.run_all(runs, tmp_path, train, is_primary=True)
    assert capsys.readouterr().out.splitlines()[-2:] == [
        "2 seeds   last test top-1 0.2500 ± 0.0707",
        "2 seeds   best test top-1 0.3500 ± 0.0707",
    ]


def test_other_processes_write_and_print_nothing(tmp_path, capsys):
    runs = sweep.combine(RATES, config_with)[:2]
    sweep.run_all(runs, tmp_path, lambda *_: {}, is_primary=False)
    assert not [*tmp_path.iterdir()] and "top-1" not in capsys.readouterr().out


def test_a_table_of_failures_and_long_values():
    texts = ["[red]a", "b" * 30 + "end"]
    runs = sweep.combine({"data.manual_dir": texts}, config_with)
    runs[0].error = "loss"
    runs[1].result = {"test/top1": 0.0, "best/top1": 0.0}
    made = sweep.results_table(runs)
    assert [line.split() for line in table_lines(made)][2:] == [
        ["[red]a", "-", "-", "failed"],
        ["b" * 30 + "end", "0.0000", "0.0000", "best"],
    ]
    lines = [*table_lines(made, 50, "in sweep.json")]
    assert re.fullmatch(r"b+…b+end +0.0000 +best", lines[3])
    assert " ".join(lines[4:]).replace("   ", " ") == (
        "not shown: best test top-1; cut: manual_dir; in full at 78 columns, or in "
        "sweep.json"
    )


def test_a_report_reads_each_setting(tmp_path):
    runs = sweep.combine(RATES, config_with)
    with pytest.raises(RunError):
        sweep.run_all(runs, tmp_path / "lab", train, is_primary=True)
    found = read_runs([tmp_path / "lab"])
    names = [one.name for one in found]
    assert names == ["lab/learning_rate-0.1", "lab/learning_rate-0.5"]
    assert [len(one.workdirs) for one in found] == [2, 1]
    assert found[0].workdirs[1].name == "learning_rate-0.1,seed-2"
    (tmp_path / "lab" / "sweep.json").unlink()  # any folder of folders
    assert settings(tmp_path / "lab") == {}
    with pytest.raises(InputError, match="holds no metrics.jsonl with rows"):
        read_runs([tmp_path / "lab"])
