"""The command of a report makes the config that the run had."""

import shlex

import pytest
from absl import flags

from alexnet_jax import main
from alexnet_jax.config import config_of, default_config, flatten_config, validate
from alexnet_jax.reporting.command import command_of
from alexnet_jax.terminal.experiments import experiments
from tests.helpers import EXPERIMENTS

ODD = {
    "name": 'it\'s a $HOME; `run` "x"',
    "num_train_steps": 7,
    "data.image_size": (96, 128),
    "augment.canvas": (100, 140),
    "data.manual_dir": "/a folder/of files",
    "optim.decay_epochs": (1, 3),
    "optim.schedule": "step",
    "optim.learning_rate": 1e-05,
    "optim.freeze": ("conv*", "fc6"),
    "optim.rates": ("fc8=10.0", "conv1=0.1"),
    "optim.ema": 0.999,
    "early_stop.patience": 3,
    "eval.metrics": ("loss", "top1", "ece"),
    "log.tensorboard": False,
    "checkpoint.every_seconds": 2.5,
    "seed": 4294967295,
}


def parsed(command):
    """The config that a line of the shell trains."""
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "alexnet_jax.main"]
    argv = ["", *(word for word in words[3:] if word.startswith("--config"))]
    rest = [word for word in words[3:] if not word.startswith("--config")]
    (argument,) = (word[9:] for word in argv if word.startswith("--config="))
    values = flags.FlagValues()
    main._define_config(main.load_config(argument), values, argv)
    values(argv)
    validate(values.config)
    return values.config, rest


def same(config, other):
    """Equal values, as a run's config.json would have them."""
    as_stored = [flatten_config(config_of(one.to_dict())) for one in (config, other)]
    assert as_stored[0] == as_stored[1]


VARIANTS = [
    (name, variant)
    for name, module in EXPERIMENTS.items()
    for variant in ("", *getattr(module, "VARIANTS", ()))
]


@pytest.mark.parametrize(("name", "variant"), VARIANTS)
def test_an_experiment_needs_no_flags(name, variant):
    try:
        config = EXPERIMENTS[name].get_config(variant)
    except ValueError as error:
        pytest.skip(str(error))
    command = command_of(config)
    found, _ = parsed(command)
    same(found, config)
    assert "--config." not in command


@pytest.mark.parametrize(
    "text",
    [
        "def get_config(): raise KeyError('MY_DATA')",
        "def get_config(): raise SystemExit",
        "def get_config(): return {'a': 1}",
        "HELPER = 1",
        "1 / 0",
        "VARIANTS = 3\nfrom experiments.digits import get_config",
    ],
)
def test_an_experiment_that_does_not_run_is_left_out(tmp_path, monkeypatch, text):
    (tmp_path / "mine.py").write_text(text)
    known = {"mine": tmp_path / "mine.py", **experiments()}
    monkeypatch.setattr("alexnet_jax.reporting.command.experiments", lambda: known)
    assert "--config=digits " in command_of(EXPERIMENTS["digits"].get_config())


def test_every_kind_of_key():
    config = default_config()
    config.update_from_flattened_dict(ODD)
    validate(config)
    found, (workdir,) = parsed(command_of(config))
    same(found, config)
    assert workdir == f"--workdir=runs/{ODD['name']}-again"


def test_keys_that_the_experiment_sets_are_unset():
    config = EXPERIMENTS["digits"].get_config()
    config.eval.batch_size = None
    config.optim.schedule = "constant"
    command = command_of(config)
    assert "--config=digits " in command and "--config.eval.batch_size=None" in command
    same(parsed(command)[0], config)


def test_a_config_read_from_its_record():
    """JSON has lists where a config has tuples."""
    config = default_config()
    config.update_from_flattened_dict(ODD)
    read = config_of({**config.to_dict(), "optim": dict(config.optim.to_dict())})
    same(parsed(command_of(read))[0], config)


def test_seeds_are_one_flag():
    config = EXPERIMENTS["digits"].get_config()
    config.seed = 3
    command = command_of(config, [3, 4])
    assert command.endswith("--config=digits --seeds=3,4 --workdir=runs/digits-again")
