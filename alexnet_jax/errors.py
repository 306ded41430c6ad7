"""The errors that the program answers with a line instead of a traceback.

Any other exception is a fault of the program and keeps its traceback.
"""


class InputError(ValueError):
    """What the user gave cannot be used.

    Its text is one line: the field, its value, what is allowed, the remedy.
    """


class RunError(RuntimeError):
    """The run cannot go on: a full disk, a loss that is not finite.

    Its text is one line: what happened, what is kept, what to do.
    """
