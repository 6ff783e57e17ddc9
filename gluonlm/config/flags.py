"""Command lines: flags from groups of settings, habitual names, and errors in one line."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import re
import sys
from collections.abc import Callable, Collection, Sequence
from typing import Any, NoReturn, get_type_hints

from ..system.console import flag, program
from ..system.errors import InputError
from ..system.processes import launched
from .aliases import OURS, translate

METAVARS = {int: "N", float: "X", str: "TEXT"}


class Parser(argparse.ArgumentParser):
    """An argument parser whose errors are one line.

    It accepts `--batch_size` for `--batch-size`, and the names of `habits`.

    Parameters
    ----------
    common
        The flags that `--help` shows; `--help-all` shows the others too. Empty for all.
    examples
        Command lines, without the program's name.
    alone
        Whether the command is one process, and says so where `mpiexec` started several.
    """

    def __init__(
        self,
        command: str,
        description: str,
        examples: Sequence[str] = (),
        common: Collection[str] = (),
        alone: bool = True,
    ):
        lines = [f"  {program()} {command} {example}" for example in examples]
        super().__init__(
            prog=f"{program()} {command}",
            usage=f"%(prog)s {'[FLAGS]' if common else '...'}" if common else None,
            description=description,
            allow_abbrev=False,
            epilog="\n".join(["examples:", *lines]) if examples else None,
            formatter_class=_wide,
        )
        self.common, self.alone = set(common), alone
        if common:
            self.add_argument("--help-all", action=_HelpAll, nargs=0, help="show every flag")

    def error(self, message: str) -> NoReturn:
        page = "--help-all" if self.common else "--help"
        raise InputError(f"{message}{self._nearest(message)} ({page} explains the flags)")

    def _nearest(self, message):
        """Return a hint at the flag that is most like the first one that is unknown."""
        found = re.search(r"unrecognized arguments:.*?(--?[a-z][\w-]*)", message)
        if not found:
            return ""
        names = {**{name: name for name in self._option_string_actions}, **OURS}
        wanted = "--" + found[1].lstrip("-").replace("_", "-")
        like = [
            names[name]
            for name in difflib.get_close_matches(wanted, names, 5)
            if names[name] in self._option_string_actions
        ]
        return f": did you mean {like[0]}?" if like else ""

    def parse_args(self, args=None, namespace=None):
        rank, size = launched()
        if self.alone and size > 1:
            if rank:
                sys.exit(0)  # the first process says it, and its exit code is the job's
            raise InputError(
                f"{self.prog} is one process, and mpiexec started {size}: leave it out"
            )
        words = sys.argv[1:] if args is None else [*args]
        return super().parse_args(list(translate(words, self._option_string_actions)), namespace)

    def format_help(self) -> str:
        """Return the page of the common flags, or of all if there are few."""
        rare = [
            action
            for action in self._actions
            if action.option_strings
            and self.common
            and action.dest not in {*self.common, "help", "help_all"}
        ]
        kept = [action.help for action in rare]
        for action in rare:
            action.help = argparse.SUPPRESS
        try:
            return super().format_help()
        finally:
            for action, text in zip(rare, kept):
                action.help = text

    def add_settings(self, group: type, title: str, names: Sequence[str] | None = None) -> None:
        """Add a flag for each field of a group of settings, or for those named.

        A flag that is not given is absent from what is parsed.
        """
        arguments, hints = self.add_argument_group(title), get_type_hints(group)
        for item in dataclasses.fields(group):
            if names is None or item.name in names:
                default = item.default
                shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
                note = "" if shown == "" else f" (default: {shown})"
                arguments.add_argument(
                    flag(item.name),
                    default=argparse.SUPPRESS,
                    help=item.metadata["help"].replace("%", "%%") + note,
                    **_reading(hints[item.name], item.metadata["choices"]),
                )

    def add_run(self) -> None:
        """Add what every command takes that opens a run."""
        place = "folder of a run, or of one of its checkpoints"
        self.add_argument("run", metavar="RUN", help=place)
        self.add_checkpoint()

    def add_checkpoint(self) -> None:
        """Add the flag that says which checkpoint of a run is meant."""
        self.add_argument(
            "--checkpoint",
            choices=("best", "last"),
            default="best",
            help="which of the run's (default: best)",
        )

    def add_overwrite(self) -> None:
        """Add the flag without which no file is ever replaced."""
        self.add_argument("--overwrite", action="store_true", help="replace a file that is there")

    def add_unknown(self, where: str) -> None:
        """Add the flag that says what to do with characters a model does not know."""
        self.add_argument(
            "--unknown",
            choices=("error", "skip"),
            default="error",
            help=f"what to do with characters{where} that the model does not know (default: error)",
        )


def add_device(add: Callable) -> None:
    """Add the flags that say where a training runs."""
    add(
        "--ctx",
        default="cpu",
        metavar="DEVICE",
        help="cpu, gpu, gpu:1, gpu:0,1 or auto (default: cpu)",
    )
    add(
        "--threads",
        type=int,
        default=0,
        metavar="N",
        help="processor threads; 0: by the size of the model (default: 0)",
    )


def check_bounds(arguments: argparse.Namespace, bounds: dict[str, float]) -> None:
    """Reject numbers that are under 0 or above their bounds; None stands for no number.

    Raises
    ------
    InputError
        Naming the first.
    """
    for name, most in bounds.items():
        value = getattr(arguments, name)
        if value is not None and not 0 <= value <= most:
            raise InputError(f"`{name}` {value:g}: must be from 0 to {most:g}")


class _HelpAll(argparse.Action):
    """Prints every flag."""

    def __call__(self, parser, namespace, values, option_string=None):
        parser.common = set()
        parser.print_help()
        parser.exit()


class _Page(argparse.HelpFormatter):
    """Wraps descriptions, and leaves the examples as they stand."""

    def _fill_text(self, text, width, indent):
        if text.startswith("examples:"):
            return text
        return super()._fill_text(text, width, indent)


def _wide(prog):
    return _Page(prog, max_help_position=30, width=100)


def _reading(kind, choices) -> dict[str, Any]:
    """Return how argparse reads a field of this type."""
    if kind is bool:
        return dict(action=argparse.BooleanOptionalAction)
    if kind == tuple[str, ...]:
        return dict(nargs="+", metavar="X")
    if kind in (tuple[int, ...], tuple[float, ...]):
        (single, _) = kind.__args__
        letter = METAVARS[single]
        return dict(type=_numbers(single), metavar=f"{letter}[,{letter}]")
    return dict(type=kind, choices=choices) if choices else dict(type=kind, metavar=METAVARS[kind])


def _numbers(kind):
    def read(text):
        return tuple(kind(part) for part in text.split(","))

    read.__name__ = "number or list of numbers"  # argparse prints it when a value is something else
    return read


def given(arguments: argparse.Namespace, group: type) -> dict[str, Any]:
    """Return the settings of a group that were given on a command line, by field name."""
    return {
        item.name: getattr(arguments, item.name)
        for item in dataclasses.fields(group)
        if hasattr(arguments, item.name)
    }
