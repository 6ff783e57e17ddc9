"""Check the texts named by a run: its settings may come from an untrusted source."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Collection
from pathlib import Path

from ..config import DataConfig
from ..system.errors import InputError
from .catalogue import CATALOGUE, data_folders, find
from .load import expand


def check_trusted(config: DataConfig, given: Collection[str]) -> DataConfig:
    """Return the text settings of a run after checking that their paths are allowed.

    Texts named by the run itself must be in the current folder or in the user's data folders, and
    are never fetched.

    Parameters
    ----------
    given
        Names of the settings given by the user, which may name any text.

    Raises
    ------
    InputError
        If the run names a text elsewhere, or a missing corpus.
    """
    allowed = _allowed_folders(config.data_dir if "data_dir" in given else "")
    if "data_dir" not in given and not _inside(Path(config.data_dir), allowed):
        config = dataclasses.replace(config, data_dir="")
    if "data" not in given:
        if len(config.data) == 1 and config.data[0] in CATALOGUE:
            _check_present(config.data[0], config.data_dir)
        else:
            _check_inside(config.data, allowed)
    parts = [getattr(config, part) for part in ("valid", "test") if part not in given]
    _check_inside(parts, allowed)
    return config


def _allowed_folders(data_dir: str) -> list[Path]:
    """Return the current folder and the data folders; `/` is excluded."""
    folders = [Path(os.path.abspath(folder)) for folder in (Path(), *data_folders(data_dir))]
    return [folder for folder in folders if os.path.realpath(folder) != "/"]


def _inside(path: Path, folders: list[Path]) -> bool:
    """Return whether a path is in one of these folders, before and after resolving links.

    A path outside these folders by name is never accessed.
    """
    named = Path(os.path.abspath(path))
    resolved = os.path.realpath(named)  # Path.resolve raises RuntimeError for a link to itself
    return any(map(named.is_relative_to, folders)) and any(
        Path(resolved).is_relative_to(os.path.realpath(folder)) for folder in folders
    )


def _check_inside(patterns: Collection[str], folders: list[Path]) -> None:
    for pattern in filter(None, patterns):
        fixed = Path(pattern if os.path.lexists(pattern) else re.split(r"[*?[]", pattern)[0])
        # "**" would follow links to any folder
        inside = "**" not in pattern and _inside(fixed, folders)
        found = expand((pattern,)) if inside else []
        if pattern != "-" and not (found and all(_inside(Path(path), folders) for path in found)):
            raise InputError(
                f"{pattern}: the run names this text, but it is not in the current folder or in a "
                "data folder: to read it anyway, pass it as `data`, or its folder as `data_dir`"
            )


def _check_present(name: str, data_dir: str) -> None:
    missing = [file for file in CATALOGUE[name].files if not find(file, data_dir)]
    if missing:
        raise InputError(
            f"the run names the corpus {name}, but {missing[0].path} is not in "
            f"{' or '.join(map(str, data_folders(data_dir)))}: fetch it with python -m "
            f"gluonlm.corpus {name}, or pass its folder as `data_dir`"
        )
