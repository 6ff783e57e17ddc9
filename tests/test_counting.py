"""Tables of counts give the losses that counting by hand gives."""

import numpy as np
import pytest

from gluonlm.evaluate.counting import counting_losses


def by_hand(train, ids, vocab_size, context, k):
    """Return the losses from dictionaries of tuples, one place at a time."""
    losses = []
    for place in range(1, len(ids)):
        p = 1 / vocab_size
        for n in range(min(context, place) + 1):
            run = tuple(ids[place - n : place + 1])
            runs = [tuple(train[i - n : i + 1]) for i in range(n, len(train))]
            p = (runs.count(run) + k * p) / (sum(each[:-1] == run[:-1] for each in runs) + k)
        losses.append(-np.log(p))
    return losses


@pytest.mark.parametrize("context", [0, 1, 2, 5])
@pytest.mark.parametrize("k", [0.5, 40])
def test_the_losses_are_those_of_counting_by_hand(context, k):
    random = np.random.default_rng(1)
    train, ids = random.integers(3, size=60), random.integers(4, size=20)  # 3 is new
    expected = by_hand(train.tolist(), ids.tolist(), 4, context, k)
    assert np.allclose(counting_losses(train, ids, 4, context, k), expected)


def test_a_table_of_one_character_of_context():
    losses = counting_losses(np.array([0, 1, 0, 1, 0]), np.array([0, 1, 1]), 2, context=1, k=1)
    once = [(3 + 0.5) / 6, (2 + 0.5) / 6]  # 0 and 1, without context
    assert np.allclose(np.exp(-losses), [(2 + once[1]) / 3, (0 + once[1]) / 3])


def test_long_runs_over_a_large_vocabulary_do_not_overflow():
    ids = np.random.default_rng(3).integers(50_000, size=80)
    losses = counting_losses(ids, ids, 50_000, context=20, k=0.01)
    assert np.allclose(losses[20:], 0, atol=0.05)  # 50,000**21 runs, each seen once


def test_predictions_of_all_ids_add_up_to_one():
    train = np.random.default_rng(2).integers(5, size=100)
    texts = [np.array([1, 2, 3, last]) for last in range(5)]
    p = [np.exp(-counting_losses(train, text, 5, context=3)[-1]) for text in texts]
    assert np.isclose(sum(p), 1)
