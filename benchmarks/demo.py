"""Train the model that `--demo` uses: python benchmarks/demo.py, or make demo.

Writes the best checkpoint to gluonlm/demo, with 16-bit weights and without the optimizer's state,
and next to it README.md with the command and the score of the written model.
"""

import dataclasses
import platform
import shutil
import sys
import tempfile
from pathlib import Path

import numpy as np

from gluonlm.config.flags import DEMO
from gluonlm.evaluate.scoring import Unit, score
from gluonlm.run.checkpoint import Checkpoint
from gluonlm.run.folder import Run
from gluonlm.run.load import load_model
from gluonlm.run.text import load_own
from gluonlm.train.__main__ import main as train

FLAGS = (
    "--hidden-size 344 --dropout 0.35 --set embed_dropout=0 --set weight_decay=0.1",
    "--lr 0.008 --set warmup_steps=50 --epochs 8 --set average=ema --threads 1",
)
PAGE = """\
# The model of `--demo`

`gluonlm generate --demo` uses this run, which `make demo` writes:

{command}

A GRU of {parameters:,} parameters, stored in 16 bits, without the optimizer's state. Text: the
Python language reference (`pydoc_data.topics`) of Python {python}.

Test part (`gluonlm evaluate --demo`): **{test:.4f}** bits per character. Validation part, on which
the settings were chosen: {valid:.4f}.

## Licence

The text is part of Python's documentation, Copyright © 2001 Python Software Foundation, under the
[PSF License](https://docs.python.org/3/license.html). The model was computed from this text and may
repeat passages of it.
"""


def stripped(checkpoint: Checkpoint) -> Checkpoint:
    """Return a checkpoint for generating and scoring, with 16-bit weights."""
    weights = {name: array.astype(np.float16) for name, array in checkpoint.parameters.items()}
    kept = {name: checkpoint.progress[name] for name in ("step", "corpus")}
    return dataclasses.replace(checkpoint, parameters=weights, training={}, progress=kept)


def bits(run: Path, part: str) -> float:
    """Return a model's bits per character on a part of its text, read as one stream."""
    model, checkpoint = load_model(run)
    ids = getattr(load_own(checkpoint, {}), part)
    losses = score(model, ids)
    return Unit.of(checkpoint.vocab, ids[-losses.size :]).bits(float(losses.mean()))


def write(trained: Path) -> None:
    """Write gluonlm/demo from a finished run."""
    checkpoint = Run(trained).load("best")
    with tempfile.TemporaryDirectory() as folder:
        new = Path(folder, "demo")
        Run.with_checkpoint(new, stripped(checkpoint))
        page = PAGE.format(
            command="    gluonlm train " + " \\\n        ".join(FLAGS),
            parameters=sum(array.size for array in checkpoint.parameters.values()),
            python=platform.python_version(),
            test=bits(new, "test"),
            valid=bits(new, "valid"),
        )
        (new / "README.md").write_text(page, encoding="utf-8")
        shutil.rmtree(DEMO, ignore_errors=True)
        shutil.copytree(new, DEMO)
    print((DEMO / "README.md").read_text(encoding="utf-8"))


def main(finished: str = "") -> None:
    """Train the model, unless a finished run is given, and write it into the package."""
    with tempfile.TemporaryDirectory() as folder:
        run = Path(finished or Path(folder, "run"))
        if not finished:
            train([*" ".join(FLAGS).split(), "--run", str(run)])
        write(run)


if __name__ == "__main__":
    main(*sys.argv[1:])
