"""Tables of counts as language models: a baseline for the losses of networks."""

import numpy as np


def counting_losses(
    train: np.ndarray, ids: np.ndarray, vocab_size: int, context: int = 8, k: float = 40.0
) -> np.ndarray:
    """Return the loss of each id but the first, predicted from the counts of runs in `train`.

    Each order is smoothed with the next lower one, down to uniform: as if `k` more ids had followed
    each run, distributed as the lower order predicts. The first ids have a shorter context. The
    targets are those of `score`, so the means can be compared.

    Parameters
    ----------
    train, ids
        Token ids to count and to predict, `(T,)` each.
    context
        Number of preceding ids that are used.
    k
        Weight of the next lower order; the default suits half a million characters.

    Returns
    -------
    numpy.ndarray
        Nats, `(T - 1,)`.

    References
    ----------
    .. [1] D. J. C. MacKay, L. C. Bauman Peto, "A hierarchical Dirichlet language model", Natural
       Language Engineering, 1995; here with the same `k` for all orders.
    """
    both, seen = np.concatenate([train, ids]).astype(np.int64), len(train)
    gram, p = np.zeros_like(both), np.full(len(ids), 1 / vocab_size)
    for n in range(context + 1):
        before = np.append(0, gram[:-1])  # a number for the run of n ids before each place
        gram = np.unique(before * vocab_size + both, return_inverse=True)[1]
        runs, contexts = (
            np.bincount(numbers[n:seen], minlength=len(both))[numbers[seen:]]
            for numbers in (gram, before)
        )
        p = np.where(np.arange(len(ids)) >= n, (runs + k * p) / (contexts + k), p)
    return -np.log(p[1:])
