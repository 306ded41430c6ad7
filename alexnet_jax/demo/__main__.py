"""Shows a network in a page: draw, and see what it answers.

  python -m alexnet_jax.demo RUN

The page shows the most probable classes, the picture as the network sees it,
the feature maps of each layer, and what the answer rests on. This machine
alone can open it, unless --host says otherwise; nothing is sent elsewhere.
"""

import argparse
import webbrowser
from collections.abc import Sequence
from typing import Any

from alexnet_jax import cli
from alexnet_jax.demo.server import (
    FIRST_PORT,
    LOOPBACK,
    address_of,
    check_installed,
    is_local,
    listen,
    own_folder,
    served,
)
from alexnet_jax.errors import InputError

_MAX_PORT = 65_535


def _port(text: str) -> int:
    number = cli.positive_int(text)
    if number > _MAX_PORT:
        raise argparse.ArgumentTypeError(f"must be from 1 to {_MAX_PORT}; got {number}")
    return number


def make_parser() -> cli.Parser:
    """Returns the parser of the arguments."""
    parser = cli.Parser("alexnet_jax.demo", __doc__)
    add = parser.add_argument
    add("run", type=cli.path, metavar="RUN", help=cli.CHECKPOINT_HELP)
    add(
        "--host",
        default=LOOPBACK,
        metavar="ADDRESS",
        help=f"where the page can be opened (default: {LOOPBACK}, this machine alone; "
        "0.0.0.0: whoever reaches this machine)",
    )
    add(
        "--port",
        type=_port,
        metavar="N",
        help=f"its port (default: the first free one from {FIRST_PORT} on)",
    )
    add("--open", action="store_true", help="open the page in the browser")
    return parser


@cli.one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Serves the page of the run that the arguments name, until Ctrl-C."""
    options = make_parser().parse_args(argv)
    check_installed()
    listening = listen(options.host, options.port)
    with listening, own_folder() as folder:
        page, style = _create_page(options)
        with served(page, style, listening, folder) as thread:
            address = address_of(listening)
            if not is_local(listening):
                cli.warn(
                    f"--host: whoever reaches port {listening.getsockname()[1]} of "
                    "this machine can open the page"
                )
            print(f"page      {address} (Ctrl-C ends it)", flush=True)
            if options.open and not webbrowser.open(address):
                cli.warn("--open: there is no browser here; open the page yourself")
            while thread.is_alive():
                thread.join(0.5)  # a signal comes through


def _create_page(options: Any) -> tuple[Any, str]:
    """Opens the run, says what it is, and returns its page and style sheet."""
    # Imported here, so that --help and a mistyped flag are answered at once.
    from alexnet_jax.demo.answers import Answers
    from alexnet_jax.demo.page import create_page, read_style
    from alexnet_jax.terminal.bar import spinner
    from alexnet_jax.terminal.text import printable

    answers = Answers(options.run)
    for line in answers.network.skipped:
        cli.warn(f"{line}; skipped")
    print(f"network   {printable(answers.title)}, step {answers.network.step:,}")
    for fact in answers.facts:
        print(f"          {printable(fact)}")
    with spinner("compiling"):
        answers.warm_up()
        try:
            examples = answers.examples()
        except InputError as error:
            examples = []
            print(f"examples  none ({printable(error)})")
        return create_page(answers, examples), read_style()


if __name__ == "__main__":
    main()
