"""Protocol buffers' wire format, read without a copy of the numbers in it.

The library holds a message twice while it parses, and repeated floats as Python's: with
the 244 MB of an AlexNet that is more than a gigabyte.

Source: protobuf.dev/programming-guides/encoding.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from alexnet_jax.weights.source import Damaged

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_PART_BYTES = 1 << 20
_WIDTHS = {FIXED64: 8, FIXED32: 4}


class Field(NamedTuple):
    """A field of a message.

    Attributes:
      number: As the message's definition has it.
      kind: Its wire type.
      value: An integer for VARINT, else bytes; a run of FIXED32 or FIXED64 with the
        same number, which is how unpacked numbers are written, is one field.
    """

    number: int
    kind: int
    value: int | memoryview

    @property
    def content(self) -> memoryview:
        """The bytes of a message, a string or packed numbers.

        Raises:
          Damaged: The field is an integer.
        """
        if isinstance(self.value, int):
            raise Damaged(f"field {self.number} is an integer")
        return self.value

    @property
    def text(self) -> str:
        """The text of a string."""
        return bytes(self.content).decode()

    @property
    def integers(self) -> list[int]:
        """One integer, or those packed in a field."""
        if isinstance(self.value, int):
            return [self.value]
        found, place = [], 0
        while place < len(self.value):
            number, place = _varint(self.value, place)
            found.append(number)
        return found


def shorts(message: memoryview) -> np.ndarray:
    """Returns packed integers below 65,536, as the bits of narrow floats are stored.

    Args:
      message: Varints, one after the other.

    Returns:
      `(n,) uint16`.

    Raises:
      Damaged: It is cut short, or an integer is larger.
    """
    data = np.frombuffer(message, np.uint8)
    if data.size and data[-1] >= 128:
        raise Damaged("it ends within a number")
    parts, start = [], 0
    while start < data.size:  # in parts, as each byte takes eight in between
        ends = np.flatnonzero(data[start : start + _PART_BYTES] < 128)
        if not ends.size:
            raise Damaged("a number of more than ten bytes")
        begins = np.concatenate([[0], ends[:-1] + 1])
        part, value = data[start:], np.zeros(ends.size, np.uint32)
        if (ends - begins).max() > 2:
            raise Damaged("a number of more than 16 bits")
        for place in range(3):
            inside = begins + place <= ends
            byte = part[np.minimum(begins + place, ends)].astype(np.uint32) & 127
            value |= np.where(inside, byte << 7 * place, 0).astype(np.uint32)
        if np.max(value) >= 1 << 16:
            raise Damaged("a number of more than 16 bits")
        parts.append(value.astype(np.uint16))
        start += int(ends[-1]) + 1
    return np.concatenate(parts or [np.zeros(0, np.uint16)])


def fields(message: memoryview) -> Iterator[Field]:
    """Yields a message's fields in order.

    Raises:
      Damaged: It is cut short, or no message.
    """
    place = 0
    while place < len(message):
        start = place
        tag, place = _varint(message, place)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            value, place = _varint(message, place)
            yield Field(number, kind, value)
        elif kind == BYTES:
            length, place = _varint(message, place)
            if place + length > len(message):
                raise Damaged(f"it ends within field {number}")
            yield Field(number, kind, message[place : place + length])
            place += length
        elif kind in _WIDTHS:
            run = _run(message[start:], place - start, _WIDTHS[kind])
            yield Field(number, kind, memoryview(run.tobytes()))
            place = start + len(run) * (place - start + _WIDTHS[kind])
        else:
            raise Damaged(f"wire type {kind}")


def _varint(message: memoryview, place: int) -> tuple[int, int]:
    """Returns an integer and the place behind it."""
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(message):
            raise Damaged("it ends within a number")
        byte = message[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise Damaged("a number of more than ten bytes")


def _run(message: memoryview, head: int, width: int) -> np.ndarray:
    """Returns the numbers of records that begin with the message's first bytes.

    Args:
      message: From the first record on.
      head: Bytes before a number.
      width: Bytes of a number.

    Returns:
      `(n, width) uint8`.
    """
    size = head + width
    whole = np.frombuffer(message, np.uint8, len(message) // size * size)
    records = whole.reshape(-1, size)
    if not len(records):
        raise Damaged("it ends within a number")
    length, ended = 1, False
    while not ended:  # twice as far each time, as a message may have many short runs
        window = records[length : 2 * length, :head]
        same = (window == records[0, :head]).all(axis=1)
        ended = not same.all() or len(window) < length
        length += len(window) if same.all() else int(same.argmin())
    return np.ascontiguousarray(records[:length, head:])
