"""Command-line parsers: flags and `--set` from groups of settings, aliases, one-line errors."""

from __future__ import annotations

import argparse
import dataclasses
import difflib
import re
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any, NoReturn, get_type_hints

from ..system.console import flag, program
from ..system.errors import InputError
from ..system.processes import launched
from .aliases import OURS, translate
from .config import GROUPS, RENAMED, is_record, read_settings
from .presets import preset_settings

DEMO = Path(__file__).resolve().parent.parent / "demo"  # a run in the package
METAVARS = {int: "N", float: "X", str: "TEXT"}


class Parser(argparse.ArgumentParser):
    """An argument parser with one-line errors.

    It accepts `--batch_size` for `--batch-size`, the names in `aliases`, and for commands with
    settings `--set NAME=VALUE`.

    Parameters
    ----------
    common
        The flags in `--help`, by field name; `--help-all` adds the others, and lists the settings
        among them as names for `--set`. Empty to show every flag.
    examples
        Command lines, without the program's name.
    alone
        Whether the command rejects being run as several processes.
    """

    def __init__(
        self,
        command: str,
        description: str,
        examples: Sequence[str] = (),
        common: Collection[str] = (),
        alone: bool = True,
    ):
        lines = [f"  {program()} {command} {example}".rstrip() for example in examples]
        super().__init__(
            prog=f"{program()} {command}",
            usage="%(prog)s [FLAGS]" if common else None,
            description=description,
            allow_abbrev=False,
            epilog="\n".join(["examples:", *lines]) if examples else None,
            formatter_class=_Page,
        )
        self.common, self.alone = set(common), alone
        # reads the values of --set, and documents them
        self.settings = argparse.ArgumentParser(
            usage=argparse.SUPPRESS,
            add_help=False,
            allow_abbrev=False,
            exit_on_error=False,
            formatter_class=_SettingsPage,
        )
        if common:
            self.add_argument(
                "--help-all", action=_HelpAll, nargs=0, help="show every flag and setting"
            )
            self.add_argument(
                "--set",
                action="append",
                default=argparse.SUPPRESS,
                metavar="NAME=VALUE",
                help="any setting that --help-all lists, such as dropout=0.2; may be repeated",
            )

    def error(self, message: str) -> NoReturn:
        page = "--help-all" if self.common else "--help"
        raise InputError(f"{message}{self._nearest(message)} (see {page})")

    def _nearest(self, message):
        """Return a hint at the flag that resembles the first unknown flag of a message."""
        found = re.search(r"unrecognized arguments:.*?(--?[a-z][\w-]*)", message)
        like = _resembling(found[1], self._option_string_actions) if found else ""
        return like and f": did you mean {like}?"

    def parse_args(self, args=None, namespace=None):
        rank, size = launched()
        if self.alone and size > 1:
            if rank:
                sys.exit(0)  # rank 0 prints the error, and its exit code is the job's
            raise InputError(
                f"{self.prog} runs as a single process: do not start it with mpiexec "
                f"({size} processes found)"
            )
        words = sys.argv[1:] if args is None else [*args]
        words = list(translate(words, self._option_string_actions))
        parsed = super().parse_args(words, namespace)
        for name, value in self.read_set(vars(parsed).pop("set", ())).items():
            _add_value(vars(parsed), name, value)
        self._reject_empty(parsed)
        if hasattr(parsed, "demo"):
            if parsed.demo == (parsed.run is not None):
                raise InputError("pass either RUN, the folder of a run, or `demo`")
            parsed.run = parsed.run or str(DEMO)
        if getattr(parsed, "config", None):
            parsed.read_from_config = self._read_config(parsed.config)
        return parsed

    def _reject_empty(self, parsed):
        """Reject empty texts, which are mostly shell variables that are not set."""
        for action in self._actions:
            value = getattr(parsed, action.dest, None)
            named = bool(action.option_strings)
            # argparse returns [] for `--name=--`
            if value == "" or (isinstance(value, list) and ("" in value or named > len(value))):
                name = f"`{action.dest}`" if named else action.metavar
                raise InputError(
                    f"{name}: is empty; leave it out, or check that the shell variable is set"
                )

    def _read_config(self, path):
        """Return the settings in a file; reject flags that are not settings."""
        values = read_settings(path)
        settings = {item.name for group in GROUPS.values() for item in dataclasses.fields(group)}
        for name in values:
            field = name.replace("-", "_")
            if field in settings - {name}:
                raise InputError(f"`config` {path}: {name!r} is written {field} in a file")
            if field not in settings and flag(name) in self._option_string_actions:
                flags = (a.dest for a in self._actions if a.help != argparse.SUPPRESS)
                only = sorted({*flags} - settings - {"help", "help_all"})
                raise InputError(
                    f"`config` {path}: {name!r} is a flag, not a setting: pass `{field}` on the "
                    f"command line, like {', '.join(map(flag, only))}"
                )
        return values

    def reject_unused(
        self,
        parsed: argparse.Namespace,
        names: Collection[str],
        without: str = "",
        together_with: str = "",
    ) -> None:
        """Reject flags that have no effect without another flag, or with it; accept defaults.

        Raises
        ------
        InputError
            For the first of these flags.
        """
        given = {action.dest for action in self._actions if self._is_given(parsed, action.dest)}
        for name in names:
            if name in given and without and without not in given:
                raise InputError(f"`{name}`: has no effect without `{without}`")
            if name in given and together_with in given:
                raise InputError(
                    f"`{name}`: has no effect with `{together_with}`; leave out one of them"
                )

    def _is_given(self, parsed, name):
        return getattr(parsed, name, None) not in (None, self.get_default(name))

    def read_set(self, texts: Sequence[str]) -> dict[str, Any]:
        """Return settings by field name from the values of `--set`, `NAME=VALUE`.

        Raises
        ------
        InputError
            For an unknown name, an invalid value, or two values of one setting.
        """
        values: dict[str, Any] = {}
        known = self.settings._option_string_actions
        for text in texts:
            if "=" not in text:
                raise InputError(f"`set` {text}: must be NAME=VALUE, such as dropout=0.2")
            words = list(translate(["--" + text.lstrip("-")], known))
            if words[0].partition("=")[0] not in known:
                like = _resembling(text.partition("=")[0], self._option_string_actions)
                hint = like and f"; did you mean {known[like].dest if like in known else like}?"
                raise InputError(f"`set` {text}: unknown setting{hint} (--help-all lists them)")
            try:
                parsed = self.settings.parse_args(words)
            except argparse.ArgumentError as error:
                self.error(str(error))
            for name, value in vars(parsed).items():
                _add_value(values, name, value)
        return values

    def format_help(self) -> str:
        """Return the help page: of the common flags if there are any, otherwise of all."""
        rare = [
            action
            for action in self._actions
            if action.option_strings
            and self.common
            and action.dest not in {*self.common, "help", "help_all", "set"}
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
        """Add a flag for each field of a group of settings, or for the named fields.

        If there are common flags, the flags of other settings are hidden, and `--help-all` lists
        these settings for `--set`. A setting that is not given is absent from the parsed arguments.
        """
        flags, hints = self.add_argument_group(title), get_type_hints(group)
        settings = self.settings.add_argument_group(f"{title} settings (--set NAME=VALUE)")
        for item in dataclasses.fields(group):
            if names is None or item.name in names:
                how = hints[item.name], item.metadata["choices"]
                text = item.metadata["help"].replace("%", "%%") + _default_note(item.default)
                rare = bool(self.common) and item.name not in self.common
                for place, reading, hide in (
                    (flags, _reading(*how), rare),
                    (settings, _reading_one(*how), not rare),
                ):
                    shown = argparse.SUPPRESS if hide else text
                    place.add_argument(
                        flag(item.name), default=argparse.SUPPRESS, help=shown, **reading
                    )

    def add_sources(self, preset: str | None = None) -> None:
        """Add the flags of all settings, `--preset` with its default, and `--config`."""
        for title, group in GROUPS.items():
            self.add_settings(group, title)
        sources = self.add_argument_group("sources of settings (flags and --set override them)")
        text = "settings of a published system" + _default_note(preset or "")
        sources.add_argument("--preset", default=preset, metavar="NAME", help=text)
        text = "settings from a .toml or .json file, which override the preset's"
        sources.add_argument("--config", metavar="FILE", help=text)

    def add_run(self, demo: bool = False) -> None:
        """Add the run to open, with `demo` the flag that replaces it, and `--checkpoint`."""
        place = "folder of a run, or of one of its checkpoints"
        self.add_argument("run", metavar="RUN", nargs="?" if demo else None, help=place)
        if demo:
            text = "use the model in the package, trained on Python's documentation, instead of RUN"
            self.add_argument("--demo", action="store_true", help=text)
        self.add_checkpoint()

    def add_checkpoint(self) -> None:
        """Add the flag that chooses a checkpoint of the run."""
        self.add_argument(
            "--checkpoint",
            choices=("best", "last"),
            default="best",
            help="which checkpoint of the run to load (default: best)",
        )

    def add_overwrite(self, target: str = "file") -> None:
        """Add the flag that allows an existing file or run to be replaced."""
        self.add_argument("--overwrite", action="store_true", help=f"replace an existing {target}")

    def add_unknown(self, where: str) -> None:
        """Add the flag that chooses how to treat characters outside the vocabulary."""
        self.add_argument(
            "--unknown",
            choices=("error", "skip"),
            default="error",
            help=f"stop at characters{where} outside the vocabulary, or skip them (default: error)",
        )


def add_device(add: Callable) -> None:
    """Add `--ctx` and `--threads`."""
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
        help="CPU threads; 0: chosen by the size of the model (default: 0)",
    )


def check_bounds(arguments: argparse.Namespace, bounds: dict[str, float]) -> None:
    """Reject numbers below 0 or above their bounds, and accept None.

    Raises
    ------
    InputError
        For the first number out of bounds.
    """
    for name, most in bounds.items():
        value = getattr(arguments, name)
        if value is not None and not 0 <= value <= most:
            raise InputError(f"`{name}` {value:g}: must be from 0 to {most:g}")


class _HelpAll(argparse.Action):
    """Prints every flag, then every other setting."""

    def __call__(self, parser, namespace, values, option_string=None):
        parser.common = set()
        parser.epilog = f"{parser.settings.format_help()}\n{parser.epilog or ''}"
        parser.print_help()
        parser.exit()


class _Page(argparse.HelpFormatter):
    """Wraps descriptions, but keeps the lines of examples and settings."""

    def __init__(self, prog):
        super().__init__(prog, max_help_position=30, width=100)

    def _fill_text(self, text, width, indent):
        return text if "\n" in text else super()._fill_text(text, width, indent)


class _SettingsPage(_Page):
    """Shows flags as they are written after `--set`."""

    def _format_action_invocation(self, action):
        return f"{action.dest}={action.metavar or '|'.join(action.choices)}"


def _default_note(default):
    if isinstance(default, bool):
        default = str(default).lower()
    shown = ",".join(map(str, default)) if isinstance(default, tuple) else default
    return "" if shown == "" else f" (default: {shown})"


def _reading(kind, choices) -> dict[str, Any]:
    """Return the argparse options of a flag whose field has this type."""
    if kind is bool:
        return dict(action=argparse.BooleanOptionalAction)
    if kind == tuple[str, ...]:
        return dict(nargs="+", metavar="X")
    if kind in (tuple[int, ...], tuple[float, ...]):
        (single, _) = kind.__args__
        letter = METAVARS[single]
        return dict(type=_numbers(single), metavar=f"{letter}[,{letter}]")
    return dict(type=kind, choices=choices) if choices else dict(type=kind, metavar=METAVARS[kind])


def _reading_one(kind, choices) -> dict[str, Any]:
    """Return the same options for `--set`, where each value is one word."""
    if kind is bool:
        return dict(type=_boolean, metavar="true|false")
    if kind == tuple[str, ...]:
        return dict(type=_texts, metavar="X[,X]")
    return _reading(kind, choices)


def _numbers(kind):
    def read(text):
        return tuple(kind(part) for part in text.split(","))

    read.__name__ = "number or list of numbers"  # printed by argparse for an invalid value
    return read


def _boolean(text):
    if text.lower() not in ("true", "false"):
        raise argparse.ArgumentTypeError(f"{text!r} must be true or false")
    return text.lower() == "true"


def _texts(text):
    return text.split(",")


def _add_value(values, name, value):
    """Add a value of `--set`, unless the setting already has a different value."""
    if values.setdefault(name, value) != value:
        raise InputError(f"`{name}`: set to {values[name]}, and by `set` to {value}: keep one")


def _resembling(name, known):
    """Return the known flag that most resembles a name or one of its aliases, or ""."""
    names = {**{name: name for name in known}, **OURS}
    like = difflib.get_close_matches(flag(name.lstrip("-")), names, 5)
    return next((names[one] for one in like if names[one] in known), "")


def given(arguments: argparse.Namespace, group: type) -> dict[str, Any]:
    """Return the settings of a group that the command line contains, by field name."""
    return {
        item.name: getattr(arguments, item.name)
        for item in dataclasses.fields(group)
        if hasattr(arguments, item.name)
    }


def chosen(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return settings by field name: flags and `--set`, then `--config`, then `--preset`."""
    settings = {} if arguments.preset is None else preset_settings(arguments.preset)
    settings.update(getattr(arguments, "read_from_config", {}))
    for group in GROUPS.values():
        settings.update(given(arguments, group))
    return settings


def explicit(arguments: argparse.Namespace) -> set[str]:
    """Return the names of the settings that the user has chosen one by one.

    These are flags, `--set` and `--config`. A preset, or a run's config.json, also contains
    settings of other models.
    """
    read = getattr(arguments, "read_from_config", {})
    names = set() if is_record(read) else {RENAMED.get(name, name) for name in read}
    return names.union(*(given(arguments, group) for group in GROUPS.values()))
