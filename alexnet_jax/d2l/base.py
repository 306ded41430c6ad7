"""What d2l's classes have in common: saved arguments, methods added later."""

import inspect
from collections.abc import Callable, Iterable
from typing import Any


def add_to_class(cls: type) -> Callable[[Any], None]:
    """Returns a decorator that makes a function a method of a class.

    Args:
      cls: The class; its objects that exist have the method as well.
    """

    def add(method: Any) -> None:
        setattr(cls, method.__name__, method)

    return add


class HyperParameters:
    """Keeps the arguments of a constructor as attributes.

    Attributes:
      hparams: `{name: value}`, once `save_hyperparameters` was called.
    """

    def save_hyperparameters(self, ignore: Iterable[str] = ()) -> None:
        """Sets an attribute for each argument of the function that calls this.

        Local variables of the caller count as well, those that begin with `_` do not.

        Args:
          ignore: Names to leave out.
        """
        frame: Any = inspect.currentframe()
        arguments = frame.f_back.f_locals
        left_out = {"self", *([ignore] if isinstance(ignore, str) else ignore)}
        self.hparams = {
            name: value
            for name, value in arguments.items()
            if name not in left_out and not name.startswith("_")
        }
        for name, value in self.hparams.items():
            setattr(self, name, value)


def overridden(owner: Any, stock: dict[str, Any]) -> list[str]:
    """Returns the methods that an object has of its own.

    Args:
      owner: The object; what it lacks altogether is none of its own.
      stock: `{name: function}` as the room defines them.
    """
    return [
        name
        for name, function in stock.items()
        if name in vars(owner) or getattr(type(owner), name, function) is not function
    ]
