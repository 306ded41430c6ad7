"""Writes the tables of docs/experiments_of_2012.md from cuda-convnet's released files.

  python -m benchmarks.experiments_of_2012 DIRECTORY

DIRECTORY holds `2012/` and `2014/`, the layer files and layer-parameter files of both
releases. The tables say which layer types and keys are read and which are refused, how
often each occurs, and what each experiment is.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from alexnet_jax import cli
from alexnet_jax.atomic import write_file
from alexnet_jax.errors import InputError
from alexnet_jax.inspection.experiments import (
    ExperimentRow,
    cells,
    read_experiments,
    totals,
)
from alexnet_jax.models.cuda_convnet import read_text
from alexnet_jax.models.cuda_convnet.files import parse_file
from alexnet_jax.models.cuda_convnet.keys import (
    LAYER_KEYS,
    PARAM_KEYS,
    REFUSED_TYPES,
    Key,
)

PAGE = Path(__file__).parents[1] / "docs" / "experiments_of_2012.md"


def key_tables(directory: Path) -> list[str]:
    """Returns the table of a layer file's types and keys, and that of parameters."""
    files = sorted(directory.rglob("*.cfg"))
    layers, params = Counter[tuple[str, str]](), Counter[str]()
    for file in files:
        sections = parse_file(read_text(str(file), file.name), file.name).sections
        for section in sections.values():
            kind = section.values["type"].text if "type" in section.values else ""
            for key in section.values:
                layers[kind, key] += bool(kind)
                params[key] += not kind
    rows = []
    for kind, keys in LAYER_KEYS.items():
        rows.append(f"| `{kind}` | | {layers[kind, 'type']:,} | read |")
        rows += [
            f"| | `{key}` | {layers[kind, key.lower()]:,} | {effect} |"
            for key, effect in _effects(keys)
            if layers[kind, key.lower()]
        ]
    rows += [
        f"| `{kind}` | | {layers[kind, 'type']:,} | refused: {why} |"
        for kind, why in REFUSED_TYPES.items()
    ]
    known = {name: key for keys in PARAM_KEYS.values() for name, key in keys.items()}
    param_rows = [
        f"| `{key}` | {params[key.lower()]:,} | {effect} |"
        for key, effect in _effects(known)
        if params[key.lower()]
    ]
    return [
        "\n".join(["| type | key | times | |", "| --- | --- | ---: | --- |", *rows]),
        "\n".join(["| key | times | |", "| --- | ---: | --- |", *param_rows]),
    ]


def _effects(keys: Mapping[str, Key]) -> Iterator[tuple[str, str]]:
    for name, key in keys.items():
        words = {"read": f"read: {key.allowed}"}
        is_refused = key.effect not in ("read", "no effect on the result")
        refused = key.effect if "refused" in key.effect else f"refused: {key.effect}"
        yield name, refused if is_refused else words.get(key.effect, key.effect)


def experiments_table(rows: Sequence[ExperimentRow]) -> str:
    """Returns the table of experiments, and how many files were read."""
    lines = [
        "| experiment | parameters | multiply-adds | error, % | differs from 145 by |",
        "| --- | ---: | ---: | --- | --- |",
    ]
    lines += [f"| {' | '.join(cells(row))} |" for row in rows]
    refused = [
        f"- `{row.name}`: {row.params_refused}" for row in rows if row.params_refused
    ]
    return "\n".join([*lines, "", f"{totals(rows)}:", "", *refused])


def write_page(tables: Mapping[str, str], page: Path = PAGE) -> None:
    """Writes each table between its two comments.

    Raises:
      InputError: A comment is missing, or stands twice.
    """
    text = page.read_text()
    for name, table in tables.items():
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        for mark in (begin, end):
            if text.count(mark) != 1:
                raise InputError(
                    f"{page} must have the comment {mark} once; restore it"
                )
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}\n\n{table}\n\n{end}{rest.partition(end)[2]}"
    write_file(page, text.encode())


def tables_of(directory: Path) -> dict[str, str]:
    """Returns the page's tables by name."""
    layers, params = key_tables(directory)
    experiments = experiments_table(read_experiments(directory, "DIRECTORY"))
    return {"layer keys": layers, "parameter keys": params, "experiments": experiments}


@cli.one_line_errors()
def main(argv: Sequence[str] | None = None) -> None:
    """Writes the tables."""
    parser = cli.Parser("benchmarks.experiments_of_2012", __doc__)
    parser.add_argument(
        "directory", type=Path, metavar="DIRECTORY", help="holds 2012/ and 2014/"
    )
    options = parser.parse_args(argv)
    write_page(tables_of(options.directory))
    print(f"tables    {PAGE}")


if __name__ == "__main__":
    main()
