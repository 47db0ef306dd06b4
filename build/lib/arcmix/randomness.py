"""Random numbers by index: draw i depends only on (seed, purpose, i).

Philox (Salmon et al. 2011) is counter-based: it computes any block of its stream without the
preceding blocks. So a sample does not depend on the number of workers, the batch size or the
point from which a run was resumed.
"""

import hashlib

import numpy as np

BLOCK = 4
"""Number of words per counter step of Philox."""


def words(seed: int, purpose: str, start: int, count: int, width: int) -> np.ndarray:
    """Return the random words of draws `start` to `start + count - 1`.

    Args:
        seed: The experiment's seed.
        purpose: Name of the stream; streams of different purposes are independent.
        start: Index of the first draw.
        count: Number of draws.
        width: Number of words per draw; different widths use different streams.

    Returns:
        uint64, (count, width).
    """
    blocks = -(-width // BLOCK)
    key = hashlib.sha256(f"{seed}/{purpose}/{width}".encode()).digest()[:16]
    stream = np.random.Philox(
        key=np.frombuffer(key, np.uint64), counter=np.array([start * blocks, 0, 0, 0], np.uint64)
    )
    raw = stream.random_raw(count * blocks * BLOCK)
    return raw.reshape(count, blocks * BLOCK)[:, :width]


def derived(seed: int, purpose: str) -> int:
    """Derive a seed from 0 to 2**64 - 1 for one purpose, such as a task."""
    return int(words(seed, purpose, 0, 1, 1)[0, 0])


def uniform(words: np.ndarray) -> np.ndarray:
    """Convert words to floats in [0, 1) of the same shape."""
    return (words >> np.uint64(11)) * 2.0**-53


def below(words: np.ndarray, limit: np.ndarray | int) -> np.ndarray:
    """Convert words to int64 in [0, limit) of the same shape."""
    return (uniform(words) * limit).astype(np.int64)


def permutation(seed: int, purpose: str, index: int, length: int) -> np.ndarray:
    """Return permutation number `index` of `range(length)`, int64 of shape (length,)."""
    return np.argsort(words(seed, purpose, index, 1, length)[0], kind="stable")
