"""Command line: train a model. `python -m gluonlm.train --help`."""

import contextlib
import json
import math
import os
import re
import signal
import sys
from pathlib import Path

from . import runtime
from .cli import Parser, given, run_command, show
from .config import GROUPS, Config, changed_settings, read_settings
from .errors import InputError
from .presets import list_presets, preset_settings


def parse(argv=None):
    """Parse the command line into (settings, arguments): flags win over --config, that over --preset, that over the defaults."""
    parser = Parser(
        "train",
        "Train a recurrent language model on a text; without flags, a GRU on the text inside Python itself.",
    )
    for title, group in GROUPS.items():
        parser.add_settings(group, title)
    run = parser.add_argument_group("run")
    run.add_argument(
        "--ctx",
        default="cpu",
        metavar="DEVICE",
        help="cpu, gpu, gpu:1, gpu:0,1 or auto (default: cpu)",
    )
    run.add_argument(
        "--threads",
        type=int,
        default=0,
        metavar="N",
        help="processor threads; 0: by the size of the model (default: 0)",
    )
    run.add_argument(
        "--preset",
        metavar="NAME",
        help="settings of a published system; its run is runs/NAME, and goes on if it is there",
    )
    run.add_argument("--list-presets", action="store_true", help="explain the presets")
    run.add_argument("--config", metavar="FILE", help="settings by name from a .toml or .json file")
    run.add_argument(
        "--run", metavar="DIR", help="folder of the run (default: a new one under runs/)"
    )
    run.add_argument("--overwrite", action="store_true", help="replace an existing run")
    run.add_argument("--resume", metavar="RUN", help="go on with a run exactly where it stopped")
    run.add_argument(
        "--init-from",
        metavar="RUN",
        help="start with another run's weights and vocabulary, nothing else of it",
    )
    run.add_argument("--quiet", action="store_true", help="print the result only")
    arguments = parser.parse_args(argv)
    if arguments.threads < 0:
        raise InputError(f"--threads {arguments.threads}: must be at least 0")
    if arguments.resume and (arguments.run or arguments.overwrite or arguments.init_from):
        raise InputError(
            "--resume names the run to go on with: leave out --run, --overwrite and --init-from"
        )
    if arguments.resume and arguments.preset:
        raise InputError("--resume keeps the run's own settings: leave out --preset")
    settings = preset_settings(arguments.preset) if arguments.preset else {}
    settings.update(read_settings(arguments.config) if arguments.config else {})
    for group in GROUPS.values():
        settings.update(given(arguments, group))
    return settings, arguments


def place_preset(settings, arguments):
    """Let a preset's run be runs/NAME, unless another is named; if it is there, the same command goes on with it.

    Gives the settings, all of them in that case: a flag that is left out this time is back at the preset's own value.
    """
    if not arguments.preset or arguments.run:
        return settings
    arguments.run = str(Path("runs") / arguments.preset)
    if (
        arguments.overwrite
        or arguments.init_from
        or not os.path.lexists(Path(arguments.run) / "checkpoints" / "last")
    ):
        return settings
    arguments.resume = arguments.run
    return Config.from_dict(settings, f"--config {arguments.config}").to_dict()


def resumed(settings, path, say, stack, preset=None):
    """Open a run to go on with. Gives (run, its last checkpoint, its settings with those that may and do change).

    Raises: InputError if a setting differs that may not: those on which parameters, text or course so far depend.
    """
    from .checkpoint import Run

    run = Run(path)
    if (run.path / "manifest.json").exists():
        raise InputError(f"--resume {path}: is one checkpoint; give the folder of its run")
    run.lock()
    stack.callback(run.unlock)
    checkpoint = run.load("last")
    config = Config.from_dict({**checkpoint.config.to_dict(), **settings}, "--resume")
    for name, old, new, allowed in changed_settings(checkpoint.config, config):
        if not allowed:
            if preset:
                raise InputError(
                    f"--preset {preset}: {path} has {name} {old}, not {new}: give another --run, or --overwrite"
                )
            raise InputError(
                f"--resume {path}: {name} was {old} and is now {new}: a resumed run keeps it; for another, start a new run "
                f"(with --init-from {path}, if its weights are wanted)"
            )
        say(f"resuming with {name} {new} instead of {old}")
    return run, checkpoint, config


def initialized(settings, path, say):
    """Read the weights to start from. Gives (checkpoint, settings: the other run's model and tokens, unless given).

    Raises: InputError.
    """
    from .checkpoint import Run

    checkpoint = Run(path).load("best")
    kept = {name: getattr(checkpoint.config.model, name) for name in vars(checkpoint.config.model)}
    kept.update(level=checkpoint.config.data.level, lower=checkpoint.config.data.lower)
    say(
        f"weights and vocabulary of {path}, step {checkpoint.progress['step']}; optimizer and progress start anew"
    )
    return checkpoint, Config.from_dict({**kept, **settings}, "--init-from")


def operation_size(config):
    """Give the floating-point operations of the model's largest single operation, by which threads are chosen.

    Words count as without bound: the size of their vocabulary, and with it the output layer, is not known yet.
    """
    model, training = config.model, config.training
    if config.data.level == "word":
        return math.inf
    gates = {"lstm": 4, "window": 4, "gru": 3}.get(model.model, 1)
    steps = {"unrolled": 1, "window": model.context}.get(model.model, training.seq_len)
    return (
        2
        * training.batch_size
        * steps
        * gates
        * max(model.layer_sizes())
        * max(model.embed_size, *model.layer_sizes())
    )


def new_folder(config):
    """Give a folder under runs/ that is not there yet, named after model and corpus."""
    text = re.sub(r"[^\w.-]+", "", Path(config.data.data[0]).stem).strip(".-") or "text"
    stem = f"{config.model.model}-{text}"
    number = 1
    while (path := Path("runs") / (stem if number == 1 else f"{stem}-{number}")).exists():
        number += 1
    return path


def build(settings, arguments, say, stack):
    """Make everything a training needs, the run's folder last, so that bad input leaves no trace.

    Gives (run, config, corpus, trainer); the run is this process's until the stack is closed. Raises: InputError.
    """
    run = checkpoint = None
    settings = place_preset(settings, arguments)
    if arguments.resume:
        run, checkpoint, config = resumed(settings, arguments.resume, say, stack, arguments.preset)
    elif arguments.init_from:
        checkpoint, config = initialized(settings, arguments.init_from, say)
    else:
        config = Config.from_dict(settings, f"--config {arguments.config}")
    runtime.prepare(arguments.threads, runtime.threads_for(operation_size(config)))
    ctx = runtime.get_ctx(arguments.ctx)

    from .checkpoint import Run, check_parameters, load_parameters, replace_file
    from .corpus import load_corpus
    from .models import build_model
    from .trainer import Trainer, derive_seed

    corpus = load_corpus(config.data, checkpoint.vocab if checkpoint else None)
    model = build_model(config.model, len(corpus.vocab))
    if checkpoint:
        check_parameters(model, checkpoint.parameters)
    model.prepare(ctx, config.model.init, derive_seed(config.training.seed, "init"))
    if checkpoint:
        load_parameters(model, checkpoint.parameters)
    trainer = Trainer(model, config.training, corpus.train, corpus.valid, ctx)
    if arguments.resume:
        record = dict(checkpoint.progress)
        if record.pop("corpus", None) != corpus.fingerprint:
            raise InputError(
                f"--resume {run.path}: the text is not the one it was trained on: give the old one with --data-dir or --data"
            )
        trainer.restore(checkpoint.training, record)
    else:
        run = Run.create(arguments.run or new_folder(config), arguments.overwrite)
        stack.callback(run.unlock)
    trainer.save = saver(run, config, corpus)
    if not arguments.resume:
        trainer.save(trainer, ("last",))  # from here on there is always a whole checkpoint
    replace_file(run.path / "config.json", (json.dumps(config.to_dict(), indent=1) + "\n").encode())
    introduce(run, config, corpus, trainer, say)
    return run, config, corpus, trainer


def saver(run, config, corpus):
    """Give the function that writes a trainer's state into a run, unless it is no longer worth keeping."""
    import numpy as np

    from .checkpoint import Checkpoint
    from .trainer import Diverged

    def save(trainer, pointers):
        parameters = {
            name: p.data(trainer.ctx[0]).asnumpy() for name, p in trainer.model.parameters().items()
        }
        for name, array in parameters.items():
            if not np.isfinite(array).all():
                raise Diverged(
                    f"{name} is not finite after step {trainer.progress.step}: try a lower --lr or a --clip"
                )
        progress = {**trainer.progress_record(), "corpus": corpus.fingerprint}
        run.save(Checkpoint(config, corpus.vocab, parameters, trainer.arrays(), progress), pointers)

    return save


def introduce(run, config, corpus, trainer, say):
    """Say what is trained on what, where, and how long."""
    training, level, ctx = config.training, config.data.level, trainer.ctx
    say(
        f"{corpus.name}: {len(corpus.train):,} + {len(corpus.valid):,} + {len(corpus.test):,} {level}s for training, "
        f"validation, test; {len(corpus.vocab):,} distinct"
    )
    threads = f", {runtime.threads()} threads" if ctx[0].device_type == "cpu" else ""
    say(
        f"{config.model.model}: {trainer.model.count_parameters():,} parameters on {', '.join(map(str, ctx))}{threads}; "
        f"{trainer.total_steps:,} steps of {training.batch_size} x {trainer.model.context or training.seq_len}; run {run.path}"
    )
    if trainer.valid_batches and not trainer.model.context:
        streams = trainer.valid_batches(0, 0)[0].shape[1]
        say(
            f"validation reads {streams} parts of its text side by side, each from a cold start; the test is one stream"
        )


@contextlib.contextmanager
def signals_watched(trainer):
    """Let a first Ctrl-C or SIGTERM end the training with a checkpoint after the step at hand, and a second end it at once."""

    def leave_at_once():
        signal.signal(signal.SIGINT, signal.default_int_handler)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    def handler(number, frame):
        leave_at_once()
        trainer.stop("interrupted" if number == signal.SIGINT else "terminated")

    signal.signal(signal.SIGINT, handler)
    signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        leave_at_once()


def sampler(config, corpus, model):
    """Give the function that writes a sample at a step and a temperature, the same one whenever it is asked.

    It goes on from a line break, or from the beginning of the text for a model that reads windows.
    """
    from .sampling import sample
    from .trainer import derive_seed

    prompt = corpus.train[: model.context] if model.context else corpus.vocab.default_prompt()
    length, seed = config.training.sample_length, config.training.seed

    def write(step, temperature):
        drawn = sample(
            model, prompt, length, temperature, seed=derive_seed(seed, "sample", step, temperature)
        )
        return corpus.vocab.typeset([int(ids[0]) for ids in drawn], prompt[-1])

    return write


def report(run, config, corpus, trainer, reason, say):
    """Score the test part (without one, the validation part) with the best checkpoint, write a sample; give the result as a record."""
    from .checkpoint import load_parameters
    from .scoring import describe, score

    checkpoint = run.load("best")
    load_parameters(trainer.model, checkpoint.parameters)
    step = checkpoint.progress["step"]
    record = dict(
        step=step,
        reason=reason,
        steps=trainer.progress.step,
        seconds=round(trainer.progress.seconds, 3),
    )
    record.update(
        parameters=trainer.model.count_parameters(),
        device=", ".join(map(str, trainer.ctx)),
        threads=runtime.threads(),
    )
    for part, ids in (("test", corpus.test), ("valid", corpus.valid)):
        if len(ids) > (trainer.model.context or 1):
            losses = score(trainer.model, ids, trainer.ctx[0])
            nats, level = float(losses.mean()), config.data.level
            print(
                f"{part} {describe(nats, level)} ({nats:.4f} nats) over {losses.size:,} {level}s read as one stream, "
                f"best checkpoint, step {step}"
            )
            record.update(part=part, loss=nats, tokens=losses.size)
            break
    print(f"checkpoint {run.pointed('best') or run.pointed('last')}\ncurve {run.curve}")
    say(
        f"\nsample of {config.training.sample_length}, temperature 1:\n{sampler(config, corpus, trainer.model)(step, 1.0)}"
    )
    return record


def main(argv=None):
    settings, arguments = parse(argv)
    if arguments.list_presets:
        print(list_presets())
        return 0
    with contextlib.ExitStack() as stack:
        return train(settings, arguments, stack)


def train(settings, arguments, stack):
    """Build, train, report; give the exit code."""
    say = (lambda text: None) if arguments.quiet else (lambda text: show(text, "\n"))
    run, config, corpus, trainer = build(settings, arguments, say, stack)
    from .callbacks import MetricsFile, ProgressBar, SamplesFile, draw_curve, read_metrics
    from .checkpoint import replace_file
    from .trainer import Diverged

    bar = stack.enter_context(
        contextlib.closing(ProgressBar(trainer, config.data.level, arguments.quiet))
    )
    metrics = stack.enter_context(contextlib.closing(MetricsFile(run.metrics, trainer.progress)))
    trainer.callbacks = (metrics, bar)
    if temperatures := config.training.sample_temperatures:
        samples = SamplesFile(
            run.samples, trainer.progress, temperatures, sampler(config, corpus, trainer.model)
        )
        trainer.callbacks = (metrics, stack.enter_context(contextlib.closing(samples)), bar)
    try:
        with signals_watched(trainer):
            reason = trainer.fit()
    except Diverged as error:
        kept = "best" if run.pointed("best") else "last"
        print(
            f"gluonlm: stopped: {error}; the {kept} checkpoint before is {run.pointed(kept)}",
            file=sys.stderr,
        )
        return 3
    finally:
        bar.close()
    replace_file(run.curve, draw_curve(read_metrics(run.metrics), config.data.level))
    skipped = f", {trainer.progress.skipped} steps skipped" if trainer.progress.skipped else ""
    say(
        f"ended by {reason} at step {trainer.progress.step}{skipped}, {trainer.progress.seconds:.0f} s of training"
    )
    if reason in ("interrupted", "terminated"):
        print(f"gluonlm: {reason}: go on with --resume {run.path}", file=sys.stderr)
        return 128 + (signal.SIGINT if reason == "interrupted" else signal.SIGTERM)
    metrics("result", report(run, config, corpus, trainer, reason, say))
    return 0


if __name__ == "__main__":
    run_command(main)
