"""Train unrolled, RNN, LSTM and GRU on one budget, and write docs/models.md.

python benchmarks/compare_models.py
"""

import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

MODELS = ("unrolled", "rnn", "lstm", "gru")
# a constant rate, because schedules need a number of steps, not of minutes
SETTINGS = (
    "--embed-size 64 --hidden-size 128 --batch-size 32 --seq-len 64 --dropout 0.1",
    "--schedule constant --lr 0.002 --output-bias zero --seed 1",
)
MINUTES = 1.0
DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "models.md"
PAGE = """# Model comparison

Each model trained for {minutes} minutes on the embedded corpus (`python-docs`, Python {python}) on
the CPU; best checkpoint by validation loss (`python benchmarks/compare_models.py`):

    {settings}

| model | parameters | steps | epochs | valid, nats | test, nats | test, bits per character |
|---|---|---|---|---|---|---|
{rows}

The unrolled network reads only the last three characters; the others carry their state through the
text. The unrolled network's steps are shorter, so it takes more of them in the same time. The test
part is read as one stream. `window` is omitted because it rereads its entire window for each
character and learns little in a minute; see `window-lstm` in [Results](results/window-lstm.md).
"""


def train(model, folder) -> str:
    """Train one model for the budget, and return its row of the table."""
    flags = [word for line in SETTINGS for word in line.split()]
    # more epochs than --max-minutes allows
    flags += ["--max-minutes", str(MINUTES), "--epochs", "1000", "--quiet"]
    run = [sys.executable, "-m", "gluonlm.train", "--model", model, "--run", str(folder)]
    subprocess.run([*run, *flags], check=True, capture_output=True)
    lines = list(map(json.loads, (folder / "metrics.jsonl").read_text("utf-8").splitlines()))
    validations = [record for record in lines if record["event"] == "validation"]
    valid = min(record["valid_loss"] for record in validations)
    evaluate = [sys.executable, "-m", "gluonlm.evaluate", str(folder), "--json"]
    printed = subprocess.run(evaluate, check=True, capture_output=True, text=True).stdout
    score, last = json.loads(printed), validations[-1]
    return (
        f"| `{model}` | {lines[-1]['parameters']:,} | {last['step']:,} | {last['epoch']:.1f} "
        f"| {valid:.3f} | {score['nats']:.3f} | {score['bits_per_character']:.3f} |"
    )


def page(rows, python) -> str:
    """Return the first part of the page, with these rows and this version of Python."""
    table, settings = "\n".join(rows), "\n    ".join(SETTINGS)
    return PAGE.format(minutes=MINUTES, python=python, settings=settings, rows=table)


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for model in MODELS:
            rows.append(train(model, Path(folder) / model))
            print(rows[-1], flush=True)
    _, heading, levels = DOCUMENT.read_text(encoding="utf-8").partition("\n## ")
    text = page(rows, platform.python_version()) + heading + levels
    DOCUMENT.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
