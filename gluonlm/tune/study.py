"""Hyperparameter search: the search space, the trials, and early stopping.

A tree-structured Parzen estimator (Bergstra et al. 2011) proposes trials, and asynchronous
successive halving (Li et al. 2020) stops them early; both are Optuna's. STUDY/trials.log, see
`journal`, records them.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

from ..config import GROUPS
from ..system.errors import InputError
from ..system.files import lock_folder
from ..system.seeds import derive_seed
from .journal import Journal

TRIED = ("model", "training")  # groups of settings; losses on different data could not be compared
KINDS = {name: hint for group in TRIED for name, hint in get_type_hints(GROUPS[group]).items()}
Value = int | float | str
LOG = "trials.log"
MOST = 2_000  # trials of a search; replaying 2,000 takes ten seconds


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, inclusive; `log` samples uniformly on a log scale."""

    low: float
    high: float
    whole: bool
    log: bool

    def draw(self, trial: Any, name: str) -> Value:
        """Return the trial's value: an integer, or a float of three significant digits."""
        if self.whole:
            return int(trial.suggest_int(name, int(self.low), int(self.high), log=self.log))
        return float(f"{trial.suggest_float(name, self.low, self.high, log=self.log):.3g}")

    def contains(self, value: Any) -> bool:
        """Return whether this is a parameter that Optuna can propose."""
        return type(value) is (int if self.whole else float) and self.low <= value <= self.high

    def examples(self) -> Sequence[Value]:
        """Return both ends."""
        ends = (self.low, self.high)
        return [int(end) for end in ends] if self.whole else ends


@dataclass(frozen=True)
class Choice:
    """One of several values, in the syntax of the command line."""

    values: tuple[str, ...]

    def draw(self, trial: Any, name: str) -> Value:
        """Return the trial's value."""
        return str(trial.suggest_categorical(name, self.values))

    def contains(self, value: Any) -> bool:
        """Return whether this is one of the values."""
        return value in self.values

    def examples(self) -> Sequence[Value]:
        """Return all values."""
        return self.values


Space = dict[str, Range | Choice]


def read_space(texts: Sequence[str]) -> Space:
    """Return the search space by field name.

    Parameters
    ----------
    texts
        `lr=0.001..0.01` (a range), `lr=0.001..0.01:log`, `hidden-size=256/384/256,128` (a choice).

    Raises
    ------
    InputError
        If a text is malformed, or its setting cannot be searched.
    """
    space: Space = {}
    for text in texts:
        name, _, values = text.partition("=")
        name = name.lstrip("-").replace("-", "_")
        if name not in KINDS:
            kind = "is not a setting of model or training"
            raise InputError(f"`try` {text}: {name!r} {kind}; an example is lr=0.001..0.01")
        if name in space:
            raise InputError(f"`try` {text}: {name} appears twice; remove one")
        space[name] = _read_values(text, name, values)
    if not space:
        raise InputError("the search space is empty: use `try`, such as lr=0.001..0.01:log")
    return space


def _read_values(text, name, values):
    number = r"([-+.\de]+?)"
    if found := re.fullmatch(rf"{number}\.\.{number}(:log)?", values):
        whole = KINDS[name] is int
        try:
            low, high = (int(end) if whole else float(end) for end in found.groups()[:2])
        except ValueError:
            raise InputError(f"`try` {text}: the ends of a range must be numbers") from None
        if KINDS[name] not in (int, float):
            raise InputError(f"`try` {text}: {name} is not numeric; use a choice, A/B/C")
        if not low < high or (found[3] and low <= 0):
            above = " and above 0" if found[3] else ""
            raise InputError(f"`try` {text}: a range must be ascending{above}")
        return Range(low, high, whole, bool(found[3]))
    choice = tuple(values.split("/"))
    if KINDS[name] is bool and not set(choice) <= {"true", "false"}:
        raise InputError(f"`try` {text}: {name} is true or false; use true/false")
    if len(set(choice)) < max(2, len(choice)) or "" in choice:
        expected = "expected LOW..HIGH[:log], or at least two different values, A/B/C"
        raise InputError(f"`try` {text}: {expected}")
    return Choice(choice)


@dataclass(frozen=True)
class Outcome:
    """The outcome of a trial that has ended.

    Attributes
    ----------
    losses
        The loss of each validation in nats; empty if the settings were rejected.
    whole
        Whether the trial was completed rather than stopped early.
    """

    folder: Path
    values: dict[str, Value]
    losses: tuple[float, ...]
    whole: bool

    @property
    def loss(self) -> float:
        """The lowest loss, infinite if there is none."""
        return min(self.losses, default=math.inf)


class Study:
    """The trials of a search, in a folder that is locked until `close`.

    Parameters
    ----------
    settings
        The settings shared by all trials, by field name.
    first
        Number of validations before a trial may be stopped early.
    factor
        One trial in `factor` continues to `factor` times as many validations.
    seed
        Seed of the proposals, which do not depend on interruptions.

    Raises
    ------
    InputError
        If Optuna is missing, or the folder contains another search, or its journal is damaged.
    """

    def __init__(
        self,
        folder: Path,
        space: Space,
        settings: dict[str, Any],
        first: int = 1,
        factor: int = 3,
        seed: int = 1,
    ):
        self.optuna = _load_optuna()
        self.folder, self.space, self.seed = folder, space, seed
        self.first, self.factor = first, factor
        self._outcomes: list[Outcome] = []
        self._begun: dict[str, Value] | None = None  # of the trial that has not ended
        with contextlib.ExitStack() as stack:
            lock = _lock(folder)
            stack.callback(os.close, lock)
            self.journal = stack.enter_context(contextlib.closing(Journal(folder / LOG)))
            self.study = self.optuna.create_study(
                pruner=self.optuna.pruners.SuccessiveHalvingPruner(first, factor)
            )
            tried = {name: _plain(part) for name, part in space.items()}
            mine = {"try": tried, "settings": _plain(settings), "first": first, "factor": factor}
            self._replay(mine)
            self._opened = stack.pop_all()

    def close(self) -> None:
        """Release the folder for other processes."""
        self._opened.close()

    def ask(self) -> Trial:
        """Return the next trial, first repeating one that a killed process was running."""
        # depends on the count alone, so that interruptions do not change the proposals
        seed = derive_seed(self.seed, "tune", len(self._outcomes))
        self.study.sampler = self.optuna.samplers.TPESampler(seed=seed)
        trial = self._next(self._begun)
        if self._begun is None:
            self._begun = trial.params
            self.journal.append({"trial": len(self._outcomes), "params": trial.params})
        return trial

    def outcomes(self) -> list[Outcome]:
        """Return the trials that have ended, in order."""
        return [*self._outcomes]

    def end(self, trial: Trial, whole: bool) -> Outcome:
        """Record the end of a trial in the journal; return its outcome."""
        losses = [loss if math.isfinite(loss) else None for loss in trial.losses]
        number = len(self._outcomes)
        self.journal.append({"trial": number, "losses": losses, "complete": whole})
        return self._conclude(trial, whole)

    def _next(self, params):
        """Return the next trial: with these parameters, or if None with new ones."""
        if params is not None:
            self.study.enqueue_trial(params)
        return Trial(self, self.study.ask(), self.folder / f"{len(self._outcomes):03d}")

    def _conclude(self, trial, whole):
        trial.tell(whole)
        outcome = Outcome(trial.folder, trial.values, tuple(trial.losses), whole)
        self._outcomes.append(outcome)
        self._begun = None
        return outcome

    def _replay(self, mine):
        """Repeat the recorded trials in Optuna's study; every record is checked first."""
        for number, record in enumerate(self.journal.records, 1):
            if number == 1:
                self._check_search(record.get("search"), mine)
            elif problem := self._problem(record):
                self.journal.reject(number, problem)
            elif "params" in record:
                self._begun = record["params"]
            else:
                trial = self._next(self._begun)
                for loss in record["losses"]:
                    trial.report(loss)
                self._conclude(trial, record["complete"])
        if not self.journal.records:
            self.journal.append({"search": mine})

    def _check_search(self, kept, mine):
        if not isinstance(kept, dict) or set(kept) != set(mine):
            self.journal.reject(1, "does not describe a search of this version")
        if other := next((name for name in mine if kept[name] != mine[name]), ""):
            raise InputError(
                f"{self.folder}: contains a search with different {other}; "
                "repeat the same command, or choose another folder"
            )

    def _problem(self, record):
        """Return the reason why a record cannot follow the earlier ones, or ""."""
        if set(record) not in ({"trial", "params"}, {"trial", "losses", "complete"}):
            return "has missing or unknown fields"
        trial, number = record["trial"], len(self._outcomes)
        if type(trial) is not int or trial != number:
            return f"does not belong to trial {number}"
        if number >= MOST:
            return f"begins more than {MOST:,} trials"
        if ("params" in record) != (self._begun is None):
            return f"repeats or lacks the beginning of trial {number}"
        if "params" in record:
            return self._problem_of_params(record["params"])
        losses, complete = record["losses"], record["complete"]
        if not isinstance(losses, list) or not all(map(_is_loss, losses)):
            return "has invalid losses"
        if type(complete) is not bool or (complete and not losses):
            return "has an invalid end"
        return ""

    def _problem_of_params(self, params):
        if not isinstance(params, dict) or set(params) != set(self.space):
            return "does not have the parameters of this search"
        outside = [name for name, part in self.space.items() if not part.contains(params[name])]
        return f"has an invalid value of {outside[0]}" if outside else ""


class Trial:
    """One trial: its values, its parameters in Optuna, and its validation losses."""

    def __init__(self, study: Study, trial: Any, folder: Path):
        self.study, self.trial, self.folder = study, trial, folder
        self.values = {name: part.draw(trial, name) for name, part in study.space.items()}
        self.params: dict[str, Value] = dict(trial.params)
        self.losses: list[float] = []

    def report(self, loss: float | None) -> bool:
        """Add a validation loss; return whether to stop the trial early.

        A loss that is not finite, null in metrics.jsonl, counts as infinite.
        """
        self.losses.append(math.inf if loss is None or not math.isfinite(loss) else float(loss))
        if not self._is_judged():
            return False
        self.trial.report(self.losses[-1], len(self.losses))
        return bool(self.trial.should_prune())

    def _is_judged(self):
        """Return whether the latest validation decides about an early stop.

        Optuna copies a trial's losses at every report, so the others are not reported.
        """
        count = self.study.first
        while count < len(self.losses):
            count *= self.study.factor
        return count == len(self.losses)

    def end(self, whole: bool) -> Outcome:
        """Record the end of the trial: `whole` if completed, otherwise stopped early.

        Raises
        ------
        WriteError
            If the journal cannot be written.
        """
        return self.study.end(self, whole)

    def tell(self, whole: bool) -> None:
        """Report the end of the trial to Optuna, without recording it."""
        states = self.study.optuna.trial.TrialState
        if whole:
            self.study.study.tell(self.trial, min(self.losses))
            return
        if self.losses and not self._is_judged():
            self.trial.report(self.losses[-1], len(self.losses))
        self.study.study.tell(self.trial, state=states.PRUNED)


def _is_loss(value):
    return value is None or (type(value) is float and 0 <= value < math.inf)


def _plain(value):
    """Return a value in the form that JSON restores."""
    if isinstance(value, (Range, Choice)):
        value = dataclasses.asdict(value)
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    return [_plain(part) for part in value] if isinstance(value, (list, tuple)) else value


def _load_optuna():
    try:
        import optuna
    except ImportError as error:
        raise InputError(
            f"Optuna is required (no module {error.name}): pip install 'gluonlm[tune]'"
        ) from None
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    return optuna


def _lock(folder):
    """Create and lock a folder; return its descriptor.

    Raises
    ------
    InputError
        If the folder contains other files, or another process has locked it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()) and not (folder / LOG).is_file():
            raise InputError(f"{folder}: contains files but no search; choose another folder")
        descriptor = lock_folder(folder)
    except OSError as error:
        raise InputError(f"{folder}: cannot be used for a search: {error.strerror}") from None
    if descriptor is None:
        raise InputError(f"{folder}: another process is running this search; wait for it")
    return descriptor
