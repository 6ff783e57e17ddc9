"""What every command prints, and how it ends."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from .errors import InputError


def program() -> str:
    """Return how this program was called: `gluonlm`, or `python -m gluonlm`."""
    own = os.path.basename(sys.argv[0]) == "gluonlm"
    return "gluonlm" if own else "python -m gluonlm"


def run_command(main: Callable[[], int | None]) -> NoReturn:
    """Run a command line's `main`, and exit with its code.

    That is 2 after one line for bad input, or a disk that fails, and 130 after Ctrl-C.
    """
    for name in ("stdin", "stdout", "stderr"):  # closed by the caller, as with >&-
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # as while this command was loaded
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code = main() or 0
        sys.stdout.flush()
    except InputError as error:
        complain(f"error: {speak_flags(str(error))}")
        code = 2
    except BrokenPipeError:  # the reader of a pipe has gone: nobody is left to tell
        drop_output()
        code = 128 + signal.SIGPIPE
    except OSError as error:  # a full disk, a folder that vanished: the machine's fault, not ours
        complain(f"error: {error.strerror}: {error.filename or 'while writing'}")
        code = 2
    except KeyboardInterrupt:
        complain("interrupted")
        code = 128 + signal.SIGINT
    sys.exit(code)


def drop_output() -> None:
    """Make standard output lead nowhere, because its reader has gone."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(line: str) -> None:
    """Print one line to standard error."""
    print(f"gluonlm: {harmless(line)}".replace("\n", " "), file=sys.stderr)


def harmless(text: str) -> str:
    """Return a text whose control characters are seen instead of obeyed, `\\x1b`.

    A vocabulary, a setting or the name of a file may come from elsewhere, and a terminal does what
    such characters say. Line breaks and tabs stay.
    """
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", lambda c: f"\\x{ord(c[0]):02x}", text)


def speak_flags(message: str) -> str:
    """Return a message with the settings it names, `` `batch_size` ``, as flags, `--batch-size`."""
    return re.sub(r"`([a-z][a-z_]*)`", lambda match: flag(match[1]), message)


def show(text: str, end: str = "") -> None:
    """Print text at once; what a terminal cannot show, or would obey, comes as escapes."""
    print(encodable(harmless(text)), end=end, flush=True)


def encodable(text: str) -> str:
    """Return a text in which escapes stand for what standard output has no letters for."""
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def flag(name: str) -> str:
    """Return a field's flag: `batch_size` is `--batch-size`."""
    return "--" + name.replace("_", "-")
