"""Train GRU, minGRU and minLSTM with equal parameters for equal minutes, and print a table.

python benchmarks/min_models.py --minutes 10 --runs runs/min-models

Finished runs are not repeated, and interrupted ones are continued. One thread.
"""

import argparse
import dataclasses
import json
import statistics
import subprocess
import sys
from pathlib import Path

from gluonlm.config import Config
from gluonlm.corpus import load_corpus

CORPORA = {
    "nietzsche": ("--data nietzsche --embed-size 64", 256),
    "tinyshakespeare": ("--data tinyshakespeare --embed-size 64", 256),
    "ptb": ("--data ptb --level word --embed-size 128", 256),
}
MODELS, SEEDS = ("gru", "mingru", "minlstm"), (1, 2, 3)
HEAD = """| corpus | model | size | parameters | tokens/s | steps | validation, nats | from | to |
|---|---|---|---|---|---|---|---|---|"""


def settings(text):
    """Return the Config of flags of the form --name value."""
    names, values = text.replace("--", "").split()[::2], text.split()[1::2]
    pairs = {name.replace("-", "_"): value for name, value in zip(names, values)}
    return Config.from_dict(
        {name: int(value) if value.isdigit() else value for name, value in pairs.items()}
    )


def equal_sizes(flags, size, layers):
    """Return each model's hidden size, with about as many parameters as a GRU of this size."""
    config = settings(f"{flags} --num-layers {layers}")
    vocab_size = len(load_corpus(config.data).vocab)

    def count(model, size):
        chosen = dataclasses.replace(config.model, model=model, hidden_size=(size,))
        return chosen.count_parameters(vocab_size)

    goal, sizes = count("gru", size), range(1, 16 * size)
    return {m: min(sizes, key=lambda s: abs(count(m, s) - goal)) for m in MODELS}


def result(folder, flags):
    """Train a run unless it is finished; return its records."""
    read = lambda: [json.loads(line) for line in (folder / "metrics.jsonl").open()]  # noqa: E731
    train = [sys.executable, "-m", "gluonlm.train", "--quiet"]
    if not (folder / "checkpoints" / "last").exists():
        subprocess.run([*train, *flags, "--run", folder, "--overwrite"], check=True)
    elif read()[-1]["event"] != "result":
        subprocess.run([*train, "--resume", folder], check=True)
    return read()


def row(corpus, model, size, runs):
    """Return a line of the table from the records of several seeds."""
    best = [min(r["valid_loss"] for r in run if r["event"] == "validation") for run in runs]
    ends = [run[-1] for run in runs]
    speeds = [r["tokens_per_second"] for run in runs for r in run if r["event"] == "training"]
    steps = statistics.mean(end["steps"] for end in ends)
    return (
        f"| {corpus} | `{model}` | {size} | {ends[0]['parameters']:,} "
        f"| {statistics.median(speeds or [0]):,.0f} | {steps:,.0f} "
        f"| {statistics.mean(best):.3f} | {min(best):.3f} | {max(best):.3f} |"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10, help="of each run (default: 10)")
    parser.add_argument("--layers", type=int, default=2, help="recurrent layers (default: 2)")
    parser.add_argument("--runs", type=Path, default=Path("runs/min-models"), help="folder of runs")
    parser.add_argument("--corpora", nargs="*", default=[*CORPORA], choices=CORPORA)
    parser.add_argument("--train", default="", help="more flags of train, in quotes")
    chosen = parser.parse_args()
    print(HEAD)
    for corpus in chosen.corpora:
        flags, size = CORPORA[corpus]
        for model, equal in equal_sizes(flags, size, chosen.layers).items():
            runs = []
            for seed in SEEDS:
                given = f"{flags} --model {model} --num-layers {chosen.layers} --seed {seed} "
                given += f"--hidden-size {equal} --epochs 1000 --max-minutes {chosen.minutes} "
                given += f"--threads 1 {chosen.train}"
                folder = chosen.runs / f"{corpus}-{model}-{chosen.layers}x{equal}-{seed}"
                runs.append(result(folder, given.split()))
            print(row(corpus, model, equal, runs), flush=True)


if __name__ == "__main__":
    main()
