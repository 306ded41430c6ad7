"""Names on a terminal."""

import io

import pytest

from alexnet_jax.terminal.text import LOOKALIKES, printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("Öl × 3 … 犬", "Öl × 3 … 犬"),
        ("\x1b[2J", r"\u001b[2J"),
        ("a\nb\rc\td\x7f", r"a\u000ab\u000dc\u0009d\u007f"),
        ("\u202e\u2066\u200f\u2028", r"\u202e\u2066\u200f\u2028"),
        ("\udcff", r"\udcff"),  # a byte that is no UTF-8
        ("\U000e0041", r"\udb40\udc41"),
        ("👩\u200d🔬", "👩\u200d🔬"),
    ],
)
def test_printable(text, shown):
    assert printable(text) == shown


def test_what_is_kept():
    assert printable("a\nb\x1b", keep="\n") == "a\nb\\u001b"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp437"])
def test_letters_that_an_encoding_lacks(encoding):
    file = io.BytesIO()
    with io.TextIOWrapper(file, encoding=encoding, errors=LOOKALIKES) as stream:
        stream.write("3 ± 1, 2×2 … ≠ 犬 \udcff")
        stream.flush()
        text = file.getvalue().decode(encoding)
    assert text.endswith(r" \u72ac \udcff")
    if encoding == "ascii":
        assert text == r"3 +/- 1, 2x2 ... != \u72ac \udcff"
