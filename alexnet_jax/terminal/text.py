"""Text for a terminal: without control characters, and of letters that it has."""

import codecs
import shutil
import unicodedata

LOOKALIKES = "lookalikes"  # the name of the error handler, as `open(errors=...)` has it

# Control, format (among them those that turn the direction of a line), surrogates (of
# bytes that are no UTF-8), line and paragraph separators.
_UNPRINTABLE = frozenset(("Cc", "Cf", "Cs", "Zl", "Zp"))
_JOINERS = frozenset("\u200c\u200d")  # which Persian, Hindi and emoji are written with

# Of the letters that the package itself prints.
_ASCII = {
    **{"×": "x", "±": "+/-", "·": "*", "−": "-", "–": "-", "—": "-", "…": "..."},
    **{"≠": "!=", "→": "->", "²": "^2", "√": "sqrt", "§": "section ", "─": "-"},
    **{"α": "alpha", "β": "beta", "η": "eta", "λ": "lambda", "Σ": "sum"},
}


def terminal_width() -> int | None:
    """Returns how many columns standard output has: `COLUMNS`, or the terminal's.

    None where there is neither, as in a file or a pipe: lines may be of any length.
    """
    return shutil.get_terminal_size((0, 1)).columns or None


def counted(number: int, what: str) -> str:
    """Returns a number with what is counted, in the plural unless it is one.

    Example:
      >>> counted(1, "row"), counted(1_000, "class")
      ('1 row', '1,000 classes')
    """
    ending = "es" if what.endswith("s") else "s"
    return f"{number:,} {what}{ending * (number != 1)}"


def printable(text: object, keep: str = "") -> str:
    r"""Returns text with its control characters escaped, as in JSON: `\u001b`.

    Args:
      text: What is to be printed; anything that `str` takes.
      keep: Characters that are left as they are.

    Examples:
      >>> printable("a\x1b[2Jb")
      'a\\u001b[2Jb'
    """
    found = str(text)
    if found.isascii() and found.isprintable():  # nearly all there is
        return found
    return "".join(
        letter if letter in keep or _is_printable(letter) else _escape(letter)
        for letter in found
    )


def _is_printable(letter: str) -> bool:
    return unicodedata.category(letter) not in _UNPRINTABLE or letter in _JOINERS


def _escape(letter: str) -> str:
    r"""Returns `\uXXXX`, twice beyond the first 65,536 characters."""
    units = letter.encode("utf-16-be", "surrogatepass").hex()
    return "".join(f"\\u{units[i : i + 4]}" for i in range(0, len(units), 4))


def _replace(error: UnicodeError) -> tuple[str, int]:
    """Replaces what an encoding lacks by letters that look alike, or an escape."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(_ASCII.get(letter) or _escape(letter) for letter in lacking), (
        error.end
    )


codecs.register_error(LOOKALIKES, _replace)
