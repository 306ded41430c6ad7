"""Trains a network as a config file describes.

  python -m alexnet_jax.main --config=digits
  python -m alexnet_jax.main --config=fashion:half --config.num_epochs=20
  python -m alexnet_jax.main --config=digits --seeds=0,1,2
  python -m alexnet_jax.main --config=digits --sweep='batch_size=16,32;seed=0,1'

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
    KEYS,
    Size,
    default_config,
    flatten_config,
    is_cfg,
    optional_keys,
    restore_types,
    validate,
)
from alexnet_jax.errors import InputError
from alexnet_jax.sweep import (
    SWEEP_FILE,
    Combination,
    combine,
    parse_seeds,
    parse_sweep,
    run_all,
)
from alexnet_jax.terminal.experiments import config_hint, find_experiment
from alexnet_jax.terminal.output import output_may_be_lost
from alexnet_jax.terminal.paths import expand, refuse_address
from alexnet_jax.terminal.user_code import check_readable, load_module, named_errors
from alexnet_jax.transfer.settings import Names, Rates, parse_names, parse_rates

_MEMORY = (  # what to do where there is too little
    "lower batch_size, eval.batch_size or data.image_size, raise "
    "optim.accumulate_steps, set data.memory=host, or share the batch among more "
    "devices"
)
_WORKDIR = flags.DEFINE_string("workdir", None, "See --help.")
_SEEDS = flags.DEFINE_list("seeds", None, "See --help.")
_SWEEP = flags.DEFINE_multi_string("sweep", None, "See --help.")
_HELP = {"--help", "-help", "-h", "-?"}
_ALL_HELP = {"--help-config", "--help_config", "--helpfull", "--helpshort"}
# The keys that people set most, which --help shows, with a value as an example.
_COMMON = {
    "data.name": "NAME",
    "data.manual_dir": "DIR",
    "data.image_size": "96",
    "model.name": "alexnet_paper",
    "model.init": "lecun",
    "model.width": "0.5",
    "num_epochs": "20",
    "num_train_steps": "100",
    "batch_size": "256",
    "seed": "1",
    "dtype": "bfloat16",
    "optim.name": "adamw",
    "optim.learning_rate": "0.1",
    "optim.schedule": "cosine",
    "augment.crop": "random",
    "early_stop.patience": "5",
    "checkpoint.init_from": "WORKDIR",
    "parallel.data": "2",
    "log.gradients": "True",
}


def make_parser(every_key: bool = False) -> cli.Parser:
    """Returns what the flags are, for help and completion; absl parses them.

    Args:
      every_key: Whether each key of the config is there, not the most common ones.
    """
    parser = cli.Parser(
        "alexnet_jax.main",
        __doc__,
        usage="%(prog)s --config=FILE[:VARIANT]\n"
        "       [--workdir=FOLDER] [--config.KEY=VALUE ...]",
    )
    add = parser.add_argument
    add(
        "--config",
        metavar="FILE[:VARIANT]",
        help="a config file, or the name of an experiment (digits, fashion, ...), and "
        "one of its variants",
    )
    add(
        "--workdir",
        type=cli.path,
        metavar="FOLDER",
        help="the run's folder (default: runs/NAME)",
    )
    add("--seeds", metavar="0,1,2", help="run once per seed, in WORKDIR/seed-N")
    add(
        "--sweep",
        metavar="KEY=VALUE,VALUE;...",
        help="run once per combination, with a table at the end",
    )
    add(
        "--help-config",
        action="store_true",
        help="print every key of the config, with its default",
    )
    keys = {key.name: key for key in KEYS}
    if every_key:
        group = parser.add_argument_group("keys of the config, of which each is a flag")
        metavars = dict.fromkeys(keys, "VALUE")
    else:
        group = parser.add_argument_group(
            "keys",
            "Of the config, the most common ones; --help-config prints all. None says\n"
            "that a key is not set.",
        )
        metavars = _COMMON
    for name, metavar in metavars.items():
        key = keys[name]
        default = "" if key.default is None else f" (default: {key.default})"
        help_text = cli.as_started(f"{key.text}{default}").replace("%", "%%")
        group.add_argument(f"--config.{name}", metavar=metavar, help=help_text)
    return parser


def _print_keys() -> None:
    """Prints every key of the config, with its default and what it is."""
    parser = make_parser(every_key=True)
    print(parser.format_group(parser._action_groups[-1]))


class _Loaded(flags.ArgumentParser):
    """Hands a config to its flag, which then sets the keys that other flags name."""

    def __init__(self, config: ConfigDict) -> None:
        self._config = config
        # As the file sets them.
        self.num_train_steps = config.num_train_steps
        self.patience = config.early_stop.patience

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


# What parsers of numbers say in Python's words.
_WORDS: dict[type[flags.ArgumentParser], str] = {
    flags.IntegerParser: "must be an integer, such as 16",
    flags.FloatParser: "must be a number, such as 0.01",
    flags.BooleanParser: "must be True or False",
}


class _OrNone(flags.ArgumentParser):
    """Parses `None` as a key that is not set, and all else as another parser does."""

    def __init__(self, parser: flags.ArgumentParser, optional: bool) -> None:
        self._parser, self._optional = parser, optional

    def parse(self, argument: Any) -> Any:
        if argument != "None":
            try:
                return self._parser.parse(argument)
            except (TypeError, ValueError) as error:
                raise ValueError(_WORDS.get(type(self._parser), str(error))) from error
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
    if _HELP & {*argv}:
        print(make_parser().format_help(), end="")
        sys.exit()
    if _ALL_HELP & {*argv}:
        _print_keys()
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
        similar = difflib.get_close_matches(name, last.values(), 3, 0.7)
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
    workdir = Path(_WORKDIR.value or _default_workdir(config.name))
    try:
        if runs:
            run_sweep(runs, workdir)
        else:
            run(config, workdir)
    except Stopped as stopped:
        print(f"stopped   {stopped}; run the same command to continue")
        sys.exit(128 + stopped.number)
    if is_primary():
        lengths = {"num_epochs", "num_train_steps", "early_stop.patience"}
        if runs and lengths & runs[0].values.keys():
            return  # a sweep of them
        print(f"to train longer: {_longer_command(config, workdir)}")
        print("to start over: the same command with another --workdir")


def _default_workdir(name: str) -> Path:
    workdir = Path("runs", name)
    if ".." in workdir.parts or Path(name).is_absolute():
        raise InputError(
            f"name must be a folder's in runs/; got {name!r}: set another name, or "
            "--workdir"
        )
    return workdir


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
    from alexnet_jax.data import check_name
    from alexnet_jax.metrics import check_metrics
    from alexnet_jax.models import create_configured
    from alexnet_jax.preprocessing.normalize import check_scale

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
        check_metrics(values.config.eval.metrics)
        check_scale(values.config.data.scale)
        check_name(values.config.data.name)
    except InputError as error:
        listed = ", ".join(f"{key}={value}" for key, value in changes.items())
        raise InputError(f"with {listed}: {error}") from error
    config: ConfigDict = values.config
    return config


def run_sweep(runs: Sequence[Combination], workdir: Path) -> None:
    """Trains once per combination, in a folder each; prints what came of them."""
    import jax

    from alexnet_jax.parallel import multihost
    from alexnet_jax.run.rows import METRICS_FILE

    multihost.start(runs[0].config)
    folder = expand(workdir, "workdir")
    with multihost.silence_other_processes():
        if (folder / METRICS_FILE).exists() and not (folder / SWEEP_FILE).exists():
            print(
                f"note      {workdir} holds a run by itself, too, which `report` "
                "shows; give it the folders of these, or choose another --workdir"
            )
        run_all(
            *(runs, workdir, run),
            is_primary=multihost.is_primary(),
            is_alone=jax.process_count() == 1,
        )


def _longer_command(config: ConfigDict, workdir: Path) -> str:
    """Returns the command that trains the run further.

    To its end if it was cut short, by fewer steps or for want of patience, which is
    twice as much then; else twice as long.
    """
    lengths = ("num_epochs", "num_train_steps", "early_stop.patience")
    flag: Any = flags.FLAGS["config"]
    words = [f"--config={flag.config_filename}"]
    for key, value in flag.override_values.items():
        if key not in lengths:
            words.append(f"--config.{key}={value}")
    if flag.parser.num_train_steps is not None:  # else the file's would hold again
        words.append("--config.num_train_steps=None")
    patience, stopped = config.early_stop.patience, False
    if patience is not None:
        stopped = _has_stopped_early(config, workdir)
        words.append(f"--config.early_stop.patience={patience * (1 + stopped)}")
    elif flag.parser.patience is not None:
        words.append("--config.early_stop.patience=None")
    factor = 1 if stopped or _was_cut(config, workdir) else 2
    words.append(f"--config.num_epochs={config.num_epochs * factor}")
    words.append(f"--workdir={workdir}")
    if _SEEDS.value is not None:
        words.append(f"--seeds={','.join(_SEEDS.value)}")
    words += [f"--sweep={text}" for text in _SWEEP.value or ()]
    return cli.as_started("python -m alexnet_jax.main ") + shlex.join(words)


def _has_stopped_early(config: ConfigDict, workdir: Path) -> bool:
    """Whether a run, or one of several in a folder, ended for want of patience."""
    from alexnet_jax.run.rows import stopped_early

    patience = config.early_stop.patience
    return any(stopped_early(rows, patience) for rows in _rows(workdir))


def _was_cut(config: ConfigDict, workdir: Path) -> bool:
    """Whether a run, or one of several in a folder, ended by its number of steps."""
    if config.num_train_steps is None:
        return False
    ends = [rows[-1]["epoch"] for rows in _rows(workdir)]
    return not ends or min(ends) < config.num_epochs


def _rows(workdir: Path) -> list[list[dict[str, float]]]:
    """Returns the rows of a run, or of each of several in a folder."""
    from alexnet_jax.run.rows import METRICS_FILE, scan_rows

    folder = expand(workdir, "workdir")
    files = [*folder.glob(METRICS_FILE), *folder.glob(f"*/{METRICS_FILE}")]
    return [rows for file in files if (rows := scan_rows(file).rows)]


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
    with cli.one_line_errors("; run the same command to continue", _abort, _MEMORY):
        app.run(_train, flags_parser=_parse_flags)


if __name__ == "__main__":
    main()
