"""Command line: list the named corpora, or fetch some. `python -m gluonlm.corpus --help`."""

from __future__ import annotations

from collections.abc import Sequence

from ..config import DataConfig
from ..config.flags import Parser, given
from ..system.console import run_command
from ..system.errors import InputError
from .catalogue import CATALOGUE, Entry, find, named_sources


def make_parser() -> Parser:
    """Return the parser of all flags."""
    parser = Parser(
        "corpus",
        "List the named corpora and their locations, or fetch corpora by name.",
        examples=("", "nietzsche --data-dir ~/texts"),
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="corpora to fetch unless already present"
    )
    parser.add_settings(DataConfig, "data", ("data_dir", "verify"))
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    arguments = make_parser().parse_args(argv)
    config = DataConfig(**given(arguments, DataConfig))
    for name in arguments.names:
        if name not in CATALOGUE:
            raise InputError(f"unknown corpus {name!r}: the corpora are {', '.join(CATALOGUE)}")
        named_sources(name, config.data_dir, config.verify)
    for name, entry in CATALOGUE.items():
        print(f"{name:16} {entry.about} ({entry.licence}): {_where(entry, config.data_dir)}")


def _where(entry: Entry, data_dir: str) -> str:
    found = [path.parent for file in entry.files if (path := find(file, data_dir))]
    if len(found) < len(entry.files):
        return "missing"
    return str(found[0]) if found else "included in Python"


if __name__ == "__main__":
    run_command(main)
