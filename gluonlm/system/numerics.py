"""Numerically stable log probabilities."""

import numpy as np


def log_mean_probability(logits: np.ndarray) -> np.ndarray:
    """Return the logarithm of the mean of several distributions, without underflow.

    Parameters
    ----------
    logits
        `(K, M, V)`, of K networks.

    Returns
    -------
    numpy.ndarray
        `(M, V)`: logits of the averaged probabilities, normalised.
    """
    logs = logits - _log_sum_exp(logits, axis=2)  # (K, M, V), log probabilities
    return (_log_sum_exp(logs, axis=0) - np.float32(np.log(len(logs))))[0]


def _log_sum_exp(x, axis):
    top = x.max(axis=axis, keepdims=True)  # NumPy's logaddexp takes ten times as long
    return top + np.log(np.exp(x - top).sum(axis=axis, keepdims=True))


def log_softmax(logits, dtype: type = np.float64) -> np.ndarray:
    """Return log probabilities, `(N, V)`."""
    shifted = np.asarray(logits, dtype) - np.max(logits, axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
