"""The errors that a user can fix."""


class InputError(ValueError):
    """An error that the user can fix; its message is one line: subject, problem, remedy.

    A message names a setting by its field in backticks, `` `batch_size` ``, as callers of the
    library write it. The commands convert the name to `--batch-size`, print the line to standard
    error and exit with code 2. Any other exception is a bug.
    """


class WriteError(InputError):
    """A file could not be written; the settings may be valid, and the same command may succeed."""
