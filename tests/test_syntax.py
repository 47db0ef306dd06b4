import ast

import pytest

from arcmix import syntax


def canonical(text: str) -> object:
    return syntax.canonical(ast.parse(text))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("x = 1\n", "# why\nx  =  (1)  # what\n", id="comment-and-layout"),
        pytest.param("x = 1\n", '"""New."""\nx = 1\n"""The value."""\n', id="docstrings"),
        pytest.param(
            'def f():\n    """Old."""\n    return 1\n', "def f():\n    return 1\n", id="function"
        ),
    ],
)
def test_the_canonical_form_ignores_comments_layout_and_docstrings(before: str, after: str) -> None:
    assert canonical(before) == canonical(after)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("x = 1\n", "x = 2\n", id="value"),
        pytest.param("x = 1\n", "x = True\n", id="type"),
        pytest.param("x = 'a'\n", "x = 'b'\n", id="string"),
        pytest.param("f(a, b)\n", "f(b, a)\n", id="order"),
        pytest.param("x = a < b\n", "x = a <= b\n", id="operator"),
    ],
)
def test_the_canonical_form_differs_if_the_code_differs(before: str, after: str) -> None:
    assert canonical(before) != canonical(after)
