"""The order in which an epoch visits the windows of a text.

A shuffled list of all windows would take eight times the memory of the text. An order is therefore
a function that maps positions in the epoch to windows, one to one. Each function takes positions
`(N,)`, the number of windows, a seed and an epoch; results are the same on every machine.
"""

from __future__ import annotations

import math

import numpy as np

from ..system.seeds import derive_seed

ROUNDS = 8  # with 4, distances between neighbours are visibly uneven below about 600 windows


def mixed_order(places: np.ndarray, count: int, seed: int, epoch: int) -> np.ndarray:
    """Map positions in an epoch to windows, `(N,)`, int64, by a pseudorandom permutation.

    A Feistel network (Luby and Rackoff 1988) permutes the cells of a rectangle slightly larger
    than `count`. Results of at least `count` are permuted again until they are below it (the
    generalised Feistel cipher with cycle walking, Black and Rogaway 2002).
    """
    rows = math.isqrt(count - 1) + 1
    columns = -(-count // rows)  # fewer than `rows` extra cells, so few are permuted twice
    keys = [derive_seed("order", seed, epoch, number) for number in range(ROUNDS)]
    order = _feistel(np.asarray(places, np.uint64), rows, columns, keys)
    while (outside := order >= count).any():
        order[outside] = _feistel(order[outside], rows, columns, keys)
    return order.astype(np.int64)


def _feistel(cells: np.ndarray, rows: int, columns: int, keys: list[int]) -> np.ndarray:
    """Permute the cells of a rectangle by alternately shifting row and column by each other's hash.

    All integers are unsigned 64-bit integers. Shifts have 32 bits, so that no sum overflows, which
    would break the permutation.
    """
    height, width = np.uint64(rows), np.uint64(columns)
    row, column = np.divmod(cells, width)
    for first, second in zip(keys[::2], keys[1::2]):
        row = (row + _hash(column, first)) % height
        column = (column + _hash(row, second)) % width
    return row * width + column


def _hash(values: np.ndarray, key: int) -> np.ndarray:
    """Return a 32-bit hash of each value under 2**32.

    The hash is SplitMix64's mixer (Steele, Lea and Flood 2014) in Stafford's variant 13.
    """
    bits = values ^ np.uint64(key << 32)
    bits = (bits ^ (bits >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    bits = (bits ^ (bits >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return bits >> np.uint64(32)


def line_order(places: np.ndarray, count: int, seed: int, epoch: int) -> np.ndarray:
    """Map positions in an epoch to windows by a line modulo their number, `(N,)`, int64.

    Runs older than `mixed_order` resume with this order, so it must not change. New runs should
    not use it, because about 1.5 % of its slopes are so small that a batch reads neighbours.
    """
    random = np.random.default_rng([seed, epoch])
    slope = int(random.integers(count // 4, count)) | 1
    while math.gcd(slope, count) != 1:
        slope += 1
    return (np.asarray(places, np.int64) * slope + int(random.integers(count))) % count


ORDERS = {"mixed": mixed_order, "line": line_order}
