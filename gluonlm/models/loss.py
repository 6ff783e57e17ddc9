"""Cross-entropy and its gradient in one pass."""

import numpy as np
from mxnet import nd
from mxnet.gluon import HybridBlock

from ..system.arguments import check_ids
from ..system.errors import InputError

TINY = 1e-37  # keeps the logarithm finite where a float32 softmax underflows


class _Softmax(HybridBlock):
    """The losses and the inputs of their gradient, in one graph.

    For a small model, the number of calls dominates the time of a step.
    """

    def hybrid_forward(self, F, logits, targets):
        probabilities = F.softmax(logits)  # (M, V)
        chosen = F.pick(probabilities, targets)  # (M,)
        at_target = F.stack(F.cast(F.contrib.arange_like(targets), "int32"), targets)  # (2, M)
        # oneDNN's softmax turns NaN into 0: adding 0 * logit restores it
        losses = 0 * F.pick(logits, targets) - F.log(chosen + TINY)  # (M,)
        return losses, probabilities, chosen - 1, at_target


_softmax = _Softmax()
_softmax.hybridize(static_alloc=True, static_shape=True)


def cross_entropy(logits, targets) -> tuple:
    """Return the loss of each target, and the gradient of their sum.

    Record the logits only, then call `logits.backward(gradient)`. Differentiating `log_softmax`
    and `pick` instead takes several more passes over `(M, V)`.

    Parameters
    ----------
    logits
        `(M, V)`.
    targets
        Ids `(M,)`, int32.

    Returns
    -------
    losses
        `(M,)`, the negative log likelihood of each target in nats, at most 85.
    gradient
        `(M, V)`, with respect to the logits: the softmax minus one at each target.

    Raises
    ------
    InputError
        If the shapes or types are others, or an id is not in `0 .. V-1`.
    """
    if not isinstance(logits, nd.NDArray) or not isinstance(targets, nd.NDArray):
        raise InputError("logits and targets must be MXNet arrays")
    if logits.ndim != 2 or targets.shape != logits.shape[:1] or targets.dtype != np.int32:
        raise InputError(
            f"logits {logits.shape} and targets {targets.shape}, {np.dtype(targets.dtype)}: must "
            "be (M, V) and (M,), int32"
        )
    check_ids(targets.asnumpy(), logits.shape[1])
    return losses_and_gradient(logits, targets)


def losses_and_gradient(logits, targets) -> tuple:
    """Return the result of `cross_entropy`; the caller has checked the ids.

    MXNet writes outside of the gradient for an id that is not in the vocabulary.
    """
    losses, gradient, less_one, at_target = _softmax(logits, targets)
    nd._internal._scatter_set_nd(
        lhs=gradient, rhs=less_one, indices=at_target, shape=gradient.shape, out=gradient
    )
    return losses, gradient


def negative_log_likelihood(logits, targets) -> np.ndarray:
    """Return the loss of each target in nats, exact also for tiny probabilities.

    Uses softmax because oneDNN's `log_softmax` is off by 1e-6 on some processors. The few rows in
    which softmax underflows or is NaN are computed from their logits.

    Parameters
    ----------
    logits, targets
        `(M, V)` and `(M,)`, as for `cross_entropy`.

    Returns
    -------
    numpy.ndarray
        `(M,)`, float64.
    """
    chosen = nd.pick(nd.softmax(logits), targets).asnumpy().astype(np.float64)  # (M,)
    losses = -np.log(np.maximum(chosen, TINY))
    rare = np.flatnonzero(~(chosen > 1e-30))  # also true for NaN
    if len(rare):
        places = nd.array(rare, ctx=logits.context, dtype="int32")
        rows = nd.take(logits, places).asnumpy().astype(np.float64)  # (rare, V)
        top = rows.max(axis=1)
        losses[rare] = top - rows[np.arange(len(rare)), targets.asnumpy()[rare]]
        losses[rare] += np.log(np.exp(rows - top[:, None]).sum(axis=1))
    return losses
