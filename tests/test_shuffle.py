"""Window orders: permutations, the same on every machine, as uniform as random ones."""

import math
import tracemalloc

import numpy as np
import pytest

from gluonlm.batchify.batches import WindowBatches
from gluonlm.batchify.shuffle import ORDERS, line_order, mixed_order
from gluonlm.system.seeds import derive_seed

WINDOW_LSTM = 540_711  # windows of the preset window-lstm: 90 % of nietzsche, 100 characters each


@pytest.mark.parametrize("order", ORDERS.values())
def test_orders_are_permutations_for_every_number_of_windows(order):
    for count in range(1, 601):
        windows = order(np.arange(count), count, 3, count)
        assert windows.dtype == np.int64, count
        assert sorted(windows) == list(range(count)), count
    for count in (65_536, 65_537, 99_991, 810_000, 1_000_000):
        seen = np.bincount(order(np.arange(count), count, 1, 2), minlength=count)
        assert len(seen) == count, count
        assert (seen == 1).all(), count


def test_the_orders_are_the_same_on_every_machine_and_in_every_version():
    places = np.arange(10)
    assert mixed_order(places, 1000, 1, 0).tolist() == [
        955, 118, 274, 905, 56, 392, 661, 530, 165, 792
    ]  # fmt: skip
    assert mixed_order(places, 1000, 1, 1).tolist() == [
        461, 662, 234, 326, 324, 777, 244, 197, 328, 745
    ]  # fmt: skip
    assert mixed_order(places[:5], 1024, 1, 0).tolist() == [955, 118, 274, 905, 56]
    far = mixed_order(np.array([0, 1, 10**12]), 10**12 + 39, 2**31 - 1, 7)
    assert far.tolist() == [937921014, 801003899730, 510880500041]
    # the order of version 0.1, with which old runs resume
    assert line_order(places, 1000, 1, 0).tolist() == [
        511, 118, 725, 332, 939, 546, 153, 760, 367, 974
    ]  # fmt: skip
    assert line_order(places[:5], 1155, 1, 0).tolist() == [591, 137, 838, 384, 1085]
    assert line_order(places[:5], 1155, 1, 3).tolist() == [16, 692, 213, 889, 410]
    batches = WindowBatches(np.arange(50, dtype=np.int32), 8, 3, seed=5, shuffle="line")
    assert batches(1, 0)[1].tolist() == [39, 7, 22, 37, 5, 20, 35, 3]
    assert batches(1, 5)[1].tolist() == [28, 43, 11, 26, 41, 9, 24]


@pytest.mark.parametrize("order", ORDERS.values())
def test_a_windows_position_does_not_depend_on_the_other_positions(order):
    whole = order(np.arange(700), 700, 4, 2)
    some = np.array([699, 0, 350, 350])
    assert order(some, 700, 4, 2).tolist() == whole[some].tolist()


def test_swapping_seed_and_epoch_changes_the_order():
    orders = [mixed_order(np.arange(5000), 5000, *key) for key in ((1, 2), (2, 1), (1, 3), (2, 2))]
    for number, one in enumerate(orders):
        for other in orders[:number]:
            assert (one == other).sum() < 12  # one on average


def stretches(windows, count):
    """Count the distinct stretches, of N equal ones, that contain N windows."""
    return len(np.unique(windows * len(windows) // count))


def is_mixed(windows, count):
    """Return whether N windows look random: within six standard deviations.

    N balls in N boxes leave N/e empty, with a variance of N (1/e - 2/e**2).
    """
    mean, sigma = 1 - 1 / math.e, math.sqrt(1 / math.e - 2 / math.e**2)
    share = stretches(windows, count) / len(windows)
    distances = len(np.unique(np.diff(windows) % count))
    return abs(share - mean) < 6 * sigma / math.sqrt(len(windows)) and (
        distances > 0.9 * (len(windows) - 1)
    )


@pytest.mark.parametrize("count", [WINDOW_LSTM, 18_019])
@pytest.mark.parametrize("batch_size", [32, 128])
def test_no_first_batch_consists_of_neighbours(batch_size, count):
    for seed in range(200):
        for epoch in range(20):
            key = derive_seed(seed, "shuffle"), epoch
            assert is_mixed(mixed_order(np.arange(batch_size), count, *key), count), key


def test_line_order_can_give_batches_of_neighbours():
    key = derive_seed(32, "shuffle"), 16
    windows = line_order(np.arange(128), WINDOW_LSTM, *key)
    assert sorted(windows) == list(range(18_220, 18_220 + 128 * 16, 16))
    assert stretches(windows, WINDOW_LSTM) == 1
    assert not is_mixed(windows, WINDOW_LSTM)
    assert is_mixed(mixed_order(np.arange(128), WINDOW_LSTM, *key), WINDOW_LSTM)
    # an order that is too even is not random either
    assert not is_mixed(np.arange(128) * (WINDOW_LSTM // 128), WINDOW_LSTM)


def excess(counts):
    """Return how many standard deviations a chi-square of these counts is above its mean."""
    mean, freedom = counts.mean(), counts.size - 1
    return (((counts - mean) ** 2 / mean).sum() - freedom) / math.sqrt(2 * freedom)


@pytest.mark.parametrize("count", [61, 601, WINDOW_LSTM])
def test_windows_and_their_distances_are_uniform(count):
    places = np.arange(min(count, 600))
    orders = np.array([mixed_order(places, count, 9, epoch) for epoch in range(1000)])
    boxes = 60  # divides both 60 and 600
    for place in (0, 1, -1):
        windows = orders[:, place] * boxes // count
        assert abs(excess(np.bincount(windows, minlength=boxes))) < 5
    distances = np.diff(orders, axis=1).ravel() % count - 1  # 0 .. count - 2, equally likely
    assert abs(excess(np.bincount(distances * boxes // (count - 1), minlength=boxes))) < 5
    absolute = np.abs(np.diff(orders, axis=1)).mean()
    assert absolute == pytest.approx((count + 1) / 3, rel=0.01)  # its mean for random positions


def test_an_epochs_order_is_not_stored_in_memory():
    batches = WindowBatches(np.zeros(4_000_000, np.int32), 128, 100, seed=1)
    tracemalloc.start()
    try:
        batches(3, 20_000)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000
