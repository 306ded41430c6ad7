"""Tables that fit: which columns go, which cells are cut, and what is said of it."""

import pytest
from rich.cells import cell_len

from alexnet_jax.terminal.tables import Table, fit, shorten, table_lines, wrap
from alexnet_jax.terminal.text import counted

LONG = "a class whose name has very many letters, as some users' classes have"


def make(*rows):
    made = Table(
        *("class", "images", "share", "note"),
        numbers=("images", "share"),
        optional=("share", "images"),
        last=("note",),
        names={"class": 10},
        texts={"note": 8},
    )
    for row in rows:
        made.add_row(*row)
    return made


ROWS = (("cat", "1,234", "0.5", "as it was"), ("dog", "1", "0.25", "-"))


def test_it_is_whole_where_there_is_no_terminal():
    made = make((LONG * 9, "1,234", "0.5", LONG * 9), ("[red]狗", "1", "", ""))
    lines = [*table_lines(made)]
    assert len(lines) == 4 and LONG * 9 in lines[2] and "[red]狗" in lines[3]


@pytest.mark.parametrize(
    ("width", "taken", "kept", "note"),
    [
        (34, 34, "class images share note", ""),
        (33, 31, "class images share note", ""),  # closer together
        (30, 24, "class images note", "not shown: share"),
        (23, 16, "class note", "not shown: images, share"),
        (15, 15, "class note", "not shown: images, share; cut: note"),
        (12, 5, "class", "not shown: images, share, note"),
        (3, 4, "cl…s", "not shown: images, share, note"),
    ],
)
def test_columns_go_in_their_order(width, taken, kept, note):
    fitted = fit(make(*ROWS), width)
    assert (fitted.table.headings, fitted.width) == (kept.split(), taken)
    found, _, where = fitted.note("with --json").partition("; in full")
    assert found == note
    assert where == (" at 34 columns, or with --json" if note else "")
    lines = [*table_lines(make(*ROWS), width)]
    said = wrap(fitted.note("piped to less -S"), width)
    assert lines[4:] == said.splitlines() and max(map(len, lines[:4])) <= taken


@pytest.mark.parametrize("name", [LONG, "狗" * 50, "e\u0301" * 60, "", "…"])
@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_long_names_of_any_letters(name, width):
    made = make((name, "1,234,567", "0.5", name), *ROWS)
    rows = [*table_lines(made, width)][:5]
    assert max(map(cell_len, rows)) <= width
    assert any(row.startswith("cat") for row in rows)
    if width == 200 and cell_len(name) < 80:
        assert name in rows[2] and "1,234,567" in rows[2]


def test_numbers_are_never_cut():
    made = Table("n", "count", numbers=("count",), names={"n": 1})
    made.add_row(LONG, "123,456,789")
    _, _, row, *_ = table_lines(made, 8)
    assert row.endswith("123,456,789")


def test_styles_and_sections_stay():
    made = make(*ROWS)
    made.add_section()
    made.add_row("total", "1,235", "", "", style="bold")
    rows = fit(made, 17).table.rows
    assert [row.style for row in rows] == [None, None, "bold"]
    assert [row.end_section for row in rows] == [False, True, False]


@pytest.mark.parametrize(
    ("text", "width", "middle", "end"),
    [
        ("alexnet_2012_conv6", 18, "alexnet_2012_conv6", "alexnet_2012_conv6"),
        ("alexnet_2012_conv6", 11, "alexn…conv6", "alexnet_20…"),
        ("狗狗狗狗", 7, "狗…狗", "狗狗狗…"),
        ("ab", 1, "…", "…"),
    ],
)
def test_shorten(text, width, middle, end):
    assert shorten(text, width) == middle
    assert shorten(text, width, in_middle=False) == end


def test_counted():
    found = [counted(*one) for one in ((0, "row"), (1, "class"), (2_000, "class"))]
    assert found == ["0 rows", "1 class", "2,000 classes"]
