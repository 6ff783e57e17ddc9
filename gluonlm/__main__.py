"""The command `gluonlm` and its subcommands. `gluonlm --help`."""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import os
import platform
import re
import sys
from collections.abc import Callable
from typing import Any

from .system.console import program, run_command
from .system.errors import InputError

# each command's summary and module, in the order in which a newcomer needs them
COMMANDS = {
    "train": ("train a model on a text, or resume a run", "train.__main__"),
    "generate": ("generate text with a trained model", "generate.__main__"),
    "evaluate": ("score a text: bits per character, perplexity", "evaluate.__main__"),
    "serve": ("serve a trained model over HTTP", "serve.__main__"),
    "combine": ("average the probabilities of several runs", "run.combine"),
    "tune": ("search for the best settings, stopping poor trials early", "tune.__main__"),
    "embeddings": ("draw a map of words, or list nearest neighbours", "embeddings"),
    "export": ("convert a model for ONNX, PyTorch, Hugging Face or a browser", "convert.export"),
    "import": ("convert weights from Gluon, GluonNLP or PyTorch to a run", "convert.import_"),
    "compare": ("time training on each device and number of threads", "compare"),
    "run": ("execute an old Gluon notebook or script, with repairs", "compat.__main__"),
    "corpus": ("list the named corpora, or download some", "corpus.__main__"),
}
PAGE = """{program}: recurrent language models on Apache MXNet Gluon

Train a model on a text, generate text, and measure how well it predicts:

{commands}

  completion   print a completion script for bash, zsh or tcsh

To begin with a text of your own:

  {program} train --data book.txt --run runs/book
  {program} generate runs/book --prompt "In the beginning"
  {program} evaluate runs/book --data letter.txt

{program} COMMAND --help describes a command; {program} --version prints versions.
Without --data, {program} train reads the Python language reference.
"""


# the functions of shtab do not quote names that contain spaces
BASH_FILES = """\
_gluonlm_files() { compgen -f -- "$1"; }
_gluonlm_dirs() { compgen -d -- "$1"; }
"""
# shtab expects `--data FILE`, but bash splits `--data=FILE` into three words; and in a word that
# begins with `-`, shtab completes a file instead of a flag after `--data FILE`
BASH_WORDS = """
_gluonlm_words() {
  local -a words=()
  local place cword=$COMP_CWORD
  for place in "${!COMP_WORDS[@]}"; do
    if [[ "${COMP_WORDS[place]}" != "=" ]]; then
      words+=("${COMP_WORDS[place]}")
    elif (( place == COMP_CWORD )); then
      words+=("")
    elif (( place < COMP_CWORD )); then
      let "cword -= 1"
    fi
  done
  if [[ "${words[cword]}" == -* ]] && (( cword > 2 )); then
    words=("${words[@]:0:2}" "${words[cword]}") cword=2
  fi
  COMP_WORDS=("${words[@]}") COMP_CWORD=$cword
  _shtab_gluonlm
}
complete -o bashdefault -F _gluonlm_words gluonlm
"""


def page() -> str:
    """Return the text of `--help`."""
    lines = (f"  {name:12} {about}" for name, (about, _) in COMMANDS.items())
    return PAGE.format(program=program(), commands="\n".join(lines))


def versions() -> str:
    """Return the versions of gluonlm and its dependencies, the kernels and number of threads."""
    from . import __version__, native
    from .system import runtime

    found = {"gluonlm": __version__, "MXNet": _mxnet(), "Python": platform.python_version()}
    found["NumPy"] = importlib.metadata.version("numpy")
    found["kernels"] = native.description()
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
        If shtab does not support the shell.
    """
    import argparse

    import shtab

    if shell not in shtab.SUPPORTED_SHELLS:
        raise InputError(f"completion {shell!r}: expected {', '.join(shtab.SUPPORTED_SHELLS)}")
    root = argparse.ArgumentParser(prog="gluonlm")
    commands = root.add_subparsers()
    for name, (about, _) in COMMANDS.items():
        parser = _module(name).make_parser()
        for action in parser._actions:
            _complete_value(action)
        commands.add_parser(name, parents=[parser], add_help=False, help=about)
    script = shtab.complete(root, shell, preamble=BASH_FILES if shell == "bash" else "")
    if shell == "zsh":  # complete `--data=FILE` too
        script = re.sub(r'^(  "--[\w-]+)\[(.*\]:)', r"\1=[\2", script, flags=re.MULTILINE)
    return script + BASH_WORDS * (shell == "bash")


def _complete_value(action: Any) -> None:
    """Set the values that a shell offers for a flag or an argument."""
    from .config.presets import PRESETS
    from .corpus.catalogue import CATALOGUE
    from .vocab.levels import RULES

    values = {
        "preset": [*PRESETS],
        "names": [*CATALOGUE],
        "tokenizer": ["auto", *(rule for level in ("word", "subword") for rule in RULES[level])],
        "encoding": ["utf-8", "utf-16", "cp1252", "latin-1"],
        "ctx": ["cpu", "gpu", "auto"],
    }
    if action.metavar in ("RUN", "DIR", "STUDY") or action.dest == "data_dir":
        action.complete = {"bash": "_gluonlm_dirs", "zsh": "_files -/", "tcsh": "d"}
    elif action.metavar == "FILE" or action.dest in ("data", "valid", "test"):
        action.complete = {"bash": "_gluonlm_files", "zsh": "_files", "tcsh": "f"}
    else:
        action.choices = action.choices or values.get(action.dest)
    action.metavar = action.metavar if action.option_strings else None


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
        hint = f"did you mean {like[0]}?" if like else f"expected one of {', '.join(COMMANDS)}"
        raise InputError(f"{name!r} is not a command: {hint}")
    return None


def script() -> None:
    """Run the command `gluonlm`."""
    run_command(main)


if __name__ == "__main__":
    script()
