"""The errors that commands report in one line instead of a traceback.

Any other exception is a bug and keeps its traceback.
"""


class InputError(ValueError):
    """The user's input cannot be used.

    Its text is one line: the field, its value, what is allowed, the remedy.
    """


class BusyError(InputError):
    """Another run is writing to the run's folder."""


class RunError(RuntimeError):
    """The run cannot continue: a full disk, a loss that is not finite.

    Its text is one line: what happened, what is kept, what to do.
    """


class NotFiniteError(RunError):
    """A step's loss or update is not finite."""
