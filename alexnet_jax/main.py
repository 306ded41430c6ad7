"""Trains a network as a config file says.

  python -m alexnet_jax.main --config=experiments/fashion.py

A variant stands after a colon (--config=experiments/fashion.py:half). Every key of the
config can be set; the ones that people change most:

  --config.data.manual_dir=DIR     folder with the original files (nothing downloaded)
  --config.num_epochs=20           length of the run
  --config.num_train_steps=100     stop there, evaluate and save
  --config.batch_size=256          over all devices
  --config.optim.learning_rate=0.1
  --config.dtype=bfloat16
  --config.parallel.data=2         devices that share a batch; all if not given
  --config.parallel.model=2        two devices hold a tower each
  --config.parallel.distributed=True    join the processes of Slurm, Open MPI, ...
  --config.model.name=alexnet_paper    see python -m alexnet_jax.summary --list
  --config.model.init=lecun        author, lecun, he, xavier, torch, paper, 2012, ...
  --config.model.width=0.5         times an AlexNet's channels and hidden units
  --config.model.normalization=none    switches of Krizhevsky's: none, batch; also
                                   model.pooling, model.activation, model.links
  --config.log.gradients=True      the norm of each layer's gradient in the records
  --config.data.name=imagenet2012_256      see python -m alexnet_jax.data.prepare --help
  --config.data.workers=8          processes that decode JPEGs; threads if not given
  --config.data.on_broken=skip     names broken images and goes on without them
  --config.data.scale=pixels       what it is fed: author, unit, pixels, standard,
                                   caffe, torchvision
  --config.augment.canvas=256      images are resized to that; the network sees crops
  --config.augment.crop=random     from anywhere in it, or random_resized parts
  --config.augment.mirror=True     left and right exchanged, of every other image
  --config.augment.color=0.1       the colours' noise of 2012
  --config.eval.views=10           average over 2012's ten views
  --config.optim.name=sgd_2012     the update of 2012; sgd is PyTorch's and Optax's
  --config.optim.schedule=2012     constant, step, cosine, plateau, 2012, ...
  --config.seed=1
  --config.checkpoint.every_steps=500      save so often, besides at each epoch's end
  --config.checkpoint.init_from=WORKDIR    start from another run's weights
  --config.debug.nans=True                 name the layer where NaN or inf began; slow

The run is written to runs/NAME, or to --workdir; the same command again goes on where
that folder ends.
"""

import itertools
import os
import shlex
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from absl import app, flags, logging
from ml_collections import ConfigDict, config_flags

from alexnet_jax.errors import InputError, RunError

_CONFIG = config_flags.DEFINE_config_file(
    "config", None, "Config file: experiments/NAME.py[:VARIANT].", lock_config=True
)
_WORKDIR = flags.DEFINE_string(
    "workdir", None, "Folder of the run; runs/NAME if not given."
)
_SEEDS = flags.DEFINE_list(
    "seeds", None, "Runs the config once a seed, in WORKDIR/seed-N: --seeds=0,1,2."
)


def _leave(message: object, status: int = 1) -> NoReturn:
    """Leaves with a line on stderr."""
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr, flush=True)
    if "alexnet_jax.parallel.multihost" in sys.modules:
        from alexnet_jax.parallel.multihost import abort_process

        abort_process(status)
    sys.exit(status)


def _config_file(argv: list[str]) -> str | None:
    """Returns the file that `--config=FILE[:VARIANT]` or `--config FILE` names."""
    for word, following in itertools.pairwise([*argv, ""]):
        name, equals, value = word.partition("=")
        if name in ("--config", "-config"):
            return (value if equals else following).partition(":")[0]
    return None


def _parse_flags(argv: list[str]) -> list[str]:
    """Parses the flags and loads the config; answers a fault with one line."""
    path = _config_file(argv)
    if path is not None and not Path(path).is_file():
        _leave(f"--config: there is no file {path!r}; try experiments/fashion.py")
    try:
        rest = flags.FLAGS(argv)
    except flags.Error as error:
        # Of a fault that `get_config` found, ml_collections gives the whole traceback.
        _leave(str(error).rpartition(f"{InputError.__name__}: ")[2])
    except AttributeError as error:
        if "get_config" in str(error):
            _leave(f"--config: {path} defines no get_config(variant='')")
        key, *hint = str(error.args[0]).replace("\\'", "").strip("'\"").split("\\n")
        _leave(f"--config has no key {key} {' '.join(hint)}")
    if any(flags.FLAGS[name].value for name in ("help", "helpshort", "helpfull")):
        return rest
    if len(rest) > 1:
        _leave(f"unexpected argument {rest[1]!r}; settings begin with --config.")
    if path is None:
        _leave("--config is missing; try --config=experiments/fashion.py")
    return rest


def main(argv: Sequence[str]) -> None:
    """Runs the config."""
    # Imported here, so that a mistyped flag is answered at once.
    from alexnet_jax.parallel.multihost import is_primary
    from alexnet_jax.run.signals import Stopped

    if not flags.FLAGS["verbosity"].present:
        logging.set_verbosity(logging.ERROR)  # Orbax tells each of its steps
    config = _CONFIG.value
    try:
        workdir = Path(_WORKDIR.value or Path("runs") / config.name)
        if _SEEDS.value is None:
            run(config, workdir)
        else:
            run_seeds(config, workdir, parse_seeds(_SEEDS.value))
    except (InputError, RunError) as error:
        _leave(error)
    except Stopped as stopped:
        print(f"stopped   {stopped}; the same command goes on from there")
        sys.exit(128 + stopped.number)
    except KeyboardInterrupt:  # before the first step, or asked for twice
        _leave("interrupted; the same command goes on from the last checkpoint", 130)
    if is_primary():
        print(f"go on     {_go_on_command(config, workdir)}")
        print("afresh    the first command, with another --workdir")


def run(config: ConfigDict, workdir: Path) -> dict[str, float]:
    """Trains once; see `train.train_and_evaluate`.

    What is compiled is kept in `~/.cache/alexnet_jax` for the next start, unless
    `JAX_COMPILATION_CACHE_DIR` names another folder.
    """
    import jax

    from alexnet_jax.train import train_and_evaluate

    if getattr(jax.config, "jax_compilation_cache_dir", None) is None:
        caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        jax.config.update("jax_compilation_cache_dir", str(caches / "alexnet_jax"))
    return train_and_evaluate(config, workdir)


def parse_seeds(values: Sequence[str]) -> list[int]:
    """Parses `--seeds`.

    Raises:
      InputError: It is empty, holds something else than whole numbers, or one twice.
    """
    try:
        seeds = [int(value) for value in values]
    except ValueError:
        seeds = []
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(
            "--seeds must be different whole numbers, such as --seeds=0,1,2; "
            f"got {','.join(values)!r}"
        )
    return seeds


def run_seeds(config: ConfigDict, workdir: Path, seeds: Sequence[int]) -> None:
    """Trains once a seed, in `workdir/seed-N`, and prints mean and deviation."""
    results = []
    for seed in seeds:
        print(f"seed      {seed}", flush=True)
        one = config.copy_and_resolve_references()
        one.seed = seed
        results.append(run(one, workdir / f"seed-{seed}"))
    if not results[0]:  # the primary has them
        return
    for name, label in (("test/top1", "last"), ("best/top1", "best")):
        values = [result[name] for result in results]
        spread = statistics.stdev(values) if len(values) > 1 else 0.0
        print(
            f"{len(seeds)} seeds   {label} test top-1 "
            f"{statistics.mean(values):.4f} ± {spread:.4f}"
        )


def _go_on_command(config: ConfigDict, workdir: Path) -> str:
    """Returns the command that trains the run further."""
    lengths = ("num_epochs", "num_train_steps")
    flag: Any = flags.FLAGS["config"]
    words = ["python", "-m", "alexnet_jax.main", f"--config={flag.config_filename}"]
    for key, value in flag.override_values.items():
        if key not in lengths:
            words.append(f"--config.{key}={value}")
    # A run that was cut short goes on to its end; one that was not, to twice that.
    cut = config.num_train_steps is not None
    words.append(f"--config.num_epochs={config.num_epochs * (1 if cut else 2)}")
    words.append(f"--workdir={workdir}")
    if _SEEDS.value is not None:
        words.append(f"--seeds={','.join(_SEEDS.value)}")
    return shlex.join(words)


if __name__ == "__main__":
    app.run(main, flags_parser=_parse_flags)
