"""A run killed at any call that changes a file or folder continues bit for bit."""

import numpy as np
import pytest
from runs import assert_same_end
from test_resume import kill_and_finish, whole  # noqa: F401  a fixture

CALLS = 400  # more than a complete training in these tests


def kills_survived(number, seed, whole, text_file, tmp_path, command):  # noqa: F811
    random, kills, run = np.random.default_rng(seed), 0, tmp_path / "run"
    while kills < number:
        # mostly early, because a training makes only a few hundred calls
        calls = 1 + (random.integers(CALLS, size=4) * random.random(4) ** 2).astype(int)
        kills += kill_and_finish([("call", int(c)) for c in calls], text_file, run, command)
        assert_same_end(run, whole)
        run = tmp_path / f"run{kills}"
    return kills


@pytest.mark.long
def test_three_kills_at_random_calls(whole, text_file, tmp_path, command):  # noqa: F811
    assert kills_survived(3, 5, whole, text_file, tmp_path, command) >= 3


@pytest.mark.full
def test_a_hundred_kills_at_random_calls(whole, text_file, tmp_path, command):  # noqa: F811
    kills = kills_survived(100, 6, whole, text_file, tmp_path, command)
    print(f"{kills} kills at calls of the file system, each run bit-identical")
    assert kills >= 100
