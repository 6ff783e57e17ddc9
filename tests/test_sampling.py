"""Sampling: exact distributions, and texts that follow them."""

import itertools

import mxnet as mx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from gluonlm.generate.sampling import beam_search, forbid_repeats, penalise, probabilities, sample
from gluonlm.models import RNNModel
from gluonlm.system.errors import InputError


@pytest.fixture(scope="module")
def model():
    return RNNModel("gru", 5, 4, (6,)).prepare([mx.cpu()], "uniform:2", 1)


def test_temperature_divides_the_logits():
    logits = np.log([[0.1, 0.2, 0.7]])
    np.testing.assert_allclose(probabilities(logits), [[0.1, 0.2, 0.7]])
    squared = np.array([0.01, 0.04, 0.49])
    np.testing.assert_allclose(probabilities(logits, 0.5), [squared / squared.sum()])


def test_top_k_keeps_exactly_k_and_breaks_ties_by_order():
    np.testing.assert_allclose(
        probabilities(np.log([[0.1, 0.2, 0.7]]), top_k=2), [[0, 2 / 9, 7 / 9]]
    )
    np.testing.assert_allclose(probabilities([[1.0, 1, 1, 0]], top_k=2), [[0.5, 0.5, 0, 0]])


def test_top_p_keeps_the_fewest_that_reach_p():
    logits = np.log([[0.1, 0.2, 0.3, 0.4]])
    np.testing.assert_allclose(probabilities(logits, top_p=0.6), [[0, 0, 3 / 7, 4 / 7]])
    np.testing.assert_allclose(probabilities(logits, top_p=0.39), [[0, 0, 0, 1]])
    np.testing.assert_allclose(probabilities(logits, top_p=1e-9), [[0, 0, 0, 1]])


@given(
    arrays(
        np.float32, st.tuples(st.integers(1, 3), st.integers(1, 8)), elements=st.integers(-50, 50)
    ),
    st.floats(1e-3, 1e3),
    st.integers(0, 10),
    st.floats(1e-6, 1),
)
def test_any_parameters_give_a_distribution_that_keeps_the_best(logits, temperature, top_k, top_p):
    chances = probabilities(logits, temperature, top_k, top_p)
    np.testing.assert_allclose(chances.sum(axis=1), 1)
    assert (chances >= 0).all()
    assert (chances.max(axis=1) == chances[np.arange(len(logits)), logits.argmax(axis=1)]).all()
    if top_k:
        assert ((chances > 0).sum(axis=1) <= top_k).all()


@pytest.mark.parametrize(
    "bad",
    [
        dict(temperature=1e-11),
        dict(temperature=-1),
        dict(temperature=float("nan")),
        dict(temperature=float("inf")),
        dict(top_k=-1),
        dict(top_p=0),
        dict(top_p=1.1),
        dict(top_p=float("nan")),
    ],
)
def test_parameters_out_of_range_are_refused(bad):
    ((name, value),) = bad.items()
    with pytest.raises(InputError, match=f"`{name}` {value}"):
        probabilities([[0.0, 1.0]], **bad)


def test_samples_follow_the_models_distribution(model):
    stepper = model.stepper()
    expected = probabilities(stepper.step([3]))[0]
    first = next(sample(model, [3], 1, streams=20_000))
    observed = np.bincount(first, minlength=5) / 20_000
    np.testing.assert_allclose(observed, expected, atol=4 * np.sqrt(0.25 / 20_000))


def test_the_same_seed_gives_the_same_text_and_each_token_is_read_once(model):
    texts = [np.array(list(sample(model, [1, 2], 30, seed=seed, streams=2))) for seed in (1, 1, 2)]
    assert (texts[0] == texts[1]).all()
    assert (texts[0] != texts[2]).any()
    entered = []

    class Watched:
        window = None

        def stepper(self, streams):
            inner, outer = model.stepper(streams), self
            outer.step_of = inner.step
            inner.step = lambda ids: (entered.append(int(ids[0])), outer.step_of(ids))[1]
            return inner

    written = [int(ids[0]) for ids in sample(Watched(), [1, 2], 5, greedy=True)]
    assert entered == [1, 2, *written[:-1]]


def test_greedy_sampling_is_the_limit_of_low_temperature(model):
    greedy = [int(i[0]) for i in sample(model, [0], 20, greedy=True)]
    cold = [int(i[0]) for i in sample(model, [0], 20, temperature=1e-4)]
    stepper, ids = model.stepper(), [0]
    for token in greedy:
        assert token == stepper.step(ids).argmax()
        ids = [token]
    assert greedy == cold


def test_a_wide_beam_finds_the_likeliest_text(model):
    def likelihood(text):
        stepper, total, token = model.stepper(), 0.0, 2
        for following in text:
            total += np.log(probabilities(stepper.step([token]))[0, following])
            token = following
        return total

    best = max(itertools.product(range(5), repeat=4), key=likelihood)
    found, value = beam_search(model, [2], 4, 125)
    assert tuple(found) == best
    assert value == pytest.approx(likelihood(best), abs=1e-5)
    narrow, value = beam_search(model, [2], 4, 1)
    assert list(narrow) == [int(i[0]) for i in sample(model, [2], 4, greedy=True)]
    assert value <= likelihood(best) + 1e-6


def test_an_empty_prompt_and_a_beam_of_zero_are_refused(model):
    with pytest.raises(InputError, match="prompt"):
        next(sample(model, [], 1))
    with pytest.raises(InputError, match="`width` 0"):
        beam_search(model, [1], 1, 0)


def test_top_p_is_reached_exactly_where_the_sum_equals_it():
    even = np.zeros((1, 4))  # four tokens of 1/4 each: sums are exact
    assert probabilities(even, top_p=0.5).tolist() == [[0.5, 0.5, 0, 0]]
    assert probabilities(even, top_p=0.5000001).tolist() == [[1 / 3, 1 / 3, 1 / 3, 0]]


def test_the_end_of_a_prompt_fills_a_models_window():
    entered = []

    class Windowed:
        window = 5

        def stepper(self, streams):
            self.vocab_size = 9
            return self

        def step(self, ids):
            entered.append(int(ids[0]))
            return np.zeros((1, 9))

    for prompt, expected in (([1, 2, 3], [2, 3, 1, 2, 3]), ([4], [4] * 5), (range(7), range(7))):
        entered.clear()
        list(sample(Windowed(), np.array(prompt), 1))
        assert entered == list(expected)


def test_the_penalty_multiplies_the_log_probability_of_generated_tokens():
    logits = np.log([[0.1, 0.2, 0.7], [0.1, 0.2, 0.7]]) + 5  # shifting the logits has no effect
    chances = probabilities(penalise(logits, np.array([[2, 2, 0], [1, 1, 1]]), 2.0))
    expected = np.array([[0.01, 0.2, 0.49], [0.1, 0.04, 0.7]])
    np.testing.assert_allclose(chances, expected / expected.sum(axis=1, keepdims=True))
    assert penalise(logits, np.empty((2, 0), int), 2.0) is logits
    for bad in (0.99, float("nan"), 1e7):
        with pytest.raises(InputError, match="repetition_penalty"):
            penalise(logits, np.empty((2, 0), int), bad)


def test_a_token_that_would_repeat_an_ngram_is_impossible():
    logits = np.arange(12.0).reshape(3, 4)
    written = np.array([[0, 1, 2, 0, 1], [3, 3, 3, 3, 3], [0, 1, 2, 3, 2]])
    ruled_out = [[2], [3], [3]]
    for size, expected in (
        (3, [[2], [3], []]),
        (2, ruled_out),
        (1, [[0, 1, 2], [3], [0, 1, 2, 3]]),
    ):
        found = np.isinf(forbid_repeats(logits, written, size))
        # if no token is left, all are allowed
        assert [np.flatnonzero(row).tolist() for row in found] == (
            [ids if len(ids) < 4 else [] for ids in expected]
        )
    assert forbid_repeats(logits, written, 0) is forbid_repeats(logits, written, 6) is logits
    with pytest.raises(InputError, match="no_repeat_ngram"):
        forbid_repeats(logits, written, -1)


def ngrams(text, size):
    return [tuple(text[i : i + size]) for i in range(len(text) - size + 1)]


def test_sampled_and_beam_texts_do_not_repeat_ngrams(model):
    plain = [int(ids[0]) for ids in sample(model, [1], 24, greedy=True)]
    assert len(set(ngrams(plain, 3))) < 22
    for streams in (1, 3):
        drawn = np.array([*sample(model, [1], 24, streams=streams, no_repeat_ngram=3)])  # (24, N)
        assert all(len(set(ngrams(column.tolist(), 3))) == 22 for column in drawn.T)
    for width in (1, 4):
        found, likelihood = beam_search(model, [1], 24, width, no_repeat_ngram=2)
        assert len(set(ngrams(found.tolist(), 2))) == 23
        assert np.isfinite(likelihood)
    assert beam_search(model, [1], 6, 2, 6)[0].tolist() == beam_search(model, [1], 6, 2)[0].tolist()


def test_a_penalty_makes_texts_more_varied(model):
    plain, varied = (
        [int(ids[0]) for ids in sample(model, [1], 40, greedy=True, repetition_penalty=penalty)]
        for penalty in (1.0, 100.0)
    )
    assert len(set(varied)) > len(set(plain))


@pytest.mark.parametrize("how", [dict(no_repeat_ngram=3), dict(repetition_penalty=1.5), {}])
@pytest.mark.parametrize("length", [10**12, 10**30])
def test_the_length_of_a_text_takes_no_memory_in_advance(length, how, model):
    texts = [sample(model, [0], length, seed=2, **how), sample(model, [0], 9, seed=2, **how)]
    assert list(itertools.islice(texts[0], 9)) == list(texts[1])
