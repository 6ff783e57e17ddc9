"""What watches a training: a progress bar, lines on the screen, metrics.jsonl, samples.txt, the curve."""

import io
import json
import math
import os
import sys
import time

from .errors import InputError
from .scoring import describe, perplexity


class ProgressBar:
    """Shows loss, speed and time left on a terminal, and a line for each validation everywhere."""

    def __init__(self, trainer, level, quiet=False):
        from tqdm import tqdm

        self.level, self.quiet, self.tqdm = level, quiet, tqdm
        total = trainer.total_steps if math.isfinite(trainer.total_steps) else None
        self.bar = tqdm(
            total=total,
            initial=trainer.progress.step,
            unit="step",
            dynamic_ncols=True,
            disable=quiet or None,
        )
        self.smoothed, self.tokens, self.seconds = (
            None,
            0,
            0.0,
        )  # tokens and seconds of training since the last validation
        self.began = time.perf_counter()

    def __call__(self, event, record):
        if event == "step":
            self.tokens, self.seconds = (
                self.tokens + record["tokens"],
                time.perf_counter() - self.began,
            )
        if event == "step" and not self.bar.disable:
            loss = record["loss"]
            loss = loss if math.isfinite(loss) or self.smoothed is None else self.smoothed
            self.smoothed = loss if self.smoothed is None else 0.95 * self.smoothed + 0.05 * loss
            self.bar.set_postfix_str(
                f"{self.smoothed:.3f} nats, {describe(self.smoothed, self.level)}, {self._speed()}",
                refresh=False,
            )
            self.bar.update()
        if event == "validation" and not self.quiet:
            losses = [
                f"{name} {describe(record[key], self.level)}"
                for name, key in (("train", "train_loss"), ("valid", "valid_loss"))
                if record[key] is not None
            ]
            self.tqdm.write(
                f"epoch {round(record['epoch'], 2):g}  step {record['step']}  {'  '.join(losses)}  "
                f"lr {record['lr']:.2g}  {self._speed()}  {record['seconds']:.0f} s{'  best' * record['best']}",
                file=sys.stdout,
            )
            sys.stdout.flush()
        if event == "validation":
            self.tokens, self.seconds, self.began = 0, 0.0, time.perf_counter()

    def _speed(self):
        kind = "characters" if self.level == "char" else "words"
        return f"{self.tokens / max(1e-9, self.seconds):,.0f} {kind}/s"

    def close(self):
        """Leave the bar as it stands."""
        self.bar.close()


class GrowingFile:
    """A file of a run that grows as it trains; the progress keeps count of its bytes, under the name in `counter`.

    A subclass has `lines(event, record)`, which yields what an event adds, as bytes that end with a line break.
    """

    counter = ""

    def __init__(self, path, progress):
        """Open the file, cut back to where `progress` was taken: what a killed process wrote after it comes again."""
        self.progress, length = progress, getattr(progress, self.counter)
        try:
            self.stream = open(
                os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o666), "ab+"
            )
            self.stream.seek(0)
            kept = self.stream.read(length)
            kept = kept[: kept.rfind(b"\n") + 1]
            if len(kept) < length:
                print(
                    f"gluonlm: {path}: lines are missing; the training itself is whole",
                    file=sys.stderr,
                )
            self.stream.truncate(len(kept))
        except OSError as error:
            raise InputError(f"{path}: cannot write it: {error.strerror}") from None
        setattr(progress, self.counter, len(kept))

    def __call__(self, event, record):
        if event == "checkpoint":
            os.fsync(self.stream.fileno())
        else:
            content = b"".join(self.lines(event, record))
            self.stream.write(content)
            self.stream.flush()
            setattr(
                self.progress, self.counter, getattr(self.progress, self.counter) + len(content)
            )

    def close(self):
        """Leave the file as it stands."""
        self.stream.close()


class MetricsFile(GrowingFile):
    """Appends each training, validation and result record to metrics.jsonl, a line each."""

    counter = "metrics_bytes"

    def lines(self, event, record):
        if event != "step":
            finite = {
                key: None if isinstance(value, float) and not math.isfinite(value) else value
                for key, value in record.items()
            }
            yield json.dumps({"event": event, **finite}, allow_nan=False).encode() + b"\n"


class SamplesFile(GrowingFile):
    """Appends a sample at each temperature to samples.txt after each validation; `write(step, temperature)` gives the text."""

    counter = "samples_bytes"

    def __init__(self, path, progress, temperatures, write):
        super().__init__(path, progress)
        self.temperatures, self.write = temperatures, write

    def lines(self, event, record):
        for temperature in self.temperatures if event == "validation" else ():
            text = self.write(record["step"], temperature).encode("utf-8", "backslashreplace")
            yield (
                f"== step {record['step']}, epoch {record['epoch']:.2f}, temperature {temperature:g}\n".encode()
                + text
                + b"\n\n"
            )


def read_metrics(path):
    """Read the records of a metrics.jsonl."""
    with open(path, encoding="utf-8") as stream:
        return [json.loads(line) for line in stream]


def draw_curve(records, level):
    """Draw training and validation loss over epochs: bits per character, or perplexity on a logarithmic axis. Gives the PNG."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.subplots()
    unit = (lambda nats: nats / math.log(2)) if level == "char" else perplexity
    lines = (
        ("training", "train_loss", "training", dict(color="#9aa5b1", linewidth=1)),
        ("validation", "valid_loss", "validation", dict(color="#c2410c", marker="o", markersize=3)),
    )
    for event, key, label, style in lines:
        points = [
            (r["epoch"], unit(r[key]))
            for r in records
            if r["event"] == event and r.get(key) is not None
        ]
        if points:
            axes.plot(*zip(*points), label=label, **style)
    if level != "char":
        axes.set_yscale("log")
    validated = [r for r in records if r["event"] == "validation" and r["valid_loss"] is not None]
    if validated:
        best = min(validated, key=lambda r: r["valid_loss"])
        # the first steps can cost many times the rest, which would lie flat under them
        axes.set_ylim(
            top=min(axes.get_ylim()[1], 1.4 * max(unit(r["valid_loss"]) for r in validated))
        )
        axes.axhline(unit(best["valid_loss"]), color="#c2410c", linewidth=0.6, linestyle=":")
        axes.annotate(
            f"best {unit(best['valid_loss']):.3g}",
            (best["epoch"], unit(best["valid_loss"])),
            xytext=(0, 8),
            textcoords="offset points",
            ha="right",
            color="#c2410c",
        )
    axes.set_xlabel("epoch")
    axes.set_ylabel("bits per character" if level == "char" else "perplexity")
    axes.spines[["top", "right"]].set_visible(False)
    if axes.lines:
        axes.legend(frameon=False)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=120)
    return picture.getvalue()
