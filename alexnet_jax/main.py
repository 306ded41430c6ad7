"""Trains a network as a config file describes.

  python -m alexnet_jax.main --config=experiments/fashion.py

flags:
  --config=FILE[:VARIANT]          a config file, or the name of an experiment (digits,
                                   fashion, ...), and one of its variants
  --workdir=FOLDER                 the run's folder (default: runs/NAME)
  --seeds=0,1,2                    run once per seed, in WORKDIR/seed-N
  --sweep='optim.learning_rate=0.01,0.03;seed=0,1'
                                   run once per combination, with a table at the end

Every key of the config is a flag; None says that a key is not set. The most common:

  --config.data.manual_dir=DIR     folder of the original files (nothing is downloaded)
  --config.num_epochs=20           length of the run
  --config.num_train_steps=100     stop after so many steps, evaluate and save
  --config.steps_per_dispatch=10   steps that a GPU does without being asked again
                                   (default: 10 of small networks; a CPU does one)
  --config.batch_size=256          over all devices
  --config.optim.learning_rate=0.1
  --config.dtype=bfloat16
  --config.parallel.data=2         devices that share a batch (default: all)
  --config.parallel.model=2        two devices hold one tower each
  --config.parallel.distributed=True    join the processes of Slurm, Open MPI, ...
  --config.model.name=alexnet_paper    see python -m alexnet_jax.summary --list
  --config.model.init=lecun        author, lecun, he, xavier, torch, paper, 2012, ...
  --config.model.width=0.5         multiplies an AlexNet's channels and hidden units
  --config.model.normalization=none    ablations of Krizhevsky's networks: none, batch;
                                   also model.pooling, model.activation, model.links
  --config.log.gradients=True      log the gradient norm of each layer
  --config.data.name=image_folder  or tfds/cifar10, my_module:Builder, ...;
                                   see python -m alexnet_jax.data.prepare --help
  --config.data.workers=8          processes that decode JPEGs (default: threads)
  --config.data.val_share=0.2      share of the training images to validate on, if
                                   the data set has no part for it
  --config.data.on_broken=skip     report broken images and leave them out
  --config.data.memory=device      keep the training images on each device, as on GPUs
                                   where they fit; or host
  --config.data.image_size=96      side of what the network sees; '(96,128)' for
                                   height and width; likewise data.stored_size, of
                                   images read from disk (default: about 256×256)
  --config.data.scale=pixels       input normalization: author, unit, pixels, standard,
                                   caffe, torchvision
  --config.augment.canvas=256      size that images are resized to before cropping
  --config.augment.crop=random     crop at a random place, or random_resized
  --config.augment.mirror=True     mirror every other image, chosen at random
  --config.augment.color=0.1       color noise of 2012
  --config.eval.views=10           average over the ten views of 2012
  --config.optim.name=sgd_2012     the update rule of 2012; sgd is PyTorch's and Optax's
  --config.optim.schedule=2012     constant, step, cosine, plateau, 2012, ...
  --config.optim.params=FILE       rates, momenta and decays of a layer-parameter file;
                                   with optim.learning_rate all but its rates
  --config.optim.ema=0.999         evaluate and load a moving average of the parameters
  --config.optim.accumulate_steps=4    compute a batch in 4 parts, in the memory of one
  --config.early_stop.patience=5   end after 5 evaluated epochs in a row without a
                                   better test top-1
  --config.seed=1
  --config.checkpoint.every_steps=500      save this often, besides after every epoch
  --config.checkpoint.every_seconds=60     after an epoch only so long after the last
                                   time, or if it is the best
  --config.eval.batch_size=250     test images at a time (default: 125, or on a GPU as
                                   many as fit, at most 1,000)
  --config.checkpoint.init_from=WORKDIR    start from the weights of another run, in
                                   the layers that fit, or in checkpoint.init_layers
  --config.optim.freeze='conv*'    layers that do not learn
  --config.optim.rates='fc8=10'    factors of the learning rates of layers
  --config.debug.nans=True                 name the layer where NaN or inf began; slow
  --config.debug.deterministic=True        the same bits in every run on a GPU; slower

The same command continues an interrupted run from its last checkpoint.
"""

import ast
import contextlib
import difflib
import itertools
import os
import re
import shlex
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from absl import app, flags
from ml_collections import ConfigDict, FrozenConfigDict, config_flags

from alexnet_jax import cli
from alexnet_jax.config import (
    Size,
    default_config,
    flatten_config,
    is_cfg,
    optional_keys,
    restore_types,
    validate,
)
from alexnet_jax.errors import InputError
from alexnet_jax.sweep import Combination, combine, parse_sweep, run_all
from alexnet_jax.terminal.experiments import config_hint, find_experiment
from alexnet_jax.terminal.output import output_may_be_lost
from alexnet_jax.terminal.paths import expand, refuse_address
from alexnet_jax.terminal.user_code import check_readable, load_module, named_errors
from alexnet_jax.transfer.settings import Names, Rates, parse_names, parse_rates

_WORKDIR = flags.DEFINE_string("workdir", None, "See --help.")
_SEEDS = flags.DEFINE_list("seeds", None, "See --help.")
_SWEEP = flags.DEFINE_multi_string("sweep", None, "See --help.")


class _Loaded(flags.ArgumentParser):
    """Hands a config to its flag, which then sets the keys that other flags name."""

    def __init__(self, config: ConfigDict) -> None:
        self._config = config
        self.num_train_steps = config.num_train_steps  # as the file sets it

    def parse(self, argument: str) -> ConfigDict:
        return self._config


class _SizeParser(flags.ArgumentParser):
    """Parses `224`, `(96, 128)`, `[96, 128]` or `96,128`."""

    def parse(self, argument: Any) -> Any:
        if not isinstance(argument, str):  # the config's own
            return argument
        try:
            size = ast.literal_eval(argument.strip())
        except (SyntaxError, ValueError):
            size = None
        if not isinstance(size, Size):
            raise ValueError(
                "must be an integer or a pair, height and width, such as '(96, 128)'"
            )
        return size


class _TextParser(flags.ArgumentParser):
    """Parses what is written on the command line, and takes the config's own."""

    def __init__(self, parse: Callable[[str], Any]) -> None:
        self._parse = parse

    def parse(self, argument: Any) -> Any:
        return self._parse(argument) if isinstance(argument, str) else argument


class _OrNone(flags.ArgumentParser):
    """Parses `None` as a key that is not set, and all else as another parser does."""

    def __init__(self, parser: flags.ArgumentParser, optional: bool) -> None:
        self._parser, self._optional = parser, optional

    def parse(self, argument: Any) -> Any:
        if argument != "None":
            return self._parser.parse(argument)
        if not self._optional:
            raise ValueError("it must be set; leave the flag out for the config's own")
        return None


def _define_config(
    config: ConfigDict | None, values: flags.FlagValues, argv: list[str]
) -> None:
    """Defines `--config`, which defines a flag for each key on the command line."""
    config_flags.register_flag_parser_for_type(Size, _SizeParser())
    config_flags.register_flag_parser_for_type(Names, _TextParser(parse_names))
    config_flags.register_flag_parser_for_type(Rates, _TextParser(parse_rates))
    # Not before: it reads the command line.
    config_flags.DEFINE_config_file(
        "config", None, "See --help.", values, sys_argv=argv
    )
    if config is None:
        return
    flag: Any = values["config"]
    flag.parser = _Loaded(config)
    define = flag.parse

    def parse(argument: str) -> None:
        define(argument)  # the flags of keys, which are parsed after this one
        optional = optional_keys()
        for key in flatten_config(config):
            if (name := f"config.{key}") in values:
                one: Any = values[name]
                one.parser = _OrNone(one.parser, key in optional)

    flag.parse = parse


def _parse_flags(argv: list[str]) -> list[str]:
    """Parses the flags and loads the config.

    Raises:
      InputError: The flags or the config file cannot be used.
    """
    if {"--help", "-help", "-h", "-?"} & {*argv}:
        print(cli.as_started(__doc__ or ""), end="")
        sys.exit()
    for word in argv:
        if re.match("--?flagfile", word):
            raise InputError("--flagfile is not supported; give the flags themselves")
    argument = _config_argument(argv)
    config = None
    if argument is not None:
        config = load_config(argument)
        _check_keys(argv, config)
    _define_config(config, flags.FLAGS, argv)
    with _named_flag_errors():
        try:
            rest = flags.FLAGS(argv)
        except flags.UnrecognizedFlagError as error:
            near = _nearest(error.flagname, list(flatten_config(config or {})))
            hint = f". Did you mean --config.{near[0]}?" if near else ""
            raise InputError(f"{error}{hint}") from error
    if len(rest) > 1:
        raise InputError(f"unexpected argument {rest[1]!r}; flags begin with --")
    if argument is None:
        raise InputError(f"--config is missing; {config_hint('')}")
    return rest


@contextlib.contextmanager
def _named_flag_errors() -> Iterator[None]:
    """Turns what parsers of flags raise into an InputError."""
    try:
        yield
    except InputError:
        raise
    except flags.Error as error:
        raise InputError(str(error)) from error
    except (AttributeError, LookupError, TypeError, ValueError, SyntaxError) as error:
        raise InputError(f"--config: {' '.join(map(str, error.args))}") from error
    except (RecursionError, MemoryError) as error:  # of Python's parser of tuples
        raise InputError("--config: a value is nested too deeply") from error


def _config_argument(argv: Sequence[str]) -> str | None:
    """Returns the `FILE[:VARIANT]` of `--config=FILE[:VARIANT]` or `--config FILE`.

    Raises:
      InputError: There are several.
    """
    found = []
    for word, following in itertools.pairwise([*argv, ""]):
        name, equals, value = word.partition("=")
        if name in ("--config", "-config"):
            found.append(value if equals else following)
    if len(found) > 1:
        raise InputError(
            f"--config must be given once; got {', '.join(map(repr, found))}"
        )
    return found[0] if found else None


def load_config(argument: str) -> ConfigDict:
    """Loads a config, locked.

    Args:
      argument: `FILE[:VARIANT]`; see `find_experiment`.

    Raises:
      InputError: There is no such file, its code raises, or it returns something else
        than a config with the keys of `default_config`.
    """
    refuse_address(argument, "--config")
    path, colon, variant = argument.partition(":")
    path = find_experiment(path)
    check_readable(path, "--config", config_hint(path))
    module = load_module(path, "config_config", "--config")
    get_config = getattr(module, "get_config", None)
    if not callable(get_config):
        raise InputError(f"--config: {path} defines no get_config(variant='')")
    with named_errors(path, "--config"):
        config = get_config(*([variant] if colon else []))
    if not isinstance(config, ConfigDict):
        raise InputError(
            f"--config: {path}: get_config must return a ConfigDict, such as "
            f"default_config() makes; got {type(config).__name__}"
        )
    with named_errors(path, "--config"):  # a value may be required and not set
        if isinstance(config, FrozenConfigDict):
            config = ConfigDict(config)
        keys = flatten_config(config.lock()).keys()
    known = flatten_config(default_config()).keys()
    for wrong, what in ((known - keys, "lacks"), (keys - known, "has unknown")):
        if wrong:
            raise InputError(
                f"--config: {path}: what get_config returns {what} keys: "
                f"{', '.join(sorted(wrong)[:5])}; begin with default_config()"
            )
    with named_errors(path, "--config"):
        restore_types(config)
    return config


def _check_keys(argv: Sequence[str], config: ConfigDict) -> None:
    """Checks that flags name keys of the config.

    Raises:
      InputError: One does not; the nearest keys are named.
    """
    known = flatten_config(config)
    for word in argv:
        match = re.match(r"--?(?:no)?config\.([^=]*)", word)
        key = match[1] if match else None
        if key is None or key in known:
            continue
        if inside := [one for one in known if one.startswith(f"{key}.")]:
            one = next((one for one in inside if one == f"{key}.name"), inside[0])
            raise InputError(
                f"--config.{key} is a group of keys; set one of them, such as "
                f"--config.{one}={known[one]}"
            )
        group, _, name = key.rpartition(".")
        near = " or ".join(f'"{one}"' for one in _nearest(key, list(known)))
        hint = f". Did you mean {near}?" if near else "; see --help"
        place = f" in {group}" if group else ""
        raise InputError(f"--config has no key {name}{place}{hint}")


def _nearest(key: str, known: Sequence[str]) -> list[str]:
    """Returns the keys that a wrong one may stand for, of any group, at most three."""
    name = key.lower().rpartition(".")[2]
    last = {one: one.rpartition(".")[2] for one in known}

    def is_near(one: str) -> bool:  # lr of learning_rate, epochs of num_epochs
        words = last[one].split("_")
        initials = "".join(word[0] for word in words)
        return name in (last[one], *words) or (len(words) > 1 and initials == name)

    found = [one for one in known if is_near(one)]
    if not found:
        similar = difflib.get_close_matches(name, last.values(), n=3)
        found = [one for one in known if last[one] in similar]
        # A group's name stands for what it names: dataset for data.name.
        groups = {one: one.rpartition(".")[0] for one in known if last[one] == "name"}
        found += [one for one, its in groups.items() if its and name.startswith(its)]
    found = found or difflib.get_close_matches(key, known, n=3)
    likeness = {one: difflib.SequenceMatcher(None, key, one).ratio() for one in found}
    return sorted(likeness, key=lambda one: -likeness[one])[:3]


@output_may_be_lost()
def _train(argv: Sequence[str]) -> None:
    """Runs the config of the flags, which have been parsed."""
    # Imported here, so that a mistyped flag is answered at once.
    from alexnet_jax.parallel.multihost import is_primary
    from alexnet_jax.run.signals import Stopped

    config = flags.FLAGS.config
    runs = _combinations()
    if not runs:
        validate(config)
    if _WORKDIR.value in ("", "None"):
        raise InputError(
            f"--workdir must be a folder; got {_WORKDIR.value!r}: leave it out for "
            "runs/NAME"
        )
    refuse_address(_WORKDIR.value or "", "workdir")
    workdir = Path(_WORKDIR.value or Path("runs") / config.name)
    try:
        if runs:
            run_sweep(runs, workdir)
        else:
            run(config, workdir)
    except Stopped as stopped:
        print(f"stopped   {stopped}; run the same command to continue")
        sys.exit(128 + stopped.number)
    if is_primary():
        if runs and {"num_epochs", "num_train_steps"} & runs[0].values.keys():
            return  # a sweep of lengths
        print(f"to train longer: {_longer_command(config, workdir)}")
        print("to start over: the same command with another --workdir")


def run(config: ConfigDict, workdir: Path) -> dict[str, float]:
    """Trains once; see `train.train_and_evaluate`.

    Compiled programs are cached in `~/.cache/alexnet_jax` for the next start, unless
    `JAX_COMPILATION_CACHE_DIR` names another folder.
    """
    import jax

    # A cache that cannot be written or read costs a compilation, nothing else.
    warnings.filterwarnings("ignore", "Error (reading|writing) persistent compilation")

    from alexnet_jax.train import train_and_evaluate

    if getattr(jax.config, "jax_compilation_cache_dir", None) is None:
        caches = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        with contextlib.suppress(InputError):  # there is no home folder
            folder = expand(caches, "XDG_CACHE_HOME") / "alexnet_jax"
            jax.config.update("jax_compilation_cache_dir", str(folder))
    return train_and_evaluate(config, workdir)


def parse_seeds(values: Sequence[str]) -> list[int]:
    """Parses `--seeds`.

    Raises:
      InputError: There are none, or they are not distinct integers.
    """
    try:
        seeds = [int(value) for value in values]
    except ValueError:
        seeds = []
    in_range = all(0 <= seed < 2**32 for seed in seeds)
    if not seeds or not in_range or len(set(seeds)) < len(seeds):
        raise InputError(
            "--seeds must be distinct integers in [0, 2**32), such as --seeds=0,1,2; "
            f"got {','.join(values)!r}"
        )
    return seeds


def _combinations() -> list[Combination]:
    """Returns the runs that `--sweep` and `--seeds` ask for; none without them.

    Raises:
      InputError: One of them cannot be run as it is written.
    """
    sweep = {} if _SWEEP.value is None else parse_sweep(";".join(_SWEEP.value))
    flag: Any = flags.FLAGS["config"]
    _check_keys([f"--config.{key}=" for key in sweep], flag.value)
    if _SEEDS.value is not None:
        if "seed" in sweep:
            raise InputError("--seeds and --sweep both give seeds; leave one of them")
        sweep["seed"] = [*map(str, parse_seeds(_SEEDS.value))]
    for key in flag.override_values:
        if key in sweep:
            raise InputError(
                f"--config.{key} and a sweep both set {key}; leave one of them out"
            )
    return combine(sweep, _config_with) if sweep else []


def _config_with(changes: Mapping[str, str]) -> ConfigDict:
    """Returns the config that the command line has with further keys, checked.

    Args:
      changes: As on the command line, `--config.KEY=VALUE`.

    Raises:
      InputError: A value cannot be used.
    """
    from alexnet_jax.models import create_configured

    flag: Any = flags.FLAGS["config"]
    keys = {**flag.override_values, **changes}
    argv = ["", f"--config={flag.config_filename}"]
    argv += [f"--config.{key}={value}" for key, value in keys.items()]
    values = flags.FlagValues()
    try:
        _define_config(load_config(flag.config_filename), values, argv)
        with _named_flag_errors():
            values(argv)
        validate(values.config)
        if not is_cfg(values.config.model.name):  # a run may have its file's text
            create_configured(values.config)
    except InputError as error:
        listed = ", ".join(f"{key}={value}" for key, value in changes.items())
        raise InputError(f"with {listed}: {error}") from error
    config: ConfigDict = values.config
    return config


def run_sweep(runs: Sequence[Combination], workdir: Path) -> None:
    """Trains once per combination, in a folder each; prints what came of them."""
    from alexnet_jax.parallel import multihost

    multihost.start(runs[0].config)
    with multihost.silence_other_processes():
        run_all(runs, workdir, run, is_primary=multihost.is_primary())


def _longer_command(config: ConfigDict, workdir: Path) -> str:
    """Returns the command that trains the run further."""
    lengths = ("num_epochs", "num_train_steps", "early_stop.patience")
    flag: Any = flags.FLAGS["config"]
    words = [f"--config={flag.config_filename}"]
    for key, value in flag.override_values.items():
        if key not in lengths:
            words.append(f"--config.{key}={value}")
    if flag.parser.num_train_steps is not None:  # else the file's would hold again
        words.append("--config.num_train_steps=None")
    if config.early_stop.patience is not None:  # which may have ended the run
        words.append("--config.early_stop.patience=None")
    # To its end if it was cut short, else twice as long.
    factor = 2 if config.num_train_steps is None else 1
    words.append(f"--config.num_epochs={config.num_epochs * factor}")
    words.append(f"--workdir={workdir}")
    if _SEEDS.value is not None:
        words.append(f"--seeds={','.join(_SEEDS.value)}")
    words += [f"--sweep={text}" for text in _SWEEP.value or ()]
    return cli.as_started("python -m alexnet_jax.main ") + shlex.join(words)


def _abort(status: int) -> None:
    """Ends this process at once, where an orderly exit could wait for long."""
    if "alexnet_jax.parallel.multihost" in sys.modules:
        from alexnet_jax.parallel.multihost import abort_process

        abort_process(status)  # for the other processes of the job
    if "orbax.checkpoint" in sys.modules:
        sys.stdout.flush()
        os._exit(status)  # for threads of a checkpoint that could not be written


def main(argv: Sequence[str] | None = None) -> None:
    """Trains as the arguments say; exits with their status."""
    if argv is not None:
        sys.argv[1:] = argv  # where the flags of a config look for the keys
    with cli.one_line_errors("; run the same command to continue", _abort):
        app.run(_train, flags_parser=_parse_flags)


if __name__ == "__main__":
    main()
