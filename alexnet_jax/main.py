"""Trains a network as a config file describes.

  python -m alexnet_jax.main --config=experiments/fashion.py

flags:
  --config=FILE[:VARIANT]          a file of experiments/ and one of its variants
  --workdir=FOLDER                 the run's folder (default: runs/NAME)
  --seeds=0,1,2                    run once per seed, in WORKDIR/seed-N

Every key of the config is a flag. The most common ones:

  --config.data.manual_dir=DIR     folder of the original files (nothing is downloaded)
  --config.num_epochs=20           length of the run
  --config.num_train_steps=100     stop after so many steps, evaluate and save
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
  --config.data.name=imagenet2012_256      see python -m alexnet_jax.data.prepare --help
  --config.data.workers=8          processes that decode JPEGs (default: threads)
  --config.data.on_broken=skip     report broken images and leave them out
  --config.data.scale=pixels       input normalization: author, unit, pixels, standard,
                                   caffe, torchvision
  --config.augment.canvas=256      size that images are resized to before cropping
  --config.augment.crop=random     crop at a random place, or random_resized
  --config.augment.mirror=True     mirror every other image, chosen at random
  --config.augment.color=0.1       color noise of 2012
  --config.eval.views=10           average over the ten views of 2012
  --config.optim.name=sgd_2012     the update rule of 2012; sgd is PyTorch's and Optax's
  --config.optim.schedule=2012     constant, step, cosine, plateau, 2012, ...
  --config.seed=1
  --config.checkpoint.every_steps=500      save this often, besides after every epoch
  --config.checkpoint.init_from=WORKDIR    start from the weights of another run
  --config.debug.nans=True                 name the layer where NaN or inf began; slow

The same command continues an interrupted run from its last checkpoint.
"""

import itertools
import os
import shlex
import statistics
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from absl import app, flags
from ml_collections import ConfigDict, config_flags

from alexnet_jax import cli
from alexnet_jax.errors import InputError

_CONFIG = config_flags.DEFINE_config_file("config", None, "See --help.")
_WORKDIR = flags.DEFINE_string("workdir", None, "See --help.")
_SEEDS = flags.DEFINE_list("seeds", None, "See --help.")


def _config_file(argv: Sequence[str]) -> str | None:
    """Returns the file that `--config=FILE[:VARIANT]` or `--config FILE` names."""
    for word, following in itertools.pairwise([*argv, ""]):
        name, equals, value = word.partition("=")
        if name in ("--config", "-config"):
            return (value if equals else following).partition(":")[0]
    return None


def _parse_flags(argv: list[str]) -> list[str]:
    """Parses the flags and loads the config.

    Raises:
      InputError: The flags or the config file cannot be used.
    """
    if {"--help", "-help", "-h", "-?"} & {*argv}:
        print(__doc__, end="")
        sys.exit()
    path = _config_file(argv)
    if path is not None and not Path(path).is_file():
        raise InputError(f"--config: there is no {path!r}; try experiments/digits.py")
    try:
        rest = flags.FLAGS(argv)
    except flags.Error as error:
        # ml_collections quotes the whole traceback of an error in `get_config`.
        message = str(error).rpartition(f"{InputError.__name__}: ")[2]
        raise InputError(message) from error
    except AttributeError as error:
        if "get_config" in str(error):
            raise InputError(
                f"--config: {path} defines no get_config(variant='')"
            ) from error
        key, *hint = str(error.args[0]).replace("\\'", "").strip("'\"").split("\\n")
        raise InputError(f"--config has no key {key} {' '.join(hint)}") from error
    if len(rest) > 1:
        raise InputError(f"unexpected argument {rest[1]!r}; flags begin with --")
    if path is None:
        raise InputError("--config is missing; try --config=experiments/digits.py")
    return rest


def main(argv: Sequence[str]) -> None:
    """Runs the config."""
    # Imported here, so that a mistyped flag is answered at once.
    from alexnet_jax.parallel.multihost import is_primary
    from alexnet_jax.run.signals import Stopped

    config = _CONFIG.value
    workdir = Path(_WORKDIR.value or Path("runs") / config.name)
    try:
        if _SEEDS.value is None:
            run(config, workdir)
        else:
            run_seeds(config, workdir, parse_seeds(_SEEDS.value))
    except Stopped as stopped:
        print(f"stopped   {stopped}; run the same command to continue")
        sys.exit(128 + stopped.number)
    if is_primary():
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
        caches = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser()
        jax.config.update("jax_compilation_cache_dir", str(caches / "alexnet_jax"))
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
    if not seeds or len(set(seeds)) < len(seeds):
        raise InputError(
            "--seeds must be distinct integers, such as --seeds=0,1,2; "
            f"got {','.join(values)!r}"
        )
    return seeds


def run_seeds(config: ConfigDict, workdir: Path, seeds: Sequence[int]) -> None:
    """Trains once per seed, in `workdir/seed-N`; prints mean and deviation."""
    results = []
    for seed in seeds:
        print(f"seed      {seed}", flush=True)
        one = config.copy_and_resolve_references()
        one.seed = seed
        results.append(run(one, workdir / f"seed-{seed}"))
    if not results[0]:  # only the primary process has results
        return
    for name, label in (("test/top1", "last"), ("best/top1", "best")):
        values = [result[name] for result in results]
        deviation = statistics.stdev(values) if len(values) > 1 else 0.0
        print(
            f"{len(seeds)} seeds   {label} test top-1 "
            f"{statistics.mean(values):.4f} ± {deviation:.4f}"
        )


def _longer_command(config: ConfigDict, workdir: Path) -> str:
    """Returns the command that trains the run further."""
    lengths = ("num_epochs", "num_train_steps")
    flag: Any = flags.FLAGS["config"]
    words = ["python", "-m", "alexnet_jax.main", f"--config={flag.config_filename}"]
    for key, value in flag.override_values.items():
        if key not in lengths:
            words.append(f"--config.{key}={value}")
    # To its end if it was cut short, else twice as long.
    factor = 2 if config.num_train_steps is None else 1
    words.append(f"--config.num_epochs={config.num_epochs * factor}")
    words.append(f"--workdir={workdir}")
    if _SEEDS.value is not None:
        words.append(f"--seeds={','.join(_SEEDS.value)}")
    return shlex.join(words)


def _abort(status: int) -> None:
    """Ends this process at once, if others of the same job would wait for it."""
    if "alexnet_jax.parallel.multihost" in sys.modules:
        from alexnet_jax.parallel.multihost import abort_process

        abort_process(status)


if __name__ == "__main__":
    with cli.one_line_errors("interrupted; run the same command to continue", _abort):
        app.run(main, flags_parser=_parse_flags)
