import ast
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from arcmix import integers

SOURCES = [*(Path(__file__).parents[1] / "src").rglob("*.py")]
SMALL = {f"np.{kind}{bits}" for kind in ("int", "uint") for bits in (8, 16, 32)}
SMALL |= {"np.float16", "np.float32"}
NARROW = [np.uint8, np.int16, np.int32, np.int64]


@given(
    arrays.arrays(np.int64, st.integers(0, 4), elements=st.integers(-(2**40), 2**40)),
    st.sampled_from(NARROW),
)
def test_a_cast_keeps_every_value_or_is_refused(values, dtype):
    limits = np.iinfo(dtype)
    if all(limits.min <= value <= limits.max for value in values.tolist()):
        found = integers.narrowed(values, dtype)
        assert found.dtype == dtype
        assert found.tolist() == values.tolist()
    else:
        with pytest.raises(ValueError, match=f"do not fit into {limits.dtype}, which holds"):
            integers.narrowed(values, dtype)


@given(st.lists(st.integers(0, 2**40), min_size=1))
def test_an_index_type_holds_all_indices_and_is_small_where_that_suffices(sizes):
    dtype = integers.index_type(*sizes)
    assert max(sizes) <= np.iinfo(dtype).max
    assert (dtype is np.int32) == (max(sizes) < 2**31)


def test_no_other_module_casts_to_a_smaller_type():
    found = [
        f"{path.name}:{call.lineno} {ast.unparse(call)}"
        for path in SOURCES
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Attribute)
        # `np.array` and `np.full` raise an error themselves for Python integers that do not fit.
        and call.func.attr in ("astype", "view", "arange", "cumsum", "sum", "prod")
        and SMALL & {ast.unparse(value) for value in [*call.args, *map(_value, call.keywords)]}
    ]
    assert found == []


def _value(keyword):
    return keyword.value
