"""Cross-entropy and its gradient in one pass."""

import numpy as np
from mxnet import nd

TINY = 1e-37  # keeps the logarithm finite where a float32 softmax underflows


def cross_entropy(logits, targets):
    """Give the negative log likelihood of each target, and the gradient of their sum.

    Parameters: `logits`, `(M, V)`; `targets`, ids `(M,)`, int32, each in `0 .. V-1` (MXNet would clip others silently).
    Returns: losses `(M,)` in nats, at most 85 each, and the gradient `(M, V)` with respect to the logits: the softmax
    less one at each target.
    Use: record the logits only, then `logits.backward(gradient)`. Differentiating `log_softmax` and `pick` instead
    takes several more passes over `(M, V)`.
    """
    probabilities = nd.softmax(logits)
    at_target = nd.stack(nd.arange(len(targets), ctx=logits.context, dtype="int32"), targets)
    chosen = nd.pick(probabilities, targets)
    gradient = nd._internal._scatter_set_nd(
        lhs=probabilities, rhs=chosen - 1, indices=at_target, shape=probabilities.shape, out=probabilities
    )
    # oneDNN's softmax turns NaN into 0: the logit itself brings it back
    return 0 * nd.pick(logits, targets) - nd.log(chosen + TINY), gradient


def negative_log_likelihood(logits, targets):
    """Give the negative log likelihood of each target in nats, exact however small its probability.

    Parameters: as for `cross_entropy`. Returns: a NumPy array `(M,)`, float64.
    oneDNN's `log_softmax` is off by 1e-6 on some processors, its softmax is not; where that underflows, or is not a
    number, the few rows concerned are computed from their logits.
    """
    chosen = nd.pick(nd.softmax(logits), targets).asnumpy().astype(np.float64)
    losses = -np.log(np.maximum(chosen, TINY))
    rare = np.flatnonzero(~(chosen > 1e-30))
    if len(rare):
        rows = nd.take(logits, nd.array(rare, ctx=logits.context, dtype="int32")).asnumpy().astype(np.float64)
        top = rows.max(axis=1)
        losses[rare] = top - rows[np.arange(len(rare)), targets.asnumpy()[rare]]
        losses[rare] += np.log(np.exp(rows - top[:, None]).sum(axis=1))
    return losses
