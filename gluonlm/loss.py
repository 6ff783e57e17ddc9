"""Cross-entropy and its gradient in one pass."""

import numpy as np
from mxnet import nd
from mxnet.gluon import HybridBlock

TINY = 1e-37  # keeps the logarithm finite where a float32 softmax underflows


class _Softmax(HybridBlock):
    """Losses, and what their gradient is made of, in one graph: for a small model the calls are what a step costs."""

    def hybrid_forward(self, F, logits, targets):
        probabilities = F.softmax(logits)
        chosen = F.pick(probabilities, targets)
        at_target = F.stack(F.cast(F.contrib.arange_like(targets), "int32"), targets)
        # oneDNN's softmax turns NaN into 0: the logit itself brings it back
        return (
            0 * F.pick(logits, targets) - F.log(chosen + TINY),
            probabilities,
            chosen - 1,
            at_target,
        )


_softmax = _Softmax()
_softmax.hybridize()


def cross_entropy(logits, targets):
    """Give the negative log likelihood of each target, and the gradient of their sum.

    Parameters: `logits`, `(M, V)`; `targets`, ids `(M,)`, int32, each in `0 .. V-1` (MXNet would clip others silently).
    Returns: losses `(M,)` in nats, at most 85 each, and the gradient `(M, V)` with respect to the logits: the softmax
    less one at each target.
    Use: record the logits only, then `logits.backward(gradient)`. Differentiating `log_softmax` and `pick` instead
    takes several more passes over `(M, V)`.
    """
    losses, gradient, less_one, at_target = _softmax(logits, targets)
    nd._internal._scatter_set_nd(
        lhs=gradient, rhs=less_one, indices=at_target, shape=gradient.shape, out=gradient
    )
    return losses, gradient


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
        rows = (
            nd.take(logits, nd.array(rare, ctx=logits.context, dtype="int32"))
            .asnumpy()
            .astype(np.float64)
        )
        top = rows.max(axis=1)
        losses[rare] = top - rows[np.arange(len(rare)), targets.asnumpy()[rare]]
        losses[rare] += np.log(np.exp(rows - top[:, None]).sum(axis=1))
    return losses
