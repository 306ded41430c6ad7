"""cuda-convnet's configuration files: sections of keys and values, with their lines.

They have the form of Python's configparser, which says no line numbers.
"""

import difflib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from alexnet_jax.errors import InputError

_HEAD = re.compile(r"\[([^\[\]]+)\]\s*$")
_KEY = re.compile(r"([^\s=:]+)\s*[=:]\s*")
_REMARK = re.compile(r"\s;")
_MAX_NAME = 100


class Place(NamedTuple):
    """A line of a file, for errors.

    Attributes:
      file: The file, as it was named.
      line: From 1 on.
    """

    file: str
    line: int

    def error(self, message: str) -> InputError:
        """Returns an error that names the file and the line."""
        return InputError(f"{self.file}:{self.line}: {message}")


class Value(NamedTuple):
    """A key's value.

    Attributes:
      text: As it is written.
      place: Its line.
    """

    text: str
    place: Place


@dataclass(frozen=True)
class Section:
    """A section: a layer, or the settings of one.

    Attributes:
      name: Between its brackets.
      place: The line of its head.
      values: By key, in lower case, as configparser takes them.
    """

    name: str
    place: Place
    values: dict[str, Value] = field(default_factory=dict)

    def error(self, message: str, key: str | None = None) -> InputError:
        """Returns an error that names the section; at a key's line, or at its head."""
        found = self.values.get((key or "").lower())
        place = found.place if found else self.place
        return place.error(f"[{self.name}] {message}")


class File(NamedTuple):
    """A file that was read.

    Attributes:
      name: As it was named.
      sections: By name, in their order.
      comments: What stands after `#`, a line each.
    """

    name: str
    sections: Mapping[str, Section]
    comments: tuple[str, ...]


def parse_file(text: str, name: str) -> File:
    """Reads the text of a layer file or of a layer-parameter file.

    A section or a key that stands twice must say the same both times. What follows a
    space and `;` is a remark.

    Args:
      text: All of it.
      name: The file's, for errors.

    Raises:
      InputError: A line is none of section, key and comment; a name is none; or a key
        has two values. File and line are named.
    """
    sections: dict[str, Section] = {}
    comments: list[str] = []
    section: Section | None = None
    for number, line in enumerate(text.splitlines(), 1):
        place = Place(name, number)
        stripped = line.strip()
        if stripped.startswith(("#", ";")):
            comments.append(stripped.lstrip("#; ").rstrip())
        elif head := _HEAD.match(stripped):
            title = _checked(head[1].strip(), place)
            section = sections.setdefault(title, Section(title, place))
        elif key := _KEY.match(stripped):
            if section is None:
                raise place.error(
                    f"a key must stand in a section; got {_cut(stripped)}"
                )
            text, *_ = _REMARK.split(stripped[key.end() :], maxsplit=1)
            _add(section, _checked(key[1], place), Value(text.rstrip(), place))
        elif stripped:
            raise place.error(
                f"a line must be [NAME], KEY=VALUE or a # comment; got {_cut(stripped)}"
            )
    return File(name, sections, tuple(comments))


def _add(section: Section, key: str, value: Value) -> None:
    before = section.values.setdefault(key.lower(), value)
    if before.text != value.text:
        raise value.place.error(
            f"[{section.name}] {key} has two values, {_cut(before.text)} in line "
            f"{before.place.line} and {_cut(value.text)}; remove one"
        )


def _checked(name: str, place: Place) -> str:
    """Returns the name of a section or of a key; errors print it as it is."""
    if len(name) > _MAX_NAME or not name.isprintable():
        raise place.error(
            f"a name must be printable, of at most {_MAX_NAME} characters; got "
            f"{_cut(name)}"
        )
    return name


def _cut(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}...")


def near(name: str, known: Iterable[str]) -> str:
    """Returns which known names are nearest to one, for the end of an error."""
    by_lower = {one.lower(): one for one in known}
    nearest = difflib.get_close_matches(name.lower(), by_lower, n=2, cutoff=0.6)
    names = ", ".join(by_lower[one] for one in nearest)
    return f"; the nearest: {names}" if nearest else ""
