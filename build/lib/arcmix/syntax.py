"""The canonical form of Python code: its syntax tree without comments, layout and docstrings.

Two texts with the same canonical form do the same.
"""

import ast


def canonical(node: object) -> object:
    """Return a syntax tree as lists, dicts and strings, without its docstrings.

    Empty fields are dropped, because versions of Python differ in which fields exist.

    Args:
        node: A node of the tree, or the value of one of its fields.
    """
    if isinstance(node, ast.AST):
        fields = {name: canonical(value) for name, value in ast.iter_fields(node)}
        return [type(node).__name__, {name: value for name, value in fields.items() if value}]
    if isinstance(node, list):
        return [canonical(item) for item in node if not is_docstring(item)]
    return None if node is None else repr(node)


def is_docstring(node: object) -> bool:
    """Return whether a node is a statement that consists of a string only."""
    match node:
        case ast.Expr(value=ast.Constant(value=str())):
            return True
    return False
