"""Layers as calls: what a `setup` says of them, to be evaluated or printed."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple


class Name(NamedTuple):
    """A name in place of a value, such as `CEIL` or `self.num_classes`."""

    text: str


class Call(NamedTuple):
    """A layer, as it is written in a `setup`.

    Attributes:
      function: A method of `AlexNetBase`, or a function or class of `layers/`.
      args: In order: numbers, strings, `Name`s, or a `Call` (`ceil_pad(2)`).
      kwargs: Pairs, likewise.
      is_layer: Whether the name alone is the layer (`relu`).
    """

    function: str
    args: tuple[Any, ...] = ()
    kwargs: tuple[tuple[str, Any], ...] = ()
    is_layer: bool = False

    def code(self) -> str:
        """Returns the call as Python writes it."""
        if self.is_layer:
            return self.function
        args = [_code(value) for value in self.args]
        args += [f"{key}={_code(value)}" for key, value in self.kwargs]
        return f"{self.function}({', '.join(args)})"

    def evaluate(self, names: Mapping[str, Any]) -> Callable:
        """Returns the layer.

        Args:
          names: What each name that occurs stands for.
        """
        function = names[self.function]
        if self.is_layer:
            return function
        args = [_value(value, names) for value in self.args]
        return function(*args, **{k: _value(v, names) for k, v in self.kwargs})


def _code(value: Any) -> str:
    if isinstance(value, Name):
        return value.text
    return value.code() if isinstance(value, Call) else repr(value)


def _value(value: Any, names: Mapping[str, Any]) -> Any:
    if isinstance(value, Name):
        return names[value.text]
    return value.evaluate(names) if isinstance(value, Call) else value


def layer(function: str, *args: Any, **kwargs: Any) -> Call:
    """Returns a call; keyword arguments that are None are left out."""
    given = tuple((key, value) for key, value in kwargs.items() if value is not None)
    return Call(function, args, given)


def plain(function: str) -> Call:
    """Returns a function that is a layer itself."""
    return Call(function, is_layer=True)
