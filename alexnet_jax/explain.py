"""Shows what a network's answer to a picture rests on.

  python -m alexnet_jax.explain runs/mine coat.jpg
  python -m alexnet_jax.explain runs/mine coat.jpg --class=Shirt --output=a.png

Three maps of the most probable class, or of a named one, in a row for each
picture:

occlusion   the class's probability while a patch covers each place
gradient    how much the class's logit changes with each pixel
Grad-CAM    where the maps of the last convolution speak for the class
"""

import os
from collections.abc import Sequence
from pathlib import Path

from alexnet_jax import cli
from alexnet_jax.errors import InputError

_ENDINGS = (".png", ".jpg", ".jpeg", ".pdf", ".svg")
_MOST = 50  # pictures in one output
_OUTPUT = Path("explanation.png")


def make_parser() -> cli.Parser:
    """Returns the parser of the arguments."""
    parser = cli.Parser("alexnet_jax.explain", __doc__)
    cli.add_pictures(parser, f"; at most {_MOST} pictures")
    add = parser.add_argument
    add(
        "--class",
        dest="class_name",
        metavar="NAME|INDEX",
        help="the class to explain; an index counts from 0 (default: the most probable "
        "one of each picture)",
    )
    add(
        "--layer",
        metavar="NAME",
        help="the layer whose maps Grad-CAM weights, as `summary RUN` names it, or a "
        "pattern that fits one (default: the nonlinearity of the last convolution)",
    )
    add(
        "--window",
        type=cli.positive_int,
        metavar="N",
        help="height and width of the patch that covers, in pixels of the data's "
        "images (default: a fifth of the image's)",
    )
    add(
        "--stride",
        type=cli.positive_int,
        metavar="N",
        help="pixels from one patch to the next (default: half of the patch)",
    )
    add(
        "--output",
        type=cli.path,
        metavar="FILE",
        help=f"where to write, by its ending {', '.join(_ENDINGS[:-1])} or "
        f"{_ENDINGS[-1]} (default: {_OUTPUT})",
    )
    add("--json", action="store_true", help="print a list of objects")
    return parser


def _list_pictures(images: list[Path], output: Path) -> list[Path]:
    """Returns the picture files, without what earlier calls wrote in their folder.

    Raises:
      InputError: There are none, or too many; or the output would replace one.
    """
    from alexnet_jax.data.pictures import list_files
    from alexnet_jax.reporting.explanations import is_explanation
    from alexnet_jax.terminal.paths import is_same_file

    found = list_files(images)
    paths = [path for path in found if path in images or not is_explanation(path)]
    if any(is_same_file(path, output) for path in paths):
        raise InputError(
            f"--output: {output} is one of the images; choose another file"
        )
    if not 0 < len(paths) <= _MOST:
        raise InputError(
            f"IMAGE: must be 1 to {_MOST} pictures, as many as one output shows; got "
            f"{len(paths)}"
        )
    return paths


def _write(output: Path, content: bytes) -> None:
    from alexnet_jax.atomic import write_file

    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_file(output, content)
    except OSError as error:
        raise InputError(
            f"--output: {output} cannot be written ({error.strerror or error}); choose "
            "another place"
        ) from error


@cli.one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Explains the pictures that the arguments name."""
    options = make_parser().parse_args(argv)
    # Imported here, so that --help and a mistyped flag are answered at once.
    from alexnet_jax.reporting.explanations import (
        MAKER,
        draw_explanations,
        explain_files,
        explanation_lines,
        explanation_record,
        heading_of,
        is_explanation,
    )
    from alexnet_jax.reporting.files import to_bytes
    from alexnet_jax.terminal.paths import check_output, expand
    from alexnet_jax.terminal.text import printable
    from alexnet_jax.trained import TrainedModel

    given = options.output or _OUTPUT
    output = expand(given, "--output")
    if not (options.output or is_explanation(output)) and os.path.lexists(output):
        raise InputError(
            f"--output: {_OUTPUT} is here already, and not of this command; name a "
            "file to write"
        )
    check_output(output, _ENDINGS, "--output")
    paths = _list_pictures(options.images, output)
    network = TrainedModel(options.run)
    for line in network.skipped:
        cli.warn(f"{line}; skipped")
    label = (
        None if options.class_name is None else network.find_class(options.class_name)
    )
    found = list(
        explain_files(
            network,
            paths,
            options.invert,
            label=label,
            layer=options.layer,
            window=options.window,
            stride=options.stride,
        )
    )
    shown = [(path, one) for path, one in found if not isinstance(one, str)]
    if shown:
        titles = [
            (*heading_of(network, one), printable(path.name)) for path, one in shown
        ]
        figure = draw_explanations([one for _, one in shown], titles)
        _write(output, to_bytes(figure, output.suffix.lower()[1:], MAKER))
    if options.json:
        cli.print_json([explanation_record(network, *one, given) for one in found])
    else:
        for path, one in shown:
            print("\n".join(explanation_lines(network, path, one)))
        if shown:
            print(f"picture  {given}")
    cli.exit_on_errors([one for _, one in found if isinstance(one, str)])


if __name__ == "__main__":
    main()
