"""The one exception that means: the user can mend this."""


class InputError(ValueError):
    """Something given from outside is wrong; the message is one line: what, where, what to do.

    Command lines print it to standard error and exit with code 2. Anything else that is raised is a fault of ours.
    """
