"""Generate text: priming, temperature, top-k, top-p, greedy decoding, beam search."""

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from .. import native
from ..system.arguments import as_sequence, check_ids, check_integer, check_rates, check_sizes
from ..system.errors import InputError
from ..system.numerics import log_softmax

COLDEST = 1e-10  # lowest temperature above 0: below it, scaled logits overflow
HARDEST = 1e6  # largest repetition penalty
WIDEST = 1 << 16  # widest beam: each text has a state and a row of logits


def probabilities(
    logits, temperature: float = 1.0, top_k: int = 0, top_p: float = 1.0
) -> np.ndarray:
    """Return the sampling distribution, `(N, V)`, float64; each row adds up to 1.

    Of equally likely tokens, the lower id is kept.

    Parameters
    ----------
    logits
        `(N, V)`; first divided by `temperature`.
    temperature
        0 selects the most likely token.
    top_k
        Keep only the `top_k` most likely tokens; 0 keeps all.
    top_p
        Then keep the fewest tokens whose probabilities reach it (Holtzman et al. 2020).

    Raises
    ------
    InputError
        If a parameter is out of range.
    """
    heated = COLDEST <= temperature < math.inf
    if not ((heated or temperature == 0) and 0 < top_p <= 1 and top_k >= 0):
        raise InputError(
            f"`temperature` {temperature}, `top_k` {top_k}, `top_p` {top_p}: temperature must be "
            f"0 or at least {COLDEST:g}, top-k at least 0, top-p above 0 and at most 1"
        )
    scaled = np.asarray(logits, np.float64)  # (N, V)
    if not temperature:
        certain = np.zeros(scaled.shape)
        certain[np.arange(len(scaled)), scaled.argmax(axis=1)] = 1
        return certain
    scaled = (scaled - scaled.max(axis=1, keepdims=True)) / temperature
    weights = np.exp(scaled)
    if 0 < top_k < weights.shape[1] or top_p < 1:
        order = np.argsort(-weights, axis=1, kind="stable")
        ranked = np.take_along_axis(weights, order, axis=1)
        if top_k:
            ranked[:, top_k:] = 0
        ranked /= ranked.sum(axis=1, keepdims=True)
        before = np.cumsum(ranked, axis=1) - ranked
        ranked[(before >= top_p) & (np.arange(ranked.shape[1]) > 0)] = 0
        np.put_along_axis(weights, order, ranked, axis=1)
    return weights / weights.sum(axis=1, keepdims=True)


def draw(
    logits,
    uniform: np.ndarray,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    kernels: native.Kernels | None = None,
) -> np.ndarray:
    """Return ids `(N,)` drawn from the sampling distributions of logits `(N, V)`.

    With native kernels, probabilities are float32: an id differs from NumPy's only where the
    uniform number and a cumulative probability are equal to about 1e-6.

    Parameters
    ----------
    uniform
        `(N,)`, uniformly distributed from 0 to 1.
    temperature, top_k, top_p
        As for `probabilities`.
    kernels
        Native kernels, used for float32 logits without top-k and top-p.
    """
    native_rows = logits.dtype == np.float32 and logits.strides[1] == logits.itemsize
    if kernels is not None and native_rows and not top_k and top_p == 1 and temperature:
        return kernels.draw(logits, temperature, uniform)
    p = probabilities(logits, temperature, top_k, top_p)  # (N, V)
    cumulative = np.cumsum(p, axis=1)
    return (cumulative <= uniform[:, None] * cumulative[:, -1:]).sum(axis=1)


def penalise(logits, written: np.ndarray, penalty: float) -> np.ndarray:
    """Return logits `(N, V)` in which tokens already generated are less likely.

    The log-probability of each token in `written` is multiplied by `penalty` (Keskar et al. 2019,
    applied to log-probabilities because raw logits are defined only up to a constant).

    Parameters
    ----------
    written
        Ids `(N, tokens)`.
    penalty
        At least 1; 1 changes nothing.

    Raises
    ------
    InputError
        If the penalty is out of range.
    """
    if not 1 <= penalty <= HARDEST:
        raise InputError(f"`repetition_penalty` {penalty}: must be from 1 to {HARDEST:g}")
    if penalty == 1 or not written.size:
        return logits
    logits = log_softmax(logits)
    rows = np.arange(len(logits))[:, None]
    logits[rows, written] = penalty * logits[rows, written]
    return logits


def forbid_repeats(logits, written: np.ndarray, size: int) -> np.ndarray:
    """Return logits `(N, V)` in which a token that would repeat an n-gram is impossible.

    If that would exclude every token, the row stays unchanged.

    Parameters
    ----------
    written
        Ids `(N, tokens)`.
    size
        The n of the n-grams that may occur only once; 0 allows all.

    Raises
    ------
    InputError
        If the size is negative.
    """
    if size < 0:
        raise InputError(f"`no_repeat_ngram` {size}: must be at least 0")
    starts = written.shape[1] - size + 1  # number of n-grams so far
    if not size or starts < 1:
        return logits
    same = np.ones((len(written), starts), bool)
    for place in range(size - 1):  # in an n-gram without its last token
        last = written[:, starts + place, None]
        same &= written[:, place : place + starts] == last
    rows, places = np.nonzero(same)
    allowed = np.array(logits, np.float64)
    allowed[rows, written[rows, places + size - 1]] = -np.inf
    stuck = np.isinf(allowed).all(axis=1)
    allowed[stuck] = logits[stuck]
    return allowed


class Sampling(NamedTuple):
    """Parameters that choose tokens from logits, as for `sample`."""

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    greedy: bool = False
    repetition_penalty: float = 1.0
    no_repeat_ngram: int = 0
    exclude: Sequence[int] = ()

    @property
    def looks_back(self) -> bool:
        """Whether the tokens already generated have an effect."""
        return self.repetition_penalty != 1 or self.no_repeat_ngram != 0

    def check(self) -> None:
        """Check all parameters but `exclude`.

        Raises
        ------
        InputError
            If one is out of range, or has another type.
        """
        # greedy decoding ignores the temperature
        temperature = 1.0 if self.greedy else self.temperature
        rates = dict(
            temperature=temperature, top_p=self.top_p, repetition_penalty=self.repetition_penalty
        )
        check_rates(math.inf, **rates)
        check_integer("top_k", self.top_k)
        check_integer("no_repeat_ngram", self.no_repeat_ngram)
        nothing = np.empty((1, 0), int)
        probabilities([[0.0]], temperature, self.top_k, self.top_p)
        penalise([[0.0]], nothing, self.repetition_penalty)
        forbid_repeats([[0.0]], nothing, self.no_repeat_ngram)

    def choose(
        self, logits, written: np.ndarray, uniform, kernels: native.Kernels | None = None
    ) -> np.ndarray:
        """Return the next ids, `(N,)`.

        Parameters
        ----------
        logits
            `(N, V)`.
        written
            The ids already generated, `(N, tokens)`; used only if `looks_back`.
        uniform, kernels
            As for `draw`.
        """
        logits = without(logits, self.exclude)
        logits = penalise(logits, written, self.repetition_penalty)
        logits = forbid_repeats(logits, written, self.no_repeat_ngram)
        if self.greedy or not self.temperature:
            return logits.argmax(axis=1)
        return draw(logits, uniform, self.temperature, self.top_k, self.top_p, kernels)


def without(logits, exclude: Sequence[int]) -> np.ndarray:
    """Return logits `(N, V)` in which the ids `exclude` are impossible."""
    if not len(exclude):
        return logits
    allowed = np.array(logits)
    allowed[:, list(exclude)] = -np.inf
    return allowed


def check_excluded(exclude: Sequence[int], vocab_size: int) -> None:
    """Check the ids that must not be generated.

    Raises
    ------
    InputError
        If one is invalid, or none is left.
    """
    if not len(exclude):
        return
    if len(np.unique(check_ids(as_sequence(exclude), vocab_size))) == vocab_size:
        raise InputError("`exclude`: contains every token: at least one must be left")


def prime(stepper, prompt, streams: int = 1) -> np.ndarray:
    """Read the prompt into every stream, each token once.

    Returns
    -------
    numpy.ndarray
        The logits of the next token, `(streams, V)`.

    Raises
    ------
    InputError
        If the prompt is empty, or contains an invalid id.
    """
    prompt = as_sequence(prompt)
    if not len(prompt):
        raise InputError("the prompt is empty: it must have at least one token")
    for token in check_ids(prompt, stepper.vocab_size):
        logits = stepper.step(np.full(streams, token, np.int32))
    return logits


def fill_window(prompt, window: int | None) -> np.ndarray:
    """Return a prompt, repeated if it is too short for the model's window; its end stays last."""
    prompt = as_sequence(prompt)
    short = window is not None and 0 < len(prompt) < window
    return np.resize(prompt[::-1], (window or 0,))[::-1] if short else prompt


def sample(
    model,
    prompt,
    length: int,
    temperature: float = 1.0,
    top_k: int = 0,
    top_p: float = 1.0,
    greedy: bool = False,
    seed: int = 1,
    streams: int = 1,
    repetition_penalty: float = 1.0,
    no_repeat_ngram: int = 0,
    exclude: Sequence[int] = (),
) -> Iterator[np.ndarray]:
    """Continue a prompt, one token at a time.

    Parameters
    ----------
    prompt
        Ids `(tokens,)`, repeated if shorter than the model's window.
    length
        Number of tokens to generate.
    temperature, top_k, top_p
        As for `probabilities`.
    greedy
        Always choose the most likely token.
    seed
        Random seed; the same seed generates the same text (for native kernels, see `draw`). None: a
        different one at each call.
    streams
        Number of texts to generate in parallel.
    repetition_penalty, no_repeat_ngram
        As for `penalise` and `forbid_repeats`, applied to the tokens after the prompt.
    exclude
        Ids that are never generated, such as that of `<unk>`.

    Yields
    ------
    numpy.ndarray
        Ids `(streams,)` of the next tokens.

    Raises
    ------
    InputError
        If a parameter is out of range, before the first token is requested.
    """
    check_integer("length", length, 0)
    check_sizes(streams=streams)
    if seed is not None:
        check_integer("seed", seed, 0)
    penalties = repetition_penalty, no_repeat_ngram
    how = Sampling(temperature, top_k, top_p, greedy, *penalties, exclude)
    how.check()
    stepper = model.stepper(streams)
    check_excluded(exclude, stepper.vocab_size)
    logits = prime(stepper, fill_window(prompt, model.window), streams)  # (N, V)
    return _drawn(stepper, logits, length, how, seed)


def _drawn(stepper, logits, length, how, seed):
    """Yield the tokens of `sample` after logits `(N, V)`."""
    random, kernels, streams = np.random.default_rng(seed), native.load(), len(logits)
    written = np.empty((streams, 0), np.int32)
    for place in range(length):
        ids = how.choose(logits, written, random.random(streams), kernels)  # (N,)
        yield ids
        if how.looks_back:  # the length may be far more than is ever generated
            written = np.hstack([written, ids[:, None]])
        if place + 1 < length:
            logits = stepper.step(ids)


def beam_search(
    model, prompt, length: int, width: int, no_repeat_ngram: int = 0, exclude: Sequence[int] = ()
) -> tuple[np.ndarray, float]:
    """Find a likely continuation of a prompt by beam search.

    At each step, the `width` best of all one-token extensions of the beam are kept.

    Parameters
    ----------
    no_repeat_ngram
        As for `forbid_repeats`.
    exclude
        Ids that are never generated.

    Returns
    -------
    ids
        `(length,)`.
    likelihood
        Log-likelihood in nats.

    Raises
    ------
    InputError
        If a parameter is out of range, or the prompt is empty or contains an invalid id.
    """
    check_integer("length", length, 0)
    check_integer("width", width)
    check_integer("no_repeat_ngram", no_repeat_ngram, 0)
    if not 1 <= width <= WIDEST:
        raise InputError(f"`width` {width}: must be from 1 to {WIDEST:,}")
    stepper = model.stepper()
    check_excluded(exclude, stepper.vocab_size)
    logits = prime(stepper, fill_window(prompt, model.window))  # (1, V)
    texts, likelihood = np.empty((1, 0), np.int64), np.zeros((1, 1))
    for written in range(length):
        if written:
            logits = stepper.step(texts[:, -1])  # (width, V)
        scores = log_softmax(without(logits, exclude))
        total = likelihood + forbid_repeats(scores, texts, no_repeat_ngram)
        best = np.argsort(-total, axis=None, kind="stable")[:width]
        rows, ids = np.unravel_index(best, total.shape)
        stepper.select(rows)
        texts, likelihood = np.hstack([texts[rows], ids[:, None]]), total[rows, ids][:, None]
    return texts[0], float(likelihood[0, 0])
