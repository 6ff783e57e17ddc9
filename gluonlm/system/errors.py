"""The one exception that says: the user can mend this."""


class InputError(ValueError):
    """Something from outside is wrong; the message is one line: what, where, what to do.

    A message names a setting by its field in backquotes, `` `batch_size` ``, because whoever calls
    the library writes that; the command lines turn it into `--batch-size`, print the line to
    standard error and exit with code 2. Any other exception is our fault.
    """
