"""Training reports: a summary at the start, samples, and the result at the end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import native
from ..config import Config
from ..corpus import Corpus
from ..evaluate.scoring import PARTS, Unit, score
from ..generate.sampling import sample
from ..models import LanguageModel
from ..system import runtime
from ..system.console import show, speak_flags
from ..system.seeds import derive_seed
from . import hints
from .start import Training


def introduce(training: Training) -> str:
    """Return a summary of text, model, device, steps and run, with hints."""
    config, corpus, trainer = training.config, training.corpus, training.trainer
    level, model, ctx = config.data.level, trainer.model, trainer.ctx
    parts = " + ".join(f"{len(ids):,}" for ids in (corpus.train, corpus.valid, corpus.test))
    kernels = native.description(config.training.kernels)
    if config.training.precision != "float32":
        kernels += f" {config.training.precision}"
    on_cpu = f", {runtime.threads_in_use()} threads, kernels {kernels}"
    steps = f"{config.training.batch_size} x {model.window or config.training.seq_len}"
    if config.training.max_minutes:
        steps += f", at most {config.training.max_minutes:g} minutes"
    lines = [
        f"{corpus.name}: {parts} {level}s for training, validation, test; "
        f"{len(corpus.vocab):,} distinct",
        f"{config.model.model}: {model.count_parameters():,} parameters on "
        f"{', '.join(map(str, ctx))}{on_cpu if ctx[0].device_type == 'cpu' else ''}; "
        f"{trainer.total_steps:,} steps of {steps}; run {training.run.path}",
    ]
    devices = trainer.replicas.count
    if trainer.world.size > 1:
        lines.append(f"{trainer.world.size} processes, each with a share of the streams")
    if trainer.devices_before not in (0, devices):
        lines.append(
            f"resumed on {devices} devices instead of {trainer.devices_before}: results will "
            "differ in the last bits"
        )
    if trainer.valid_batches and not model.window:
        streams = trainer.valid_batches(0, 0)[0].shape[1]
        lines.append(
            f"validation reads {streams} streams, each with a zero initial state; "
            "the test reads one stream"
        )
    if not trainer.progress.step:
        lines += map(speak_flags, hints.on_text(config.data, corpus))
    return "\n".join(lines)


def make_sampler(
    config: Config, corpus: Corpus, model: LanguageModel
) -> Callable[[int, float], str]:
    """Return a function that generates a sample for a step and a temperature.

    Equal arguments give equal samples. The prompt is a line break, or the beginning of the text
    for a model that reads windows.
    """
    prompt = corpus.train[: model.window] if model.window else corpus.vocab.default_prompt()
    length, seed = config.training.sample_length, config.training.seed

    def write(step, temperature):
        derived = derive_seed(seed, "sample", step, temperature)
        drawn = [int(ids[0]) for ids in sample(model, prompt, length, temperature, seed=derived)]
        return corpus.vocab.typeset(drawn, prompt[-1])

    return write


def conclude(training: Training, reason: str, log: Callable[..., None]) -> dict[str, Any]:
    """Score the best checkpoint on the test part, or on the validation part if there is no test.

    Prints the score, the paths of checkpoint and curve, a sample, and commands to run next.

    Parameters
    ----------
    reason
        Why training ended.
    log
        Prints lines that `--quiet` omits, as `console.show` does.

    Returns
    -------
    dict
        The result, a record for metrics.jsonl.
    """
    config, corpus, trainer = training.config, training.corpus, training.trainer
    run = training.run
    checkpoint = run.load("best")
    trainer.model.load_arrays(checkpoint.parameters)
    step = checkpoint.progress["step"]
    record = dict(
        step=step,
        reason=reason,
        steps=trainer.progress.step,
        seconds=round(trainer.progress.seconds, 3),
        parameters=trainer.model.count_parameters(),
        device=", ".join(map(str, trainer.ctx)),
        threads=runtime.threads_in_use(),
    )
    for part, ids in (("test", corpus.test), ("valid", corpus.valid)):
        if len(ids) > (trainer.model.window or 1):
            losses = score(trainer.model, ids, trainer.ctx[0])
            nats, unit = float(losses.mean()), Unit.of(corpus.vocab, ids[-losses.size :])
            show(unit.report(nats, losses.size, PARTS[part]), "\n")
            if part == "test":
                for line in hints.on_parts(trainer.progress.best, nats):
                    log(line)
            record.update(part=part, loss=nats, tokens=losses.size, bits=unit.bits(nats))
            break
    kept = run.pointed("best") or run.pointed("last")
    show(f"best checkpoint, step {step}: {kept}\ncurve: {run.curve}", "\n")
    text = make_sampler(config, corpus, trainer.model)(step, 1.0)
    log(f"\nsample of {config.training.sample_length}, temperature 1:")
    log(text, content=True)
    log(f"\nnext:\n{hints.what_next(run.path, config, reason, trainer.progress.step)}")
    return record
