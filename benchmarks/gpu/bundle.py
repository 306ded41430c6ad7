"""Packs what a machine without network needs: the repository, wheels, Fashion-MNIST.

  python -m pip freeze > MACHINE.txt                     # there
  python -m benchmarks.gpu.bundle BUNDLE --machine=MACHINE.txt --data=DIR

Then, there, in BUNDLE:

  python -m pip install --no-index --no-deps --target=site wheels/*.whl
  cd repository
  export PYTHONPATH=../site FASHION_MNIST_DIR=../data
  python -m benchmarks.gpu --suite=1 --output=OUT

BUNDLE gets `repository/`, the files that Git knows or would add, but for results and
pages; `wheels/`, what the project needs and the machine lacks, in versions that go with
what it has; and `data/`, the four files of DIR. JAX for CUDA and PyTorch must be there.
"""

import argparse
import json
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

from alexnet_jax import cli
from alexnet_jax.data.fashion_mnist import FILES
from alexnet_jax.errors import InputError, RunError

ROOT = Path(__file__).parents[2]
_LEFT_OUT = ("results/", "docs/", "examples/")
# Of tensorflow-datasets; published as source alone, without code to compile.
_SOURCES = ("promise",)


def normalize(name: str) -> str:
    """Returns a package's name as indexes write it."""
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


def read_machine(text: str) -> dict[str, str | None]:
    """Returns the version of each package of a machine, None where it is not told.

    Args:
      text: Of `pip freeze`, or names alone.
    """
    found: dict[str, str | None] = {}
    for line in text.splitlines():
        words = re.match(r"([A-Za-z0-9][\w.-]*)\s*(?:==\s*([^\s;]+))?", line)
        if words:
            found[normalize(words[1])] = words[2]
    return found


def missing(report: str, machine: dict[str, str | None]) -> list[str]:
    """Returns what pip would install and the machine lacks, as `name==version`.

    Args:
      report: Of `pip install --dry-run --report`.
      machine: As `read_machine` returns it.
    """
    found = (one["metadata"] for one in json.loads(report)["install"])
    return sorted(
        f"{normalize(one['name'])}=={one['version']}"
        for one in found
        if normalize(one["name"]) not in machine
    )


def download(target: Path, machine: dict[str, str | None], python: str) -> None:
    """Puts the wheels that a machine lacks into a folder.

    Args:
      target: The folder.
      machine: As `read_machine` returns it.
      python: Its version, such as 3.12; it is x86-64 and runs Linux.

    Raises:
      RunError: pip finds no versions that go together.
    """
    target.mkdir(parents=True, exist_ok=True)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted_there = [*project["dependencies"], "pytest"]  # suite 1 runs tests
    sources = [name for name in _SOURCES if name not in machine]
    if sources:
        _pip("wheel", "--no-deps", f"--wheel-dir={target}", *sources)
    constraints = target / "machine.txt"
    lines = [f"{name}=={one}\n" for name, one in machine.items() if one]
    constraints.write_text("".join(lines))
    where = ["--only-binary=:all:", f"--find-links={target}"]
    where += [f"--python-version={python}", "--implementation=cp"]
    where += [f"--platform=manylinux_2_{minor}_x86_64" for minor in range(39, 16, -1)]
    where += [f"--platform=manylinux{year}_x86_64" for year in (2014, 1)]
    report = target / "report.json"
    # It resolves everything, the machine's packages too, and downloads nothing.
    plan = ["--dry-run", "--ignore-installed", f"--target={target}"]
    plan += [f"--report={report}", f"--constraint={constraints}"]
    _pip("install", *plan, *where, *wanted_there)
    wanted = missing(report.read_text(), machine)
    if wanted:
        _pip("download", "--no-deps", f"--dest={target}", *where, *wanted)
    for path in (constraints, report):
        path.unlink()


def _pip(*words: str) -> None:
    command = [sys.executable, "-m", "pip", *words, "--quiet"]
    command += ["--disable-pip-version-check"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise RunError(f"pip {words[0]}: {done.stderr.strip()[-500:]}")


def copy_repository(target: Path) -> None:
    """Copies the files that Git knows or would add, but for results and pages.

    Raises:
      RunError: This is no Git checkout.
    """
    command = ["git", "ls-files", "-co", "--exclude-standard", "-z"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise RunError(f"git: {done.stderr.strip()[-300:]}; bundle a Git checkout")
    for name in filter(None, done.stdout.split("\0")):
        source = ROOT / name
        if not name.startswith(_LEFT_OUT) and source.is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target / name)


def check_data(source: Path) -> None:
    """Checks that Fashion-MNIST's four files are there.

    Raises:
      InputError: One is not.
    """
    for name in FILES:
        if not (source / name).is_file():
            raise InputError(f"--data must hold {name}, which {source} does not")


def copy_data(source: Path, target: Path) -> None:
    """Copies Fashion-MNIST's four files."""
    target.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        shutil.copy(source / name, target / name)


def _parse(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = cli.Parser("benchmarks.gpu.bundle", __doc__)
    add = parser.add_argument
    add("bundle", type=cli.path, metavar="BUNDLE", help="a new folder")
    add("--machine", type=cli.path, required=True, help="the machine's `pip freeze`")
    add("--python", default="3.12", help="the machine's Python (default: 3.12)")
    add("--data", type=cli.path, help="folder of Fashion-MNIST's four files")
    return parser.parse_args(argv)


@cli.one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Prints how large the bundle is."""
    options = _parse(argv)
    try:
        machine = read_machine(options.machine.read_text("utf-8"))
    except UnicodeDecodeError as error:
        raise InputError(
            f"--machine must be text in UTF-8; got {options.machine}: write what `pip "
            "freeze` prints there"
        ) from error
    ignored = ["git", "check-ignore", "-q", str(options.bundle.absolute())]
    if options.bundle.absolute().is_relative_to(ROOT) and (
        subprocess.run(ignored, cwd=ROOT, check=False).returncode
    ):
        raise InputError(
            f"BUNDLE must be outside of {ROOT}, of which it gets a copy, or be ignored "
            f"by Git; got {options.bundle}"
        )
    if "jax" not in machine:
        raise InputError("--machine must list jax, as `pip freeze` there does")
    if options.bundle.exists() and any(options.bundle.iterdir()):
        raise InputError(f"BUNDLE must be a new or empty folder; got {options.bundle}")
    if options.data:
        check_data(options.data)
    options.bundle.mkdir(parents=True, exist_ok=True)
    try:
        copy_repository(options.bundle / "repository")
        if options.data:
            copy_data(options.data, options.bundle / "data")
        download(options.bundle / "wheels", machine, options.python)
    except BaseException:  # so that the same command can be given again
        for folder in options.bundle.iterdir():
            shutil.rmtree(folder)
        raise
    for folder in sorted(path for path in options.bundle.iterdir() if path.is_dir()):
        files = [path for path in folder.rglob("*") if path.is_file()]
        size = sum(path.stat().st_size for path in files)
        print(f"{folder.name:12} {len(files):5} files  {size / 1e6:6.1f} MB")


if __name__ == "__main__":
    main()
