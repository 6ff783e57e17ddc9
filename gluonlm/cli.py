"""Command lines: flags from setting groups, habitual names, and errors in one line."""

import argparse
import dataclasses
import os
import signal
import sys
from typing import Tuple, get_type_hints

from .config import flag
from .errors import InputError

# names that people type from habit, from other language-modelling code
ALIASES = {
    "--nhid": ["--hidden-size"],
    "--emsize": ["--embed-size"],
    "--nlayers": ["--num-layers"],
    "--bptt": ["--seq-len"],
    "--tied": ["--tie-weights"],
    "--cuda": ["--ctx", "gpu"],
    "--gpu": ["--ctx", "gpu"],
    "--save": ["--run"],
}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line, and which accepts `--batch_size` and the habitual names."""

    def __init__(self, module, description):
        habits = ", ".join(f"{name} ({' '.join(names)})" for name, names in ALIASES.items())
        super().__init__(
            prog=f"python -m gluonlm.{module}",
            description=description,
            allow_abbrev=False,
            epilog=f"Names from habit work too: {habits}." if module == "train" else None,
            formatter_class=lambda prog: argparse.HelpFormatter(
                prog, max_help_position=30, width=110
            ),
        )

    def error(self, message):
        raise InputError(f"{message} (--help explains the flags)")

    def parse_args(self, args=None, namespace=None):
        words = []
        for word in sys.argv[1:] if args is None else args:
            name, equals, value = word.partition("=")
            if name.startswith("--") and len(name) > 2:
                name = name.replace("_", "-")
                names = ALIASES.get(name, [name])
                words += names[:-1] + [names[-1] + equals + value]
            else:
                words.append(word)
        return super().parse_args(words, namespace)

    def add_settings(self, group, title, names=None):
        """Add a flag for each field of a setting group (or those named); flags not given are absent from the result."""
        arguments, hints = self.add_argument_group(title), get_type_hints(group)
        for item in dataclasses.fields(group):
            if names is not None and item.name not in names:
                continue
            kind, default, extra = hints[item.name], item.default, {}
            if kind is bool:
                extra["action"] = argparse.BooleanOptionalAction
            elif kind == Tuple[str, ...]:
                extra.update(nargs="+", metavar="X")
            elif kind == Tuple[int, ...]:
                extra.update(type=_numbers(int), metavar="N[,N]")
            elif kind == Tuple[float, ...]:
                extra.update(type=_numbers(float), metavar="X[,X]")
            else:
                extra.update(type=kind, choices=item.metadata["choices"])
                if not item.metadata["choices"]:
                    extra["metavar"] = {int: "N", float: "X", str: "TEXT"}[kind]
            shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
            note = "" if shown == "" else f" (default: {shown})"
            arguments.add_argument(
                flag(item.name),
                default=argparse.SUPPRESS,
                help=item.metadata["help"].replace("%", "%%") + note,
                **extra,
            )


def _numbers(kind):
    def read(text):
        return tuple(kind(part) for part in text.split(","))

    read.__name__ = "number or list of numbers"
    return read


def given(arguments, group):
    """Pick from parsed arguments the settings of a group that were given."""
    return {
        item.name: getattr(arguments, item.name)
        for item in dataclasses.fields(group)
        if hasattr(arguments, item.name)
    }


def run_command(main):
    """Run a command line's `main` and exit: 0, 2 with one line for bad input, 130 for Ctrl-C, `main`'s own code else."""
    try:
        code = main() or 0
        sys.stdout.flush()
    except InputError as error:
        print(f"gluonlm: error: {error}".replace("\n", " "), file=sys.stderr)
        code = 2
    except OSError as error:  # a full disk, a folder that vanished: the machine's fault, not ours
        if isinstance(
            error, BrokenPipeError
        ):  # the reader of a pipe has gone: nobody is left to tell
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(128 + signal.SIGPIPE)
        print(
            f"gluonlm: error: {error.strerror}: {error.filename or 'while writing'}",
            file=sys.stderr,
        )
        code = 2
    except KeyboardInterrupt:
        print("gluonlm: interrupted", file=sys.stderr)
        code = 128 + signal.SIGINT
    sys.exit(code)


def show(text, end=""):
    """Print text that may hold characters the terminal cannot show, those as backslash escapes, at once."""
    encoding = sys.stdout.encoding or "utf-8"
    print(text.encode(encoding, "backslashreplace").decode(encoding), end=end, flush=True)
