"""Old Gluon notebooks and scripts, unchanged: repairs of what libraries have removed since 2018.

Nothing here changes a process before a call: of `apply`, `strict` or a repair. `gluonlm run FILE`
starts a process, applies the repairs in it, and executes the file.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from ..system.errors import InputError
from . import arrays, contexts, d2l, data, examples, ignored, parameters, removed
from .ignored import IgnoredSettingError, IgnoredSettingWarning, strict
from .record import applied

__all__ = ["REPAIRS", "IgnoredSettingError", "IgnoredSettingWarning", "applied", "apply", "strict"]

REPAIRS: dict[str, Callable[..., None]] = {
    "gpu": contexts.gpu_as_cpu,
    "names": removed.removed_names,
    "numbers": arrays.one_element_numbers,
    "shapes": arrays.smaller_shapes,
    "parameters": parameters.arrays_by_context,
    "python2": removed.python_2_names,
    "random": removed.random_sets,
    "examples": examples.corrected_examples,
    "d2l": d2l.select_mxnet,
    "files": data.local_files,
    "downloads": data.local_downloads,
    "warnings": ignored.warn_of_ignored_settings,
}
NEEDS_FOLDERS = ("files", "downloads")


def apply(names: Collection[str] = tuple(REPAIRS), data_folders: Sequence[Path] = ()) -> None:
    """Apply repairs to this process by name, in the order of `REPAIRS`.

    Raises
    ------
    InputError
        If a name is unknown.
    """
    unknown = sorted({*names} - {*REPAIRS})
    if unknown:
        raise InputError(f"{unknown[0]!r} is not a repair: expected {', '.join(REPAIRS)}")
    folders = [Path(os.path.abspath(folder)) for folder in data_folders]
    for name, repair in REPAIRS.items():
        if name in names:
            repair(*[folders] * (name in NEEDS_FOLDERS))
