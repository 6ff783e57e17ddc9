"""Output and exit codes of the commands."""

from __future__ import annotations

import io
import os
import re
import signal
import sys
from collections.abc import Callable
from typing import NoReturn

from .errors import InputError
from .memory import end, is_exhausted, library_failed, out_of_memory

LONGEST = 4800  # characters of an error: a path may take 4,096
_HARMFUL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def program() -> str:
    """Return the command that started this program: `gluonlm` or `python -m gluonlm`."""
    installed = os.path.basename(sys.argv[0]) == "gluonlm"
    return "gluonlm" if installed else "python -m gluonlm"


def run_command(main: Callable[[], int | None]) -> NoReturn:
    """Run a command line's `main`, and exit with its code.

    After an `InputError` or `OSError`, or if memory is exhausted, it prints one line and exits with
    2; after Ctrl-C with 130.
    """
    for name in ("stdin", "stdout", "stderr"):  # closed by the caller, as with >&-
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, "r" if name == "stdin" else "w"))
    if isinstance(sys.stdout, io.TextIOWrapper):  # not in a notebook
        # file names may not be UTF-8, and the terminal may be ASCII
        sys.stdout.reconfigure(errors="backslashreplace")
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:  # see gluonlm/__init__.py
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        code = main() or 0
        sys.stdout.flush()
    except InputError as error:
        complain(shorten(f"error: {speak_flags(str(error))}"))
        code = 2
    except BrokenPipeError:  # the reader of a pipe has closed it
        drop_output()
        code = 128 + signal.SIGPIPE
    except SystemExit:
        raise
    except BaseException as error:  # of Rust's panics too
        code = 2
        if is_exhausted(error) or library_failed():
            complain(f"error: {out_of_memory()}")
        elif isinstance(error, OSError):  # such as a full disk or a deleted folder
            complain(f"error: {error.strerror}: {error.filename or 'while writing'}")
        elif isinstance(error, KeyboardInterrupt):
            complain("interrupted")
            code = 128 + signal.SIGINT
        else:
            raise
    end(code)


def drop_output() -> None:
    """Redirect standard output to /dev/null, because its reader has closed the pipe."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def complain(line: str) -> None:
    """Print one line to standard error."""
    print(f"gluonlm: {harmless(line)}".replace("\n", " "), file=sys.stderr)


def shorten(line: str) -> str:
    """Return a line without the middle if it is very long: a forged value may fill megabytes."""
    return line if len(line) <= LONGEST else f"{line[: LONGEST // 2]} ... {line[-LONGEST // 4 :]}"


def harmless(text: str) -> str:
    """Return a text with its control characters escaped, as in `\\x1b`; keep newlines and tabs.

    Vocabularies, settings and file names may be untrusted, and terminals interpret control
    characters. Lone surrogates, which no encoding supports, are escaped as in `\\udcff`: Python
    represents by them the bytes of a file name that are not UTF-8.
    """
    return _HARMFUL.sub(_escape, text)


def _escape(match):
    code = ord(match[0])
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def speak_flags(message: str) -> str:
    """Return a message with its settings, `` `batch_size` ``, replaced by flags, `--batch-size`."""
    return re.sub(r"`([a-z][a-z_]*)`", lambda match: flag(match[1]), message)


def visible(text: str) -> str:
    """Return a text with its control characters as symbols, as in `␛`; keep newlines and tabs.

    Those without a symbol, `\\x80` to `\\x9f`, are escaped.
    """
    return harmless(re.sub(r"[\x00-\x08\x0b-\x1f\x7f]", _symbol, text))


def _symbol(found):
    code = ord(found[0])
    return "\u2421" if code == 0x7F else chr(0x2400 + code)


def show(text: str, end: str = "", content: bool = False) -> None:
    """Print text and flush; escape control characters.

    Parameters
    ----------
    content
        Whether the text is the user's or generated, not a message: its control characters are
        printed as symbols to a terminal, and unchanged to files and pipes.
    """
    if not content:
        text = harmless(text)
    elif sys.stdout.isatty():
        text = visible(text)
    print(text, end=end, flush=True)


def flag(name: str) -> str:
    """Return a field's flag: `--batch-size` for `batch_size`."""
    return "--" + name.replace("_", "-")
