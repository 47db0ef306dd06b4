"""The values in which runs differ, as texts that tell them apart in the ablation table.

A value has the name of its default in `params.yaml`, which is also how `dvc exp run -S` names it:
`selection=vote_count, finetune.learning_rate=0.02`.
"""

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from arcmix.ledger.records import Row

SHORT = 7
"""Number of digits of an abbreviated hash."""

LIMIT = 6
"""Maximum number of values that a text names."""

LONGEST = 40
"""Maximum number of characters of a value; a longer one is cut."""

HASH = re.compile("[0-9a-f]{12,}(.dir)?")
"""Pattern of a hash, which is abbreviated."""

UNSAFE = re.compile(r"[^A-Za-z0-9_ .,:/@%+=()\[\]-]")
"""Pattern of a character that may have a meaning in Markdown or HTML; rows come from strangers."""

DERIVED = ("validation_digest", "metrics_version")
"""Settings that follow from other values, or from the code."""


@dataclass(frozen=True)
class _Described:
    """What made a run."""

    values: Mapping[str, Any]
    """Name -> a value that a user chose."""
    rest: Mapping[str, Any]
    """Name -> a value that follows from these, or a hash; named only where they do not differ."""


def apart(
    rows: Sequence[Row],
    name: Callable[[Row], str],
    tell: Callable[[Sequence[Row]], Sequence[str]],
) -> list[str]:
    """Return for each row what tells it apart from the rows of its name, in brackets.

    Args:
        rows: The rows.
        name: Returns the name of a row. Where no other row has it, the text is empty.
        tell: Returns the texts of rows with the same name: `of_settings` or `of_runs`.
    """
    alike = defaultdict(list)
    for row in rows:
        alike[name(row)].append(row)
    texts = {
        id(row): text for own in alike.values() for row, text in zip(own, tell(own), strict=True)
    }
    return [f" ({text})" if (text := texts[id(row)]) else "" for row in rows]


def of_settings(rows: Sequence[Row]) -> list[str]:
    """Return for each row the settings in which it differs from the others.

    Args:
        rows: Rows with different settings.

    Returns:
        The texts, no two of them equal; an empty one for a single row.
    """
    return _texts([_settings(row) for row in rows])


def of_runs(rows: Sequence[Row]) -> list[str]:
    """Return for each row everything but the seed in which it differs from the others.

    Args:
        rows: Rows with different fingerprints.

    Returns:
        The texts, no two of them equal; an empty one for a single row.
    """
    return _texts([_run(row) for row in rows])


def _settings(row: Row) -> _Described:
    chosen = {name: value for name, value in row.settings.items() if name not in DERIVED}
    # A section of a scale has the name of its defaults.
    values = dict(_leaves(chosen.pop("scale") | chosen))
    derived = {name: row.settings.get(name) for name in DERIVED}
    return _Described(values, derived | {"settings": row.settings_fingerprint})


def _run(row: Row) -> _Described:
    settings = _settings(row)
    drawn = row.mix["components"]
    tables = {one["table"]: own for one, own in zip(drawn, row.components, strict=False)}
    chosen = {"tables": [one["table"] for one in drawn], "init": row.start, **tables}
    values = dict(_leaves(chosen))
    data = {f"data of {one['table']}": one["digest"] for one in drawn}
    rest = {"code": row.code, **data, **settings.rest, "run": row.fingerprint}
    return _Described({**values, **settings.values}, rest)


def _leaves(values: Mapping[str, Any], place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the place of each value that is no map, and the value."""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{place}{name}.")
        else:
            yield f"{place}{name}", value


def _texts(rows: Sequence[_Described]) -> list[str]:
    names = _differing([row.values for row in rows])
    texts = [[_text(name, row.values[name]) for name in names[:LIMIT]] for row in rows]
    if len(names) > LIMIT:
        for text in texts:
            text.append(f"{len(names) - LIMIT} more")
    for name in _differing([row.rest for row in rows]):
        if len({*map(tuple, texts)}) == len(rows):
            break
        for text, row in zip(texts, rows, strict=True):
            text.append(_text(name, row.rest[name]))
    return [", ".join(text) for text in texts]


def _differing(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the names that all rows have, and whose values differ."""
    return [
        name
        for name in rows[0]
        if all(name in row for row in rows)
        and len({json.dumps(row[name], sort_keys=True) for row in rows}) > 1
    ]


def _text(name: str, value: Any) -> str:  # noqa: ANN401
    """Return a name and a JSON value as on a command line, without unsafe characters."""
    text = value if isinstance(value, str) else json.dumps(value).replace('"', "")
    if HASH.fullmatch(text):
        text = text[:SHORT]
    elif len(text) > LONGEST:
        text = f"{text[: LONGEST - 3]}..."
    return UNSAFE.sub("?", f"{name}={text}")
