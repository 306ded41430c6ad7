"""The one error that the program answers with a line instead of a traceback."""


class InputError(ValueError):
    """What the user gave cannot be used.

    Its text is one line: the field, its value, what is allowed, the remedy. The
    command line prints that line alone; any other exception is a fault of the program
    and keeps its traceback.
    """
