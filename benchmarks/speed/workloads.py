"""The workloads: sizes, bars and operation counts, the same for every side.

Imports no framework.
"""

import functools
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

GATES = {"rnn": 1, "gru": 3, "lstm": 4}
UNROLLED = 3  # characters that the unrolled network reads


@dataclass(frozen=True)
class Workload:
    """A model, its batches, the number of timed steps, and its bars.

    `bar` is the minimum ratio to PyTorch at its best, `tutorial` the minimum ratio to the
    tutorials, `share` the minimum fraction of the peak; 0 for no bar.
    """

    task: str  # train, score, generate
    model: str
    hidden: tuple[int, ...]
    embed: int
    bar: float
    tutorial: float = 0
    share: float = 0
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
        """The number of predicted tokens of a step."""
        one_each = self.model == "unrolled" or self.task == "generate"
        return self.batch if one_each else self.batch * self.length

    @property
    def read(self) -> int:
        """The number of ids for warm-up and timed steps, with a spare batch and successors."""
        return (self.warm_up + self.steps + 1) * self.batch * self.length + self.batch

    def operations(self) -> int:
        """Return the floating-point operations of a step's matrix products.

        The backward pass takes twice as many as the forward pass.
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
        """Return random ids `(count,)`, the same for every side."""
        return zipf(self.vocab, count)


def zipf(vocab, count) -> np.ndarray:
    """Return ids `(count,)` by Zipf's law: the k-th has a probability proportional to 1 / k."""
    weights = 1 / np.arange(1, vocab + 1)
    drawn = np.random.default_rng(1).choice(vocab, count, p=weights / weights.sum())
    return drawn.astype(np.int32)


CHARACTERS = dict(dropout=0.4)
PENN_TREEBANK = dict(vocab=10_000, batch=60, length=20, optimizer="sgd", lr=1.0, level="word")
SMALL, LARGE = ((256, 256), 128), ((1000, 1000), 500)
TRAIN = functools.partial(Workload, "train")
SCORE = functools.partial(Workload, "score", steps=24)
GENERATE = functools.partial(Workload, "generate", length=1)
WORKLOADS = {
    "train ptb 256-128": TRAIN("lstm", (256, 128), 200, 1.2, 2, steps=15, **PENN_TREEBANK),
    "train char lstm 2x256": TRAIN("lstm", *SMALL, 1.2, 2, 0.75, **CHARACTERS),
    "train char gru 2x256": TRAIN("gru", *SMALL, 1.7, 0, 0.65, **CHARACTERS),
    "train char rnn 2x256": TRAIN("rnn", *SMALL, 1.7, steps=24, **CHARACTERS),
    "train char lstm 2x1000": TRAIN("lstm", *LARGE, 1.1, 0, 0.75, steps=5, **CHARACTERS),
    "train unrolled 256": TRAIN(
        "unrolled", (256,), 30, 1.0, 2, length=UNROLLED, warm_up=50, steps=600
    ),
    "score lstm 2x256": SCORE("lstm", *SMALL, 1.1),
    "score gru 2x256": SCORE("gru", *SMALL, 1.5),
    "generate gru 2x256": GENERATE("gru", *SMALL, 1.3, 10, batch=1, warm_up=50, steps=600),
    "generate lstm 2x1000": GENERATE("lstm", *LARGE, 1.3, 10, batch=1, warm_up=10, steps=100),
    "generate gru 2x256, 32 streams": GENERATE("gru", *SMALL, 1.1, warm_up=20, steps=400),
    "generate lstm 2x1000, 32 streams": GENERATE("lstm", *LARGE, 1.1, warm_up=5, steps=60),
}


def resident() -> int:
    """Return the peak memory of this process so far, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def clock(step, workload, libraries, save: Callable | None = None) -> dict[str, float]:
    """Call `step` until warm, write a checkpoint, then time each call.

    Parameters
    ----------
    libraries
        `resident()` after importing the libraries.
    save
        Writes a checkpoint; None for scoring and generating.

    Returns
    -------
    dict
        The median in seconds, the peak memory in bytes, and the memory of the libraries.
    """
    for _ in range(workload.warm_up):
        step()
    if save:
        save()
    times = []
    for _ in range(workload.steps):
        began = time.perf_counter()
        step()
        times.append(time.perf_counter() - began)
    seconds = float(np.median(times))
    return {"seconds": seconds, "peak": resident(), "libraries": libraries}
