"""Command line: train a model. `python -m gluonlm.train --help`."""

import contextlib
import functools
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ..config import GROUPS, Config
from ..config.aliases import translate
from ..config.flags import Parser, add_device, chosen, explicit
from ..config.presets import list_presets
from ..system import runtime
from ..system.console import complain, run_command, show, speak_flags
from ..system.device import get_ctx
from ..system.errors import InputError
from ..system.memory import is_exhausted, out_of_memory
from ..system.processes import Processes, joined
from .effects import check_effects
from .start import (
    FreshStart,
    ResumedRun,
    Start,
    Training,
    WarmStart,
    begin,
    settings_on_resume,
    share_start,
)
from .tensorboard import TensorBoardFile, check_folder


def parse(argv=None) -> tuple[dict[str, Any], Any]:
    """Return the settings and the other arguments of a command line.

    Precedence: flags, then `--config`, then `--preset`, then the defaults.

    Raises
    ------
    InputError
        If flags contradict each other.
    """
    arguments = make_parser().parse_args(argv)
    if arguments.resume and (arguments.run or arguments.overwrite or arguments.init_from):
        raise InputError(
            "`resume` names the run to continue: leave out `run`, `overwrite` and `init_from`"
        )
    if arguments.extend_vocab and not arguments.init_from:
        raise InputError("`extend_vocab` extends another run's vocabulary: use it with `init_from`")
    if arguments.overwrite and not (arguments.run or arguments.preset):
        raise InputError("`overwrite` replaces the folder that `run` names: set `run`")
    if arguments.resume and arguments.preset:
        raise InputError("`resume` keeps the run's own settings: leave out `preset`")
    return chosen(arguments), arguments


# flags listed by --help, by field name; --help-all lists the rest
COMMON = (
    *("data", "level", "model", "hidden_size", "num_layers", "dropout"),
    *("batch_size", "seq_len", "epochs", "lr", "max_minutes", "seed"),
    *("ctx", "run", "resume", "init_from", "preset", "list_presets"),
)


def make_parser() -> Parser:
    """Return the parser of all flags."""
    parser = Parser(
        "train",
        "Train a recurrent language model on a text; "
        "without flags, a GRU on the Python language reference.",
        examples=(
            "--data book.txt",
            "--data ptb --level word --model lstm --hidden-size 256,128 --ctx gpu",
            "--data book.txt --level subword --epochs 20 --run runs/book",
            "--resume runs/book --epochs 30",
            "--init-from runs/book --extend-vocab --data letter.txt --run runs/letter",
        ),
        common=COMMON,
        alone=False,
    )
    for title, group in GROUPS.items():
        parser.add_settings(group, title)
    add_run(parser.add_argument_group("run").add_argument)
    return parser


def add_run(add: Callable) -> None:
    """Add the flags for the run's folder, its start and its device."""
    add_device(add)
    add(
        "--preset",
        metavar="NAME",
        help="use the settings of a published system; create runs/NAME, or resume it if it exists",
    )
    add("--list-presets", action="store_true", help="describe the presets and exit")
    add(
        "--config",
        metavar="FILE",
        help="read settings, but not the flags of a run, from a .toml or .json file",
    )
    add("--run", metavar="DIR", help="folder of the run (default: a new one under runs/)")
    add("--overwrite", action="store_true", help="replace an existing run")
    add("--resume", metavar="RUN", help="continue a run exactly where it stopped")
    add(
        "--init-from",
        metavar="RUN",
        help="fine-tune: start with only another run's weights and vocabulary",
    )
    add(
        "--extend-vocab",
        action="store_true",
        help="with --init-from: add the text's new tokens to the other run's vocabulary",
    )
    add("--quiet", action="store_true", help="print only the result")
    add("--plot", action="store_true", help="redraw curve.png at each validation")
    add(
        "--tensorboard",
        metavar="DIR",
        help="write losses, learning rate and speed as TensorBoard events into this folder",
    )


def choose_start(settings: dict[str, Any], arguments) -> Start:
    """Return the start that the settings and the other arguments select.

    A preset's run is runs/NAME unless `run` is given; an existing one is resumed.

    Raises
    ------
    InputError
        If a run cannot be read, or cannot be resumed with these settings.
    """
    start = _choose_start(settings, arguments)
    if arguments.tensorboard:
        new = not isinstance(start, ResumedRun) and not arguments.overwrite
        try:
            check_folder(Path(arguments.tensorboard), new)
        except InputError:
            start.close()
            raise
    return start


def _choose_start(settings, arguments):
    folder, source = arguments.run, f"`config` {arguments.config}"
    names = explicit(arguments)
    if arguments.resume:
        return _checked(names, ResumedRun(arguments.resume, settings))
    if arguments.preset and not folder:
        folder = str(Path("runs") / arguments.preset)
        new = arguments.overwrite or arguments.init_from
        if not new and os.path.lexists(Path(folder) / "checkpoints" / "last"):
            every = settings_on_resume(settings)
            return _checked(names, ResumedRun(folder, every, arguments.preset))
    if arguments.init_from:
        kept = arguments.overwrite, arguments.extend_vocab
        warm = WarmStart(arguments.init_from, settings, folder, *kept)
        check_effects(names, [warm.config])
        if not arguments.extend_vocab:
            _reject_initial_settings(names, warm)
        return warm
    fresh = FreshStart(settings, folder, arguments.overwrite, source)
    check_effects(names, [fresh.config])
    return fresh


def _checked(names: set[str], start: ResumedRun) -> ResumedRun:
    """Return a resumed run, or close it if settings given for it have no effect."""
    # the texts of a run may be read from `data_dir`
    names = names - {"data_dir"} if start.data.data != ("python-docs",) else names
    try:
        check_effects(names, [start.config], start.checkpoint.config)
    except InputError:
        start.close()
        raise
    return start


def _reject_initial_settings(names: set[str], start: WarmStart) -> None:
    """Reject settings of new weights and tokens if all of them come from another run."""
    configs = start.checkpoint.config, Config(), start.config
    old, usual, new = (config.to_dict() for config in configs)
    for name in names & {"vocab_size", "init", "output_bias"}:
        if new[name] not in (old[name], usual[name]):
            raise InputError(
                f"`{name}`: weights and vocabulary come from `init_from`; leave it out, or add "
                "tokens with `extend_vocab`"
            )


# external reasons to stop, with the exit code of each
REQUESTS = {
    "interrupted": 128 + signal.SIGINT,
    "terminated": 128 + signal.SIGTERM,
    "hung up": 128 + signal.SIGHUP,
    "output closed": 128 + signal.SIGPIPE,
}
SIGNALS = {signal.SIGINT: "interrupted", signal.SIGTERM: "terminated", signal.SIGHUP: "hung up"}


@contextlib.contextmanager
def signals_watched(trainer) -> Iterator[None]:
    """Make the first Ctrl-C, SIGTERM or SIGHUP stop training with a checkpoint.

    Training stops after the current step; a second signal ends the process at once. Signals that
    are already ignored, such as SIGHUP under nohup, stay ignored. Python allows handlers only in
    the main thread: in any other, signals are not watched.
    """
    watched = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]
    if threading.current_thread() is not threading.main_thread():
        watched = []

    def leave_at_once():
        for number in watched:
            leave = signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL
            signal.signal(number, leave)

    def handler(number, frame):
        leave_at_once()
        trainer.stop(SIGNALS[number])

    for number in watched:
        signal.signal(number, handler)
    try:
        yield
    finally:
        leave_at_once()


def main(argv=None) -> int:
    with joined() as world:
        world.check_command(words_in_common(sys.argv[1:] if argv is None else argv))
        return run(argv, world)


def words_in_common(words: Sequence[str]) -> list[str]:
    """Return a command line without `--ctx` and `--threads`, which differ between machines."""
    own, kept = ("--ctx", "--threads"), []
    waiting = iter(translate(words, own))
    for word in waiting:
        if word in own:
            next(waiting, None)
        elif word.partition("=")[0] not in own:
            kept.append(word)
    return kept


def run(argv, world: Processes) -> int:
    """Run the command in one process of `world`; return the exit code."""
    settings, arguments = parse(argv)
    if arguments.list_presets:
        print(list_presets())
        return 0
    log = _omit if arguments.quiet else functools.partial(show, end="\n")
    chosen = share_start(world, lambda: choose_start(settings, arguments))
    with contextlib.closing(chosen) as start:
        for note in start.notes:
            log(note)
        config, cores = start.config, world.cores(runtime.physical_cores())
        threads = runtime.threads_for(config.largest_operation(), config.training.kernels)
        runtime.configure(arguments.threads, min(threads, cores))
        training = begin(start, get_ctx(arguments.ctx), world)
        return train_silently(training) if world.rank else train(training, arguments, log)


def _omit(text, content=False):
    """Print nothing."""


def train_silently(training: Training) -> int:
    """Train in any process but the first, without output; return the exit code."""
    from .progress import Diverged

    with signals_watched(training.trainer):
        try:
            return REQUESTS.get(training.trainer.fit(), 0)
        except Diverged:
            return 3


def train(training: Training, arguments, log: Callable[..., None]) -> int:
    """Train and report; return the exit code."""
    from .hints import how_to_resume
    from .progress import Diverged
    from .report import conclude, introduce

    run, trainer = training.run, training.trainer
    log(introduce(training))
    with contextlib.ExitStack() as stack:
        metrics, bar = watch(training, arguments, stack)
        try:
            with signals_watched(trainer):
                reason = trainer.fit()
        except Diverged as error:
            kept = "best" if run.pointed("best") else "last"
            line = f"stopped: {error}; the {kept} checkpoint is {run.pointed(kept)}"
            complain(speak_flags(line))
            return 3
        finally:
            bar.close()
        attempt("the curve", draw, training)
        skipped = f", {trainer.progress.skipped} steps skipped" if trainer.progress.skipped else ""
        seconds = f"{trainer.progress.seconds:.0f} s of training"
        log(f"ended by {reason} at step {trainer.progress.step}{skipped}, {seconds}")
        if reason in REQUESTS:
            complain(f"{reason}: continue with {how_to_resume(run.path, training.config.data)}")
            return REQUESTS[reason]
        if result := attempt("the result", conclude, training, reason, log):
            metrics("result", result)
    return 0


def attempt(what: str, work: Callable, *arguments, rest="the trained model is saved") -> Any:
    """Call a function after training, or at a validation; print its error instead of raising it.

    The trained model is already saved, so a failed plot, a damaged line of metrics or a terminal
    that cannot encode a name must not end the command with an error.

    Raises
    ------
    InputError
        If memory is exhausted.
    """
    try:
        return work(*arguments)
    except BrokenPipeError:
        raise
    except Exception as error:
        if is_exhausted(error):
            raise InputError(f"{what}: {out_of_memory()}; the trained model is saved") from None
        expected = isinstance(error, InputError)
        reason = str(error) if expected else f"{type(error).__name__}: {error}"
        complain(f"{what} could not be created ({speak_flags(reason)}); {rest}")
        return None


def watch(training: Training, arguments, stack: contextlib.ExitStack) -> tuple:
    """Attach the callbacks to the trainer; return the metrics file and the progress bar."""
    from .callbacks import MetricsFile, ProgressBar, SamplesFile, at_validations
    from .report import make_sampler

    run, config, trainer = training.run, training.config, training.trainer
    opened = lambda callback: stack.enter_context(contextlib.closing(callback))  # noqa: E731
    bar = opened(ProgressBar(trainer, training.unit, arguments.quiet))
    metrics = opened(MetricsFile(run.metrics, trainer.progress))
    trainer.callbacks = [metrics, bar]
    if temperatures := config.training.sample_temperatures:
        write = make_sampler(config, training.corpus, trainer.model)
        samples = opened(SamplesFile(run.samples, trainer.progress, temperatures, write))
        trainer.callbacks.insert(1, samples)
    if arguments.plot:
        plot = functools.partial(attempt, "the curve", draw, training, rest="training continues")
        trainer.callbacks.append(at_validations(plot))
    if arguments.tensorboard:
        folder, step = Path(arguments.tensorboard), trainer.progress.step
        trainer.callbacks.append(opened(TensorBoardFile(folder, step)))
    return metrics, bar


def draw(training: Training) -> None:
    """Draw the learning curve from the metrics, and write it into the run."""
    from ..run.metrics import read_metrics
    from ..system.files import replace_file
    from .curve import draw_curve

    run = training.run
    replace_file(run.curve, draw_curve(read_metrics(run.metrics), training.unit))


if __name__ == "__main__":
    run_command(main)
