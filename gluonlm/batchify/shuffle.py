"""The order in which an epoch visits the windows of a text.

A list of all windows in random order would take eight times the memory of the text. So an order
is a function that maps places in the epoch to windows, one to one. Each takes the places `(N,)`,
the number of windows, a seed and an epoch, and is the same on every machine.
"""

from __future__ import annotations

import math

import numpy as np

from ..system.seeds import derive_seed

ROUNDS = 8  # with 4 the distance between neighbours is visibly uneven under about 600 windows


def mixed_order(places: np.ndarray, count: int, seed: int, epoch: int) -> np.ndarray:
    """Map places in an epoch to windows, `(N,)`, int64, as a random permutation would.

    A Feistel network (Luby and Rackoff 1988) permutes the cells of a rectangle a little larger
    than `count`; whatever leaves `count` goes through it again until it is back (the generalised
    Feistel cipher with cycle walking, Black and Rogaway 2002).
    """
    rows = math.isqrt(count - 1) + 1
    columns = -(-count // rows)  # fewer than `rows` cells too many: hardly any go through twice
    keys = [derive_seed("order", seed, epoch, number) for number in range(ROUNDS)]
    order = _feistel(np.asarray(places, np.uint64), rows, columns, keys)
    while (outside := order >= count).any():
        order[outside] = _feistel(order[outside], rows, columns, keys)
    return order.astype(np.int64)


def _feistel(cells: np.ndarray, rows: int, columns: int, keys: list[int]) -> np.ndarray:
    """Permute the cells of a rectangle: shift row and column by a hash of the other, alternating.

    All integers are unsigned and of 64 bits, on every machine. No sum wraps around, because a
    shift has 32 bits: a sum that did would not be one to one.
    """
    height, width = np.uint64(rows), np.uint64(columns)
    row, column = np.divmod(cells, width)
    for first, second in zip(keys[::2], keys[1::2]):
        row = (row + _hash(column, first)) % height
        column = (column + _hash(row, second)) % width
    return row * width + column


def _hash(values: np.ndarray, key: int) -> np.ndarray:
    """Return 32 random-looking bits of each value under 2**32, by SplitMix64's mixer.

    (Steele, Lea and Flood 2014, in the variant 13 of Stafford.)
    """
    bits = values ^ np.uint64(key << 32)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits >> np.uint64(32)


def line_order(places: np.ndarray, count: int, seed: int, epoch: int) -> np.ndarray:
    """Map places in an epoch to windows by a line modulo their number, `(N,)`, int64.

    Runs from before `mixed_order` resume with it, so it must stay the same bit for bit. No new
    run should use it: about 1.5 % of its slopes are so small that a batch reads neighbours.
    """
    random = np.random.default_rng([seed, epoch])
    slope = int(random.integers(count // 4, count)) | 1
    while math.gcd(slope, count) != 1:
        slope += 1
    return (np.asarray(places, np.int64) * slope + int(random.integers(count))) % count


ORDERS = {"mixed": mixed_order, "line": line_order}
