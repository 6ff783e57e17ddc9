"""A seed for each purpose, so that resuming exactly requires no saved random states."""

import hashlib


def derive_seed(*parts) -> int:
    """Return a 31-bit seed for one purpose, such as `derive_seed(run_seed, "step", 1234)`.

    The seed is a hash, because MXNet's random streams of nearby seeds overlap: the stream of seed 2
    is the stream of seed 1 shifted by 127.
    """
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:4], "little") & 0x7FFFFFFF
