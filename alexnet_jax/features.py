"""Writes the features of pictures to a file, a row a picture.

  python -m alexnet_jax.features runs/mine a.jpg b.jpg --output=features.npz
  python -m alexnet_jax.features runs/mine photos --output=f.csv --layers=fc6

.npz           NumPy: path, and an array for each layer; np.load opens it
.csv           path, and a column for each value: relu7_0, relu7_1, ...
.parquet       path, and a column of lists for each layer
.h5, .hdf5     HDF5: path, and a data set for each layer (extra: `features`)

Maps are (height, width, channels); a CSV or Parquet file has them flattened
in that order. Values are float32, the same in all. Each picture is
preprocessed as the network's training images were. Files that cannot be read
are reported on stderr; the others still have their rows, in order. The file is
complete at the end, or not there.
"""

import argparse
import contextlib
import sys
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from alexnet_jax import cli
from alexnet_jax.errors import InputError
from alexnet_jax.terminal.bar import Bar, spinner
from alexnet_jax.terminal.text import counted

_POOLS = ("none", "mean", "max")
_BATCH_SIZE = 128  # enough for any device, and little memory
_MOST_NOTES = 5


def make_parser() -> cli.Parser:
    """Returns the parser of the arguments."""
    parser = cli.Parser("alexnet_jax.features", __doc__)
    cli.add_pictures(parser)
    add = parser.add_argument
    add(
        "--layers",
        metavar="NAMES",
        help="layers as `summary` names them, or patterns, with commas between them: "
        "fc7 is before its ReLU, relu7 after it, 'conv*' all convolutions (default: "
        "what the last layer classifies, relu7 of an AlexNet)",
    )
    add(
        "--output",
        required=True,
        type=cli.path,
        metavar="FILE",
        help="where to write; the ending says in which form; a file that is there is "
        "replaced at the end",
    )
    add(
        "--pool",
        choices=_POOLS,
        default="none",
        metavar="HOW",
        help="what is kept of the height and width of maps: all (none), their mean, or "
        "their max (default: none)",
    )
    add(
        "--batch-size",
        type=cli.positive_int,
        metavar="N",
        help=f"pictures at a time (default: the run's eval.batch_size, or as a run "
        f"chooses it, at most {_BATCH_SIZE})",
    )
    return parser


@cli.one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Writes the features that the arguments ask for."""
    options = make_parser().parse_args(argv)
    # Imported here, so that --help and a mistyped flag are answered at once.
    from alexnet_jax.extraction.feature_file import (
        check_column_names,
        check_features_file,
    )
    from alexnet_jax.terminal.paths import expand_home

    output = expand_home(options.output, "--output")
    check_features_file(output)

    from alexnet_jax.extraction.outputs import choose_layers, default_layer
    from alexnet_jax.trained import TrainedModel

    paths = _list_pictures(options.images, output)
    network = TrainedModel(options.run)
    for line in network.skipped:
        cli.warn(f"{line}; skipped")
    if options.layers is None:
        layers = [default_layer(network.layer_rows)]
    else:
        layers = choose_layers(network.layer_names, options.layers, "--layers")
    check_column_names(layers)
    size = options.batch_size or min(network.batch_size, _BATCH_SIZE)
    parts = network.stream_features(
        paths, layers, options.pool, invert=options.invert, batch_size=size
    )
    if _write(output, parts, len(paths), _metadata(network, options)):
        sys.exit(1)


def _list_pictures(images: list[Path], output: Path) -> list[Path]:
    """Returns the picture files, without an earlier call's output in their folder.

    Raises:
      InputError: There are none; or the output is one of them.
    """
    from alexnet_jax.data.pictures import list_files
    from alexnet_jax.terminal.paths import is_same_file

    found = list_files(images)
    same = [path for path in found if is_same_file(path, output)]
    if any(path in images or path.suffix != output.suffix for path in same):
        raise InputError(
            f"--output: {output} is one of the images; choose another file"
        )
    if len(same) == len(found):
        raise InputError(f"IMAGE: there is no file but that of --output, {output}")
    return [path for path in found if path not in same]


def _metadata(network: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Returns where the features come from, as JSON holds it."""
    from alexnet_jax import __version__
    from alexnet_jax.config import flatten_config, stored_pair

    config = flatten_config(network.config)
    config["data.stored_size"] = stored_pair(network.config.data)
    if config["data.scale"] == "author":
        config["data.scale"] = network.model.author_scale
    keys = (
        *("data.image_size", "data.stored_size", "data.scale", "data.fit"),
        *("data.resize", "augment.canvas"),
    )
    return {
        "run": str(network.workdir),
        "step": network.step,
        "network": config["model.name"],
        "data": network.spec.name,
        "preprocessing": {key: config[key] for key in keys},
        "dtype": config["dtype"],
        "pool": options.pool,
        "inverted": options.invert,
        "alexnet_jax": __version__,
    }


def _write(
    output: Path, parts: Iterable[Any], total: int, metadata: dict[str, Any]
) -> int:
    """Writes rows as they come; returns how many pictures cannot be read."""
    from alexnet_jax.extraction.feature_file import FeatureFile

    rows, errors, notes, shapes = 0, 0, Counter[str](), {}
    start = time.perf_counter()
    with (
        Bar(total, "pictures") as bar,
        FeatureFile(output) as writer,
        contextlib.ExitStack() as stack,
    ):
        stack.enter_context(spinner("compiling"))
        for part in parts:
            stack.close()  # the first came as its function was compiled
            for line in part.errors:
                cli.print_error(line)
            if part.paths:
                writer.write([_text(path) for path in part.paths], part.layers)
                shapes = {name: one.shape[1:] for name, one in part.layers.items()}
            rows, errors = rows + len(part.paths), errors + len(part.errors)
            notes.update(part.notes)
            bar.advance(part.seen)
        if not rows:
            raise InputError(
                f"IMAGE: none of {total:,} can be read; nothing is written"
            )
        writer.finish(metadata | {"layers": shapes})
    speed = total / (time.perf_counter() - start)
    for note, count in notes.most_common(_MOST_NOTES):
        print(f"note      of {count:,}: {note}")
    for name, shape in shapes.items():
        print(f"layer     {name}, {'×'.join(map(str, shape))}")
    print(
        f"wrote     {output}, {counted(rows, 'row')}, {output.stat().st_size:,} bytes, "
        f"{speed:,.{0 if speed >= 10 else 1}f} images/s"
    )
    if errors:
        have = "have" if errors != 1 else "has"
        cli.print_error(f"{errors:,} of {total:,} pictures {have} no row")
    return errors


def _text(path: Path) -> str:
    """Returns a path that any format holds: bytes that are no UTF-8 are escaped."""
    return str(path).encode(errors="backslashreplace").decode()


if __name__ == "__main__":
    main()
