"""One seed for each purpose, so that no random stream has to be saved to resume exactly."""

import hashlib


def derive_seed(*parts) -> int:
    """Return a seed of 31 bits for one purpose, such as `derive_seed(run_seed, "step", 1234)`.

    It is a hash, because MXNet's streams of nearby seeds overlap: seed 2 is seed 1 shifted by 127.
    """
    digest = hashlib.sha256(repr(parts).encode()).digest()
    return int.from_bytes(digest[:4], "little") & 0x7FFFFFFF
