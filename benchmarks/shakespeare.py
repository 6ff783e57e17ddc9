"""Train the tiny Shakespeare presets, and score them also in windows, like nanoGPT.

    python benchmarks/shakespeare.py [NAME...]

A preset is trained in `runs/NAME`; finished runs, and runs with other names, are only scored. The
checkpoint is scored on the validation part in three ways: as one stream with the state carried, and
in adjacent windows of 64 and 256 characters, each with a zero initial state, like nanoGPT's blocks.
"""

import json
import subprocess
import sys
from pathlib import Path

PRESETS = ("tinyshakespeare-gru", "tinyshakespeare-gru-12min", "tinyshakespeare-gru-long")
WINDOWS = (64, 256)


def in_windows(model, ids, length) -> float:
    """Return the mean loss over adjacent windows, in nats.

    In each window, `length` characters are predicted with a zero initial state.
    """
    from mxnet import cpu

    from gluonlm.batchify.batches import make_batches
    from gluonlm.evaluate.scoring import mean_loss

    count = len(ids) // (length + 1)
    return mean_loss(model, make_batches(None, ids[: count * (length + 1)], count, length), cpu())


def measured(name, run) -> str:
    """Return the row of one run: parameters, seconds, epochs, and the three losses."""
    from gluonlm.corpus import load_corpus
    from gluonlm.evaluate.scoring import score
    from gluonlm.run.load import load_model

    model, checkpoint = load_model(run)
    ids = load_corpus(checkpoint.config.data, checkpoint.vocab).valid
    lines = list(map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()))
    result = lines[-1]
    epochs = [line["epoch"] for line in lines if line["event"] == "validation"][-1]
    losses = [score(model, ids).mean(), *(in_windows(model, ids, length) for length in WINDOWS)]
    scored = " | ".join(f"{loss:.4f}" for loss in losses)
    return (
        f"| `{name}` | {result['parameters']:,} | {result['seconds']:.0f} s | {epochs:.1f} "
        f"| {scored} |"
    )


def main(names) -> None:
    titles = ["run", "parameters", "time", "epochs", "state carried"]
    titles += [f"windows of {length}" for length in WINDOWS]
    rows = [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|"]
    for name in names:
        if name in PRESETS:
            train = [sys.executable, "-m", "gluonlm.train", "--preset", name]
            subprocess.run(train, check=True, stdout=sys.stderr)
        rows.append(measured(name, Path("runs") / name))
    print("\n".join(rows))


if __name__ == "__main__":
    main(sys.argv[1:] or PRESETS)
