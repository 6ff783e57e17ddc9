"""Which texts a run may name: anybody can have written its settings."""

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


def follow(config: DataConfig, given: Collection[str]) -> DataConfig:
    """Return the settings of a run's text, once they lead nowhere that the user did not choose.

    What the run itself names is followed inside the current folder and the user's data folders
    only, and never fetched.

    Parameters
    ----------
    given
        Names of the settings that the user gave: these may name anything.

    Raises
    ------
    InputError
        If the run names a text elsewhere, or a corpus that is not here.
    """
    own = _own_folders(config.data_dir if "data_dir" in given else "")
    if "data_dir" not in given and not _inside(Path(config.data_dir), own):
        config = dataclasses.replace(config, data_dir="")
    if "data" not in given:
        if len(config.data) == 1 and config.data[0] in CATALOGUE:
            _check_present(config.data[0], config.data_dir)
        else:
            _check_inside(config.data, own)
    _check_inside([getattr(config, part) for part in ("valid", "test") if part not in given], own)
    return config


def _own_folders(data_dir: str) -> list[Path]:
    """Return the folders of the user's own texts; the one that holds everything is nobody's."""
    folders = [Path(os.path.abspath(folder)) for folder in (Path(), *data_folders(data_dir))]
    return [folder for folder in folders if folder.resolve() != Path("/")]


def _inside(path: Path, folders: list[Path]) -> bool:
    """Return whether a path lies in one of these folders, by its name and by where links lead.

    The name decides first: no look is taken at a path that does not begin there.
    """
    named = Path(os.path.abspath(path))
    return any(map(named.is_relative_to, folders)) and any(
        named.resolve().is_relative_to(folder.resolve()) for folder in folders
    )


def _check_inside(patterns: Collection[str], folders: list[Path]) -> None:
    for pattern in filter(None, patterns):
        fixed = Path(pattern if os.path.lexists(pattern) else re.split(r"[*?[]", pattern)[0])
        # "**" would follow links while it looks, wherever they lead
        inside = "**" not in pattern and _inside(fixed, folders)
        found = expand((pattern,)) if inside else []
        if pattern != "-" and not (found and all(_inside(Path(path), folders) for path in found)):
            raise InputError(
                f"{pattern}: the run names this text, but it is not one of your own, in this "
                "folder or a data folder: if it may be read, give it with `data`, or its folder "
                "with `data_dir`"
            )


def _check_present(name: str, data_dir: str) -> None:
    missing = [file for file in CATALOGUE[name].files if not find(file, data_dir)]
    if missing:
        raise InputError(
            f"the run names the corpus {name}, and {missing[0].path} is in none of "
            f"{', '.join(map(str, data_folders(data_dir)))}: fetch it with python -m "
            f"gluonlm.corpus {name}, or give its folder with `data_dir`"
        )
