"""Compare the journal of a search with the runs of its trials: a folder may be untrusted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ..config import Config, changed_settings
from ..run.checkpoint import read_object
from ..run.folder import Run
from ..run.metrics import read_metrics
from ..system.errors import InputError
from ..train.start import settings_on_resume
from .study import Outcome


def check_runs(
    outcomes: Sequence[Outcome], settings_of: Callable[[dict[str, Any]], dict[str, Any]]
) -> None:
    """Compare each trial with its run's settings and metrics; a removed run is not compared.

    Settings that resuming may change are ignored, as are validations after the trial's last: the
    user may have continued a trial's training.

    Parameters
    ----------
    settings_of
        Returns all settings of a trial, given its values.

    Raises
    ------
    InputError
        If a run differs from its trial or cannot be read.
    """
    for outcome in outcomes:
        check_trial_folder(outcome.folder)
        if Run(outcome.folder).config.exists():
            run = Run(outcome.folder)
            _check_settings(run, settings_of(outcome.values))
            _check_losses(run, outcome.losses)


def check_trial_folder(folder: Path) -> None:
    """Reject a link to another folder, into which training would write.

    Raises
    ------
    InputError
        For a link.
    """
    if folder.is_symlink():
        raise InputError(f"{folder}: a link, not the folder of a trial: remove it")


def _check_settings(run: Run, settings: dict[str, Any]) -> None:
    kept = Config.from_kept(read_object(run.config), run.config)
    wanted = Config.from_dict({**kept.to_dict(), **settings_on_resume(settings)})
    for name, found, other, allowed in changed_settings(kept, wanted):
        if not allowed:
            raise InputError(
                f"{run.config}: {name} is {found}, but {other} in the journal of the search"
            )


def _check_losses(run: Run, losses: Sequence[float]) -> None:
    records = read_metrics(run.metrics)
    found = [record.get("valid_loss") for record in records if record["event"] == "validation"]
    if [math.inf if loss is None else loss for loss in found[: len(losses)]] != [*losses]:
        raise InputError(
            f"{run.metrics}: its validation losses are not those in the journal of the search"
        )
