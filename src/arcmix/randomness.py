"""Random numbers by index: draw i is a function of (seed, purpose, i) and nothing else.

Philox (Salmon et al. 2011) is counter-based: any block of its stream can be had without
the blocks before it. So a sample is the same whatever the number of workers, the batch
size or the point at which a run was taken up again.
"""

import hashlib

import numpy as np

BLOCK = 4
"""Words of one Philox counter step."""


def words(seed: int, purpose: str, start: int, count: int, width: int) -> np.ndarray:
    """Return the random words of draws `start` to `start + count - 1`.

    Args:
        seed: The experiment's seed.
        purpose: What the words are for; each purpose has a stream of its own.
        start: First draw.
        count: Number of draws.
        width: Words of one draw; part of the identity of a stream.

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
    """Return a seed for all draws of one thing, such as a task, 0 to 2**64 - 1."""
    return int(words(seed, purpose, 0, 1, 1)[0, 0])


def uniform(words: np.ndarray) -> np.ndarray:
    """Return floats in [0, 1), of the shape of the words."""
    return (words >> np.uint64(11)) * 2.0**-53


def below(words: np.ndarray, limit: np.ndarray | int) -> np.ndarray:
    """Return int64 in [0, limit), of the shape of the words."""
    return (uniform(words) * limit).astype(np.int64)


def permutation(seed: int, purpose: str, index: int, length: int) -> np.ndarray:
    """Return permutation number `index` of `range(length)`, int64 of shape (length,)."""
    return np.argsort(words(seed, purpose, index, 1, length)[0], kind="stable")
