"""Train unrolled, RNN, LSTM and GRU on one budget and write docs/models.md: python benchmarks/compare_models.py"""

import json
import platform
import subprocess
import sys
import tempfile
from pathlib import Path

MODELS = ("unrolled", "rnn", "lstm", "gru")
SETTINGS = {
    "--embed-size": 64,
    "--hidden-size": 128,
    "--batch-size": 32,
    "--seq-len": 64,
    "--dropout": 0.1,
}
MINUTES = 1.0
DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "models.md"


def train(model, folder):
    """Train one model for the budget, and give what its run says: parameters, steps, bits per character."""
    flags = [str(word) for pair in SETTINGS.items() for word in pair]
    command = [
        sys.executable,
        "-m",
        "gluonlm.train",
        "--model",
        model,
        "--run",
        str(folder),
        *flags,
    ]
    # a constant rate: a budget of minutes is no horizon for a schedule; many epochs: the minutes end the training
    command += [
        "--schedule",
        "constant",
        "--lr",
        "0.002",
        "--max-minutes",
        str(MINUTES),
        "--epochs",
        "1000",
    ]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    lines = map(json.loads, (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    metrics = [record for record in lines if record["event"] == "validation"]
    score = subprocess.run(
        [sys.executable, "-m", "gluonlm.evaluate", str(folder), "--json"],
        check=True,
        capture_output=True,
        text=True,
    )
    parameters = printed.split(" parameters")[0].rsplit(" ", 1)[1]
    valid = min(record["valid_loss"] for record in metrics)
    return parameters, metrics[-1]["step"], metrics[-1]["epoch"], valid, json.loads(score.stdout)


def main():
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for model in MODELS:
            parameters, step, epoch, valid, score = train(model, Path(folder) / model)
            rows.append(
                f"| `{model}` | {parameters} | {step:,} | {epoch:.1f} | {valid:.3f} | {score['nats']:.3f} | "
                f"{score['bits_per_character']:.3f} |"
            )
            print(rows[-1], flush=True)
    settings = " ".join(f"{flag} {value}" for flag, value in SETTINGS.items())
    DOCUMENT.write_text(
        f"""# The models compared

Each model trained for {MINUTES} minutes on the embedded corpus (`python-docs`, Python {platform.python_version()}) on the CPU, with
`{settings} --schedule constant --lr 0.002 --seed 1`, best checkpoint by validation. Written by
`python benchmarks/compare_models.py`.

| model | parameters | steps | epochs | valid, nats | test, nats | test, bits per character |
|---|---|---|---|---|---|---|
{chr(10).join(rows)}

The unrolled network sees three characters, whatever came before them; the others carry their state along the text. Its steps are shorter,
so it takes more of them in the same time. The test part is read as one stream. `window` is left out: it reads its whole window anew for
each character, which a minute is too short for; see `window-lstm` in [results.md](results.md).
""",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
