"""Integers in types that hold them.

numpy's `astype` keeps the low bits of an integer that does not fit, without an error. So only
`narrowed` casts to a smaller type, and only `index_type` chooses one for indices.
"""

import numpy as np


def narrowed(values: np.ndarray, dtype: type[np.integer]) -> np.ndarray:
    """Return integers in a smaller type.

    Args:
        values: Integers of any shape.
        dtype: The type.

    Raises:
        ValueError: If a value does not fit.
    """
    limits = np.iinfo(dtype)
    if values.size and (values.min() < limits.min or values.max() > limits.max):
        raise ValueError(
            f"integers from {values.min()} to {values.max()} do not fit into {limits.dtype}, which"
            f" holds {limits.min} to {limits.max}; reduce the sizes or the counts of the data"
        )
    return values.astype(dtype)


def index_type(*sizes: int) -> type[np.integer]:
    """Return the smaller type of indices into arrays of some sizes, int32 or int64.

    Memory bandwidth limits the speed of a gather with one index per cell, so int32 is faster.
    """
    return np.int32 if max(sizes) <= np.iinfo(np.int32).max else np.int64
