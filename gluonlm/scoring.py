"""How well a model predicts a text: token-weighted negative log likelihood, perplexity, bits per character."""

import math

import mxnet as mx
import numpy as np

from .batchify import make_batches
from .errors import InputError
from .loss import negative_log_likelihood
from .models import to_device


def batch_losses(model, batches, ctx):
    """Score batch by batch, the state carried: yields arrays `(M,)` of nats, dropout off."""
    state = None
    for index in range(len(batches)):
        inputs, targets = batches(0, index)
        if state is None:
            state = model.begin_state(inputs.shape[1], ctx=ctx)
        logits, state = model(to_device(inputs, model.vocab_size, ctx), state)
        yield negative_log_likelihood(logits, to_device(targets, model.vocab_size, ctx))


def mean_loss(model, batches, ctx):
    """Give the mean over all tokens of all batches, nats: every token weighs the same, short last batches included."""
    total, tokens = 0.0, 0
    for losses in batch_losses(model, batches, ctx):
        total += float(losses.sum())
        tokens += losses.size
    return total / tokens


def score(model, ids, ctx=None, seq_len=1000):
    """Score a text as one stream, its state carried from the first token to the last.

    Parameters: `ids`, `(tokens,)`; `seq_len`, how many are read at a time, which changes memory and speed only.
    Returns: nats for each predicted token, `(tokens - skipped,)`: the first token is read only, or the first
    `model.context` of a model that reads windows.
    Raises: InputError if no token is left to predict.
    """
    skipped = model.context or 1
    if len(ids) <= skipped:
        raise InputError(
            f"cannot score {len(ids)} tokens: the model reads {skipped} before its first prediction, give more text"
        )
    windows = max(
        1, 4 * seq_len // skipped
    )  # read side by side: neighbours share all tokens but one, so few tokens hold many
    batches = make_batches(model.context, ids, windows if model.context else 1, seq_len)
    return np.concatenate(list(batch_losses(model, batches, ctx or mx.cpu())))


def describe(nats, level):
    """Say a mean loss in the unit of its kind of token."""
    if level == "char":
        return f"{nats / math.log(2):.3f} bits per character"
    return f"perplexity {perplexity(nats):.2f}"


def perplexity(nats):
    """Give exp(nats); infinity beyond what a float holds."""
    return math.exp(nats) if nats < 709 else math.inf
