"""The command `gluonlm`: one door to all commands. `gluonlm --help`."""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import os
import platform
import sys
from collections.abc import Callable

from .config.flags import METAVARS
from .system.console import program, run_command
from .system.errors import InputError

# in the order in which a newcomer needs them: what each does, and where it lives
COMMANDS = {
    "train": ("train a model on a text, or go on with a run", "train.__main__"),
    "generate": ("write text with a trained model", "generate.__main__"),
    "evaluate": ("score a text: bits per character, perplexity", "evaluate.__main__"),
    "combine": ("average the probabilities of runs", "run.combine"),
    "tune": ("find settings by many trainings, most of them cut short", "tune.__main__"),
    "embeddings": ("draw a map of words, or list the nearest of one", "embeddings"),
    "export": ("write a model for ONNX Runtime, PyTorch or a browser", "convert.export"),
    "import": ("make a run of old weights: Gluon, GluonNLP, PyTorch", "convert.import_"),
    "compare": ("time a training on each device and number of threads", "compare"),
    "corpus": ("list the corpora that have names, or fetch some", "corpus.__main__"),
}
PAGE = """{program}: recurrent language models on Apache MXNet Gluon

Train a model on a text, let it write, ask how well it predicts:

{commands}

  completion   print a script that completes these in bash, zsh or tcsh

The first three, in this order, on a text of your own:

  {program} train --data book.txt --run runs/book
  {program} generate runs/book --prompt "In the beginning"
  {program} evaluate runs/book --data letter.txt

{program} COMMAND --help explains a command, --version says what is installed.
Without a text of your own, {program} train reads the one inside Python itself.
"""


def page() -> str:
    """Return what `--help` prints."""
    lines = (f"  {name:12} {about}" for name, (about, _) in COMMANDS.items())
    return PAGE.format(program=program(), commands="\n".join(lines))


def versions() -> str:
    """Return the versions of what a training depends on, and the threads it may use."""
    from . import __version__
    from .system import runtime

    found = {"gluonlm": __version__, "MXNet": _mxnet(), "Python": platform.python_version()}
    found["NumPy"] = importlib.metadata.version("numpy")
    threads = os.environ.get(runtime.THREADS_VARIABLE) or f"up to {runtime.physical_cores()}"
    return "\n".join(f"{name} {version}" for name, version in {**found, "threads": threads}.items())


def _mxnet():
    names = ("mxnet", "mxnet-cu117", "mxnet-cu112")
    installed = {item.metadata["Name"]: item.version for item in importlib.metadata.distributions()}
    builds = [f"{installed[name]} ({name})" for name in names if name in installed]
    return ", ".join(builds) or "is not installed"


def complete(shell: str) -> str:
    """Return a script that completes commands and flags in a shell.

    Raises
    ------
    InputError
        For a shell that shtab does not know.
    """
    import argparse

    import shtab

    if shell not in shtab.SUPPORTED_SHELLS:
        raise InputError(f"completion {shell!r}: one of {', '.join(shtab.SUPPORTED_SHELLS)}")
    root = argparse.ArgumentParser(prog="gluonlm")
    commands = root.add_subparsers()
    for name, (about, _) in COMMANDS.items():
        parser = _module(name).make_parser()
        for action in parser._actions:
            action.metavar = action.metavar if action.option_strings else None
            if action.metavar in (METAVARS[str], "FILE", "RUN", "DIR"):
                action.complete = shtab.FILE
        commands.add_parser(name, parents=[parser], add_help=False, help=about)
    return shtab.complete(root, shell)


def _module(name):
    return importlib.import_module(f".{COMMANDS[name][1]}", __package__)


def main(argv=None) -> int | None:
    name, *rest = (sys.argv[1:] if argv is None else argv) or ["--help"]
    if name in ("-h", "--help", "help"):
        print(page(), end="")
    elif name in ("-V", "--version", "version"):
        print(versions())
    elif name == "completion":
        print(complete(" ".join(rest) or os.path.basename(os.environ.get("SHELL", "bash"))))
    elif name in COMMANDS:
        command: Callable = _module(name).main
        return command(rest)
    else:
        like = difflib.get_close_matches(name, COMMANDS, 1)
        hint = f": did you mean {like[0]}?" if like else f": the commands are {', '.join(COMMANDS)}"
        raise InputError(f"{name!r} is not a command{hint}")
    return None


def script() -> None:
    """Run the command `gluonlm`."""
    run_command(main)


if __name__ == "__main__":
    script()
