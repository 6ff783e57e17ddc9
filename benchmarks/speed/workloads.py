"""What is timed: sizes, bars and arithmetic of each workload, the same for every side.

Imports no framework.
"""

import resource
import time
from dataclasses import dataclass
from typing import Dict, Tuple

import numpy as np

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
UNROLLED = 3  # characters that the unrolled network reads


@dataclass(frozen=True)
class Workload:
    """A model, its batches, how many steps are timed, and the bar: the least ratio of speeds."""

    task: str  # train, score, generate
    model: str
    hidden: Tuple[int, ...]
    embed: int
    bar: float
    vocab: int = 85
    batch: int = 32
    length: int = 100
    dropout: float = 0.0
    optimizer: str = "adam"
    lr: float = 0.001
    clip: float = 5.0
    init: float = 0.1  # uniform(-init, init)
    warm_up: int = 3
    steps: int = 12
    level: str = "char"

    @property
    def tokens(self) -> int:
        """Tokens of one step that are predicted."""
        one_each = self.model == "unrolled" or self.task == "generate"
        return self.batch if one_each else self.batch * self.length

    @property
    def read(self) -> int:
        """Ids that warming up and all timed steps read, with a batch to spare and successors."""
        return (self.warm_up + self.steps + 1) * self.batch * self.length + self.batch

    def operations(self) -> int:
        """Return the floating-point operations of a step's matrix products.

        The backward pass takes twice those of the forward pass.
        """
        if self.model == "unrolled":
            (size,) = self.hidden
            products = UNROLLED * self.embed * size + (UNROLLED - 1) * size**2
        else:
            pairs, gates = zip((self.embed, *self.hidden), self.hidden), GATES[self.model]
            products = sum(gates * size * (below + size) for below, size in pairs)
        products += self.hidden[-1] * self.vocab
        return 2 * self.tokens * products * (3 if self.task == "train" else 1)

    def ids(self, count) -> np.ndarray:
        """Return the same made-up ids to every side, `(count,)`."""
        return np.random.default_rng(1).integers(0, self.vocab, count, dtype=np.int32)


CHARACTERS = dict(dropout=0.4)
PENN_TREEBANK = dict(vocab=10_000, batch=60, length=20, optimizer="sgd", lr=1.0, level="word")
WORKLOADS = {
    "train ptb 256-128": Workload("train", "lstm", (256, 128), 200, 1.3, steps=15, **PENN_TREEBANK),
    "train char lstm 2x256": Workload("train", "lstm", (256, 256), 128, 1.2, **CHARACTERS),
    "train char gru 2x256": Workload("train", "gru", (256, 256), 128, 1.8, **CHARACTERS),
    "train char rnn 2x256": Workload("train", "rnn", (256, 256), 128, 1.9, steps=24, **CHARACTERS),
    "train char lstm 2x1000": Workload(
        "train", "lstm", (1000, 1000), 500, 1.0, warm_up=1, steps=3, **CHARACTERS
    ),
    "train unrolled 256": Workload(
        "train", "unrolled", (256,), 30, 1.4, length=UNROLLED, warm_up=50, steps=600
    ),
    "score lstm 2x256": Workload("score", "lstm", (256, 256), 128, 1.0, steps=24),
    "score gru 2x256": Workload("score", "gru", (256, 256), 128, 1.5, steps=24),
    "generate gru 2x256": Workload(
        "generate", "gru", (256, 256), 128, 1.0, batch=1, length=1, warm_up=50, steps=600
    ),
    "generate lstm 2x1000": Workload(
        "generate", "lstm", (1000, 1000), 500, 1.0, batch=1, length=1, warm_up=10, steps=100
    ),
    "generate gru 2x256, 32 streams": Workload(
        "generate", "gru", (256, 256), 128, 1.0, batch=32, length=1, warm_up=20, steps=400
    ),
    "generate lstm 2x1000, 32 streams": Workload(
        "generate", "lstm", (1000, 1000), 500, 1.0, batch=32, length=1, warm_up=5, steps=60
    ),
}


def clock(step, workload) -> Dict[str, float]:
    """Call `step` until warm, then time each call.

    Returns
    -------
    dict
        The median in seconds, and this process's peak memory in bytes.
    """
    for _ in range(workload.warm_up):
        step()
    times = []
    for _ in range(workload.steps):
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    return {
        "seconds": float(np.median(times)),
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    }
