"""Check the texts named by a run: its settings may come from an untrusted source."""

from __future__ import annotations

import dataclasses
import fnmatch
import os
import re
from collections.abc import Collection, Sequence
from pathlib import Path

from ..config import DataConfig
from ..system.errors import InputError
from .catalogue import CATALOGUE, data_folders, find
from .load import expand, texts_pattern

WILDCARD = re.compile(r"[*?[]")
MOST = 100_000  # entries of folders listed to find texts
SMALL = 1 << 26  # bytes of texts that are read however little space they take
DENSE = 16  # larger texts must take at least 1/16 of their size on the disk


def check_trusted(config: DataConfig, given: Collection[str]) -> DataConfig:
    """Return the text settings of a run after checking that their paths are allowed.

    Texts named by the run itself must be in the current folder or in the user's data folders, and
    are never fetched. Patterns that match by following links, and sparse or repeated files, cannot
    make the texts much larger than the space that they take.

    Parameters
    ----------
    given
        Names of the settings given by the user, which may name any text.

    Raises
    ------
    InputError
        If the run names a text elsewhere, a missing corpus, or texts that are too large.
    """
    allowed = _allowed_folders(config.data_dir if "data_dir" in given else "")
    if "data_dir" not in given and not _inside(Path(config.data_dir), allowed):
        config = dataclasses.replace(config, data_dir="")
    named = [getattr(config, part) for part in ("valid", "test") if part not in given]
    if "data" not in given:
        if len(config.data) == 1 and config.data[0] in CATALOGUE:
            _check_present(config.data[0], config.data_dir)
        else:
            named += config.data
    _check_size(_find_inside([*filter(None, named)], allowed))
    return config


def _allowed_folders(data_dir: str) -> list[tuple[Path, Path]]:
    """Return the current folder and the data folders, as named and resolved; `/` is excluded."""
    named = [Path(os.path.abspath(folder)) for folder in (Path(), *data_folders(data_dir))]
    folders = [(folder, _resolved(folder)) for folder in named]
    return [(folder, resolved) for folder, resolved in folders if resolved != Path("/")]


def _resolved(path):
    return Path(os.path.realpath(path))  # Path.resolve raises RuntimeError for a link to itself


def _inside(path: Path, folders: list[tuple[Path, Path]]) -> bool:
    """Return whether a path is in one of these folders, before and after resolving links.

    A path outside these folders by name is never accessed.
    """
    named = Path(os.path.abspath(path))
    if not any(named.is_relative_to(folder) for folder, _ in folders):
        return False
    resolved = _resolved(named)
    return any(resolved.is_relative_to(folder) for _, folder in folders)


def _find_inside(patterns: Collection[str], folders: list[tuple[Path, Path]]) -> list[Path]:
    """Return the files that match names and patterns, which must be in these folders."""
    found: dict[str, list[Path]] = {"-": []}
    files: list[Path] = []
    budget = MOST
    for pattern in patterns:
        if pattern not in found:
            # "**" would follow links to any folder
            inside = "**" not in pattern and _inside(Path(WILDCARD.split(pattern)[0]), folders)
            if inside:
                listed = texts_pattern(pattern) if os.path.isdir(pattern) else pattern
                budget = _list_folders(listed, budget)
                found[pattern] = [Path(path) for path in expand((pattern,))]
            if not inside or not all(_inside(path, folders) for path in found[pattern]):
                raise InputError(
                    f"{pattern}: the run names this text, but it is not in the current folder or "
                    "in a data folder: to read it anyway, pass it as `data`, or its folder as "
                    "`data_dir`"
                )
        files += found[pattern]
        if len(files) > MOST:
            raise _too_many(pattern)
    return files


def _too_many(pattern):
    return InputError(
        f"{pattern}: the run names this text, but more than {MOST:,} files must be listed to find "
        "its texts: to read it anyway, pass it as `data`"
    )


def _list_folders(pattern: str, budget: int) -> int:
    """Return `budget` less the number of entries of all folders that a pattern lists.

    Raises
    ------
    InputError
        If there are more; links to the same folder in each part of a pattern multiply them.
    """
    folders = [""]
    for part in Path(pattern).parts:
        if not WILDCARD.search(part):
            folders = [os.path.join(folder, part) for folder in folders]
            continue
        found = []
        for folder in folders:
            try:
                names = os.listdir(folder or os.curdir)
            except OSError:
                continue
            budget -= 1 + len(names)
            if budget < 0:
                raise _too_many(pattern)
            found += [os.path.join(folder, name) for name in fnmatch.filter(names, part)]
        folders = found
    return budget


def _check_size(paths: Sequence[Path]) -> None:
    """Reject texts that are much larger than their space on the disk."""
    size, space = 0, {}
    for path in paths:
        status = os.stat(path)
        size += status.st_size
        space[status.st_dev, status.st_ino] = 512 * status.st_blocks
    taken = sum(space.values())
    if size > max(SMALL, DENSE * taken):
        raise InputError(
            f"{paths[0]}: the run names texts of {size / 1e9:,.1f} GB that take only "
            f"{taken / 1e9:,.1f} GB on the disk, because of holes or repeated names: to read them "
            "anyway, pass them as `data`"
        )


def _check_present(name: str, data_dir: str) -> None:
    missing = [file for file in CATALOGUE[name].files if not find(file, data_dir)]
    if missing:
        raise InputError(
            f"the run names the corpus {name}, but {missing[0].path} is not in "
            f"{' or '.join(map(str, data_folders(data_dir)))}: fetch it with python -m "
            f"gluonlm.corpus {name}, or pass its folder as `data_dir`"
        )
