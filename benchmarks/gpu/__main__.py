"""Measures on a GPU what a suite asks, within so many seconds, whatever fails.

  python -m benchmarks.gpu --suite=1 --output=OUT --seconds=520
  python -m benchmarks.gpu --suite=3 --output=OUT --manual-dir=DIR
  JAX_PLATFORMS=cpu python -m benchmarks.gpu --suite=1 --output=OUT --small

Suite 1: our forms of the layers against XLA's own; the steps of each network beside a
bare step of Flax and PyTorch's at its best, in turns; profiles. Suite 2: the whole job,
resumed runs, evaluation, reading images. Suite 3: ten epochs of each recipe for
Fashion-MNIST, several seeds; started again, it continues what was cut short.

Each part has a process and a limit of its own. OUT gets `suite-N.jsonl`, a line a
result as it comes, `suite-N.txt`, the log with a summary in words, and
`suite-N.tar.gz`, small files of runs and profiles; each has at most 16 MB.
"""

import os
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from alexnet_jax import cli
from alexnet_jax.errors import InputError
from benchmarks.gpu.runner import Runner
from benchmarks.gpu.suites import Place, suite


@cli.one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Prints a line a result, and the summary."""
    parser = cli.Parser("benchmarks.gpu", __doc__)
    add = parser.add_argument
    add("--suite", type=int, choices=(1, 2, 3), required=True, help="see above")
    add("--output", type=cli.path, required=True, help="folder of the three files")
    add("--seconds", type=cli.positive_int, default=520, help="in all (default: 520)")
    add("--manual-dir", type=cli.path, help="folder of Fashion-MNIST's four files")
    add(
        "--work", type=cli.path, help="folder of runs (default: a temporary one's name)"
    )
    add("--only", default="", help="only the parts whose name has these words")
    add("--small", action="store_true", help="all in little, on a CPU too")
    options = parser.parse_args(argv)
    default = Path(tempfile.gettempdir(), "alexnet_jax-gpu")
    work = (options.work or default).absolute()
    stem = f"suite-{options.suite}"
    manual_dir = options.manual_dir or os.environ.get("FASHION_MNIST_DIR")
    manual_dir = str(Path(manual_dir).absolute()) if manual_dir else None
    results = (options.output / f"{stem}.jsonl").absolute()
    card, *parts = suite(
        options.suite, Place(str(work), str(results), manual_dir), small=options.small
    )
    wanted = [part for part in parts if options.only in part.name]
    if not wanted and options.only not in card.name:
        names = ", ".join(part.name for part in parts)
        raise InputError(f"--only must be in a part's name, one of {names}")
    runner = Runner(options.output, stem, work, options.seconds)
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(work / "compiled"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    # What else is measured is told as a share of the card's rate.
    runner.perform([card, *wanted])


if __name__ == "__main__":
    main()
