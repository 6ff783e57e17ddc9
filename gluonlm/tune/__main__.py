"""Command line: search for settings with many training runs. `python -m gluonlm.tune --help`."""

from __future__ import annotations

import argparse
import contextlib
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .. import native
from ..config import Config
from ..config.flags import Parser, add_device, chosen, explicit
from ..corpus import load_corpus
from ..evaluate.scoring import Unit
from ..run.metrics import read_metrics
from ..system import runtime
from ..system.console import complain, run_command, show, speak_flags
from ..system.device import get_ctx
from ..system.errors import InputError, WriteError
from ..system.files import replace_file
from ..system.plots import drawable, new_axes, to_png
from ..train.__main__ import REQUESTS, signals_watched
from ..train.callbacks import MetricsFile
from ..train.effects import check_effects
from ..train.start import FreshStart, ResumedRun, Start, Training, begin, settings_on_resume
from .runs import check_runs, check_trial_folder
from .study import MOST, Choice, Outcome, Space, Study, Trial, read_space

COMMON = ("try", "trials", "first", "factor", "data", "preset", "config", "ctx", "threads")
KINDS = ("model", "representation", "schedule", "average")  # which other settings have effects
PICTURE = "study.png"
UNFINISHED = ("stopped early", "diverged")  # reasons why a trial ended before its training did


def make_parser() -> Parser:
    """Return the command's parser."""
    parser = Parser(
        "tune",
        "Train with different settings, stop poor trials early, and print the best "
        "trial by validation loss. Each trial is an ordinary run below STUDY. The same command "
        "continues an interrupted search, or extends a finished one with more --trials.",
        examples=(
            "runs/search --data book.txt --try lr=0.001..0.02:log --try dropout=0/0.1/0.2",
            "runs/ptb --preset ptb-small --set epochs=3 --trials 40 --try weight-drop=0.0..0.5",
        ),
        common=COMMON,
    )
    parser.usage = "%(prog)s STUDY [FLAGS]"
    parser.add_argument("study", metavar="STUDY", help="folder of the search")
    parser.add_sources()
    add_search(parser.add_argument_group("search").add_argument)
    return parser


def add_search(add) -> None:
    """Add the flags of the search."""
    add(
        "--try",
        action="append",
        metavar="NAME=VALUES",
        help="a setting to search, over LOW..HIGH, LOW..HIGH:log or A/B/C; may be repeated",
    )
    add("--trials", type=int, default=20, metavar="N", help="total number of trials (default: 20)")
    add(
        "--first",
        type=int,
        default=1,
        metavar="N",
        help="validations before a trial can be stopped (default: 1)",
    )
    add(
        "--factor",
        type=int,
        default=3,
        metavar="N",
        help="one trial in N continues to N times as many validations (default: 3)",
    )
    add_device(add)


def parse(argv=None) -> tuple[dict[str, Any], argparse.Namespace, Space]:
    arguments = make_parser().parse_args(argv)
    for name, least in (("trials", 1), ("first", 1), ("factor", 2)):
        if getattr(arguments, name) < least:
            raise InputError(f"`{name}` {getattr(arguments, name)}: must be at least {least}")
    if arguments.trials > MOST:
        raise InputError(f"`trials` {arguments.trials}: must be at most {MOST}")
    space = read_space(getattr(arguments, "try") or ())
    for name, part in space.items():
        for value in part.examples():
            read_values({name: value})
    names, settings = explicit(arguments), chosen(arguments)
    for name in sorted(names & {"sample_temperatures", "sample_length"}):
        raise InputError(f"`{name}`: a search writes no samples; train the best trial with it")
    for name in sorted(names & {*space}):
        raise InputError(f"`{name}`: `try` searches it; leave out one of the two")
    check_effects(names | {*space}, possible(settings, space))
    return settings, arguments, space


def possible(settings: dict[str, Any], space: Space) -> list[Config]:
    """Return settings of trials: of every kind, with the first and last values of the others."""
    kinds = {name: space[name].examples() for name in KINDS if name in space}
    ends = (
        read_values({name: part.examples()[place] for name, part in space.items()})
        for place in (0, -1)
    )
    return [
        Config.from_dict({**settings, **end, **dict(zip(kinds, values))})
        for end in ends
        for values in itertools.product(*kinds.values())
    ]


def read_values(values: dict[str, Any]) -> dict[str, Any]:
    """Return the settings for a trial's values, by field name.

    Raises
    ------
    InputError
        For a value that is invalid for training.
    """
    settings = make_parser().read_set([f"{name}={value}" for name, value in values.items()])
    Config.from_dict(settings, "`try`")
    return settings


class Watch:
    """A callback that reports validations to a trial and stops its training if it lags behind."""

    def __init__(self, trial: Trial, trainer):
        self.trial, self.trainer = trial, trainer

    def __call__(self, event: str, record: dict[str, Any]) -> None:
        if event == "validation" and self.trial.report(record["valid_loss"]):
            self.trainer.stop("stopped early")


def run_trial(trial: Trial, settings: dict[str, Any], ctx: list) -> str:
    """Start or resume the training of a trial; return the reason why it ended.

    Raises
    ------
    InputError
        If its settings cannot be used for training.
    WriteError
        If its run cannot be written, or an interrupted run has other settings.
    """
    from ..train.progress import Diverged

    settings = {**settings, **read_values(trial.values)}
    start = _resumed(trial.folder, settings) or FreshStart(settings, trial.folder)
    with contextlib.closing(start):
        training = begin(start, ctx)
        with contextlib.closing(_metrics(training)) as metrics, signals_watched(training.trainer):
            training.trainer.callbacks = [metrics, Watch(trial, training.trainer)]
            _report_again(trial, training)
            try:
                return training.trainer.fit()
            except Diverged:
                return "diverged"


def _resumed(folder: Path, settings: dict[str, Any]) -> Start | None:
    """Return the start of a trial's interrupted run, or None if there is none."""
    check_trial_folder(folder)
    if not (folder / "checkpoints" / "last").exists():
        return None
    try:
        return ResumedRun(str(folder), settings_on_resume(settings))
    except InputError as error:
        raise WriteError(f"{error}; to repeat this trial, remove {folder}") from None


def _metrics(training):
    return MetricsFile(training.run.metrics, training.trainer.progress)


def _report_again(trial: Trial, training: Training) -> None:
    """Report a resumed run's earlier validations; stop its training if they end the trial."""
    for record in read_metrics(training.run.metrics):
        if record["event"] == "validation" and trial.report(record["valid_loss"]):
            training.trainer.stop("stopped early")


def search(
    study: Study, trials: int, settings: dict[str, Any], ctx: list, unit: Unit
) -> str | None:
    """Run trials until `trials` have ended; return the signal that stopped the search, or None.

    Raises
    ------
    InputError
        If a trial cannot be trained and none before it has a loss.
    WriteError
        If a run or the journal cannot be written; the trial is then repeated next time.
    """
    while len(done := study.outcomes()) < trials:
        trial = study.ask()
        try:
            reason = run_trial(trial, settings, ctx)
        except WriteError:
            raise
        except InputError as error:
            trial.end(whole=False)
            if not any(outcome.losses for outcome in done):
                raise
            show(f"{trial.folder.name}  rejected: {speak_flags(str(error))}", "\n")
            continue
        if reason in REQUESTS:
            return reason
        whole = reason not in UNFINISHED
        show(describe(trial.end(whole), unit, reason), "\n")
    return None


def describe(outcome: Outcome, unit: Unit, reason: str = "") -> str:
    """Return a trial's description in one line."""
    values = ", ".join(f"{name.replace('_', '-')} {it}" for name, it in outcome.values.items())
    loss = unit.describe(outcome.loss) if outcome.losses else "no loss"
    count = len(outcome.losses)
    validations = f"{count} validation" + "s" * (count != 1)
    end = f"{reason} after {validations}" if reason in UNFINISHED else validations
    return f"{outcome.folder.name}  {loss}  {values}  ({end})"


def draw_study(outcomes: Sequence[Outcome], space: Space, unit: Unit) -> bytes:
    """Return a PNG: every trial's validation losses, and its best loss against each setting."""
    from matplotlib.ticker import LogLocator, MaxNLocator

    best = min(outcomes, key=lambda outcome: outcome.loss)
    figure, (curves, *panels) = new_axes(3.6 * (1 + len(space)), 3.6, columns=1 + len(space))
    for outcome in sorted(outcomes, key=lambda outcome: outcome is best):
        color = "#c2410c" if outcome is best else "#9aa5b1"
        bits = [unit.bits(loss) for loss in outcome.losses]
        curves.plot(range(1, 1 + len(bits)), bits, marker=".", color=color)
        for axes, (name, part) in zip(panels, space.items()):
            value = outcome.values[name]
            where = part.values.index(str(value)) if isinstance(part, Choice) else value
            style = dict(facecolor=color if outcome.whole else "none", edgecolor=color)
            axes.scatter([where] * bool(bits), [min(bits, default=0)] * bool(bits), **style)
    curves.set(xlabel="validations", ylabel="bits per character, validation")
    curves.xaxis.set_major_locator(MaxNLocator(integer=True))
    for axes, (name, part) in zip(panels, space.items()):
        axes.set(xlabel=name.replace("_", "-"), ylim=curves.get_ylim())
        if isinstance(part, Choice):
            labels, families, _ = drawable(part.values)
            axes.set_xticks(range(len(labels)), labels, family=families, parse_math=False)
        elif part.log:
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter("{x:g}")
            axes.minorticks_off()
    panels[-1].set_title("filled: complete, hollow: stopped early", fontsize=9, loc="right")
    return to_png(figure)


def main(argv=None) -> int:
    settings, arguments, space = parse(argv)
    config = Config.from_dict(settings)
    kernels = native.used(config.training.kernels)
    threads = runtime.threads_for(config.largest_operation(), kernels)
    runtime.configure(arguments.threads, threads)
    ctx, corpus = get_ctx(arguments.ctx), load_corpus(config.data)
    if not len(corpus.valid):
        raise InputError("`split`: a search needs a validation part")
    unit = Unit.of(corpus.vocab, corpus.valid)
    halving = dict(first=arguments.first, factor=arguments.factor, seed=config.training.seed)
    with contextlib.closing(Study(Path(arguments.study), space, settings, **halving)) as study:
        check_runs(study.outcomes(), lambda values: {**settings, **read_values(values)})
        if signal := search(study, arguments.trials, settings, ctx, unit):
            complain(f"{signal}: run the same command to continue this search")
            return REQUESTS[signal]
        conclude(study, unit)
    return 0


def conclude(study: Study, unit: Unit) -> None:
    """Print the best trial and draw the picture.

    Raises
    ------
    InputError
        If no trial has a loss.
    """
    outcomes = study.outcomes()
    best = min(outcomes, key=lambda outcome: outcome.loss)
    if not best.losses:
        raise InputError(f"{study.folder}: no trial reached a validation")
    whole = sum(outcome.whole for outcome in outcomes)
    show(f"best of {len(outcomes)} trials, {whole} of them complete:\n{describe(best, unit)}\n")
    path = study.folder / PICTURE
    replace_file(path, draw_study(outcomes, study.space, unit))
    show(f"run {best.folder}  its settings: --config {best.folder}/config.json\n")
    show(f"picture {path}\n")


if __name__ == "__main__":
    run_command(main)
