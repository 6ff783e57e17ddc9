"""Train on characters, subwords and words of one text, and write a table to docs/models.md.

python benchmarks/compare_levels.py [RUNS] (default: runs/levels); existing runs are not repeated.
"""

import json
import re
import subprocess
import sys
from pathlib import Path

from gluonlm.run.folder import Run

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "models.md"
PLACE = re.compile(r"(<!-- levels -->\n).*?(<!-- end -->)", re.DOTALL)
DATA = ("--data", "nietzsche", "--threads", "1", "--output-bias", "zero")
LEVELS = {
    "char": ("--level", "char"),
    "subword-bpe": ("--level", "subword", "--tokenizer", "bpe"),
    "subword-unigram": ("--level", "subword"),
    "word-moses": ("--level", "word", "--tokenizer", "moses"),
    "word-punctuation": ("--level", "word", "--tokenizer", "punctuation"),
    "word-split": ("--level", "word"),
}
HEAD = """| level | tokens | parameters | time | test tokens | nats | `<unk>` | bits per character |
|---|---|---|---|---|---|---|---|
"""


def row(folder, flags):
    """Train a run unless it exists, and return its row of the table."""
    if not (folder / "metrics.jsonl").exists():
        train = [sys.executable, "-m", "gluonlm.train", *DATA, *flags, "--run", folder]
        subprocess.run([*train, "--quiet"], check=True)
    ended = json.loads((folder / "metrics.jsonl").read_text("utf-8").splitlines()[-1])
    evaluate = [sys.executable, "-m", "gluonlm.evaluate", folder, "--json"]
    score = json.loads(subprocess.run(evaluate, check=True, stdout=subprocess.PIPE).stdout)
    vocab = Run(folder).load("best").vocab
    unknown = f"{score['unknown']:.1%}" if "unknown" in score else ""
    return (
        f"| `{folder.name}` | {len(vocab):,} | {ended['parameters']:,} "
        f"| {ended['seconds']:.0f} s | {score['tokens']:,} | {score['nats']:.3f} | {unknown} "
        f"| **{score['bits_per_character']:.3f}** |"
    )


def main():
    runs = Path(sys.argv[1] if len(sys.argv) > 1 else "runs/levels")
    rows = [row(runs / name, flags) for name, flags in LEVELS.items()]
    table = HEAD + "\n".join(rows) + "\n"
    page = PLACE.sub(lambda m: m[1] + table + m[2], DOCUMENT.read_text(encoding="utf-8"))
    DOCUMENT.write_text(page, encoding="utf-8")
    print(table)


if __name__ == "__main__":
    main()
