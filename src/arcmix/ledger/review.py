"""The review of a change of the ledger, of the results and of the table.

A row that the base has stays as it is. A new row has the code of the commit, a dataset, a model and
a scale of its `params.yaml`, and metrics that follow from its tasks and its history. The results
are those of the row of the committed run, and the table is that of all rows. All of this is in git,
so no data is needed.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from arcmix.ledger import comparison, records, verification
from arcmix.ledger.provenance import Problem
from arcmix.ledger.records import Row
from arcmix.ledger.results import Results
from arcmix.scoring import consistency, metrics
from arcmix.stats import shares

LIMIT = 3
"""Maximum number of differences that a problem names."""

DRAWN = ("model", "seed", "mix", "start")
"""Fields of a row that change the training, so that two rows with equal losses share them."""


@dataclass(frozen=True)
class Ledger:
    """The rows of the base and those of the commit."""

    base: Mapping[str, str]
    """Path in the ledger of each row of the base -> the text of its file."""
    head: Mapping[str, str]
    """The same of the commit."""
    folder: str
    """The path of the ledger."""
    code: str
    """Fingerprint of the commit's code."""

    @property
    def added(self) -> list[str]:
        """Paths of the rows that the base does not have."""
        return sorted({*self.head} - {*self.base})

    @property
    def removed(self) -> list[str]:
        """Paths of the rows that the base alone has."""
        return sorted({*self.base} - {*self.head})

    def place(self, path: str) -> str:
        """Return the path of a row in the repository."""
        return f"{self.folder}/{path}"

    def rows(self) -> dict[str, Row]:
        """Return path -> row of the commit's rows that can be read."""
        found = {path: _row(path, text) for path, text in sorted(self.head.items())}
        return {path: row for path, row in found.items() if row is not None}


def kept(ledger: Ledger) -> list[Problem]:
    """Return which rows of the base were edited or deleted.

    A row of other code than the commit's is in no comparison any more, so it may be deleted.
    """
    found = []
    for path, text in sorted(ledger.base.items()):
        row = _row(path, text)
        place = ledger.place(path)
        if path in ledger.head and ledger.head[path] != text:
            what = _differences(text, ledger.head[path])
            found.append(
                Problem(place, f"the row was edited: {what}; a row is never changed, so restore it")
            )
        elif path not in ledger.head and row is not None and row.code == ledger.code:
            found.append(Problem(place, "the row was deleted; the table needs it, so restore it"))
    return found


def added(ledger: Ledger, present: Mapping[str, Any], results: Results | None) -> list[Problem]:
    """Return what is wrong with the rows that the base does not have.

    Args:
        ledger: The rows.
        present: The values of `params.yaml` with their defaults merged (`schema.resolve`).
        results: The results of the committed run, if they can be read.
    """
    known = ledger.rows()
    found = []
    for path in ledger.added:
        place = ledger.place(path)
        if (row := known.get(path)) is None:
            found.append(Problem(place, _unreadable(place, ledger.head[path])))
            continue
        texts = [*_of_row(ledger, row), *_of_values(row, present)]
        if results is not None:
            texts += _of_tasks(row, results)
        texts += [
            f"has the losses of {other} with other {', '.join(fields)}: one is a copy of the other"
            + ("" if "seed" in fields else ", or both ran with equal content; keep one of them")
            for other, fields in _copied(path, known)
        ]
        found += [Problem(place, text) for text in texts]
    return found


def own(ledger: Ledger, results: Results) -> list[Problem]:
    """Return where the results contradict each other or the row of the committed run.

    If the base has the row, it is that of another run, such as one on another machine.
    """
    places = results.places
    texts = {
        places.metrics: [
            *consistency.problems(results.metrics, [*results.tasks.values()], results.history),
            *_of_rest(results),
        ],
        places.scores: [*_of_scores(results)],
        places.tasks: [*_of_clean(results)]
        if {*results.tasks} == {*results.measured}
        else [f"has other tasks than {places.partition}"],
    }
    found = [Problem(str(place), text) for place, own in texts.items() for text in own]
    rows = _own_rows(ledger, results)
    if not rows:
        text = "has no row of the run that params.yaml describes; run: make repro"
        return [*found, Problem(ledger.folder, text)]
    for path, row in rows.items():
        if path in ledger.added:
            found += [Problem(ledger.place(path), text) for text in _of_run(row, results)]
    return found


def elsewhere(ledger: Ledger, results: Results) -> list[str]:
    """Return the rows of the base that are of the committed run and have other numbers."""
    return [
        row.name
        for path, row in _own_rows(ledger, results).items()
        if path in ledger.base and (row.metrics != results.metrics or row.tasks != results.tasks)
    ]


def table(committed: Mapping[str, str], made: Mapping[str, str]) -> list[Problem]:
    """Return which files are not the table of the rows.

    Args:
        committed: Path -> the text of a file with the table.
        made: Path -> the text that the rows give.
    """
    return [
        Problem(path, f"is not the table of the rows: {_line(text, made[path])}; run: make repro")
        for path, text in committed.items()
        if text != made[path]
    ]


def readme(path: str, text: str, shown: str) -> list[Problem]:
    """Return whether a page lacks the committed table.

    Args:
        path: The page.
        text: Its content.
        shown: The table in Markdown.
    """
    if f"<!-- table -->\n{shown}<!-- end -->" in text:
        return []
    return [Problem(path, "the table in it is not the committed one; run: make readme")]


def _row(path: str, text: str) -> Row | None:
    """Return the row in a text; None if it cannot be read, or is at the path of another row."""
    try:
        row = records.parse(path, text)
    except ValueError:
        return None
    return row if row is not None and f"{row.name}.json" == path else None


def _unreadable(place: str, text: str) -> str:
    """Return why `_row` returned None."""
    try:
        row = records.parse(place, text)
    except ValueError as error:
        return str(error).removeprefix(f"{place}: ")
    if row is None:
        return f"has another format than version {records.VERSION}; {records.REMEDY}"
    return f"holds the row {row.name}: it was copied or renamed; remove the file"


def _of_row(ledger: Ledger, row: Row) -> Iterator[str]:
    """Yield what is wrong with a row by itself."""
    if row.code != ledger.code:
        yield (
            f"was made by the code {row.code}, and the commit has {ledger.code}; repeat its run"
            " with this code"
        )
    yield from consistency.problems(row.metrics, [*row.tasks.values()], row.history)
    if lacking := sorted({*verification.TABLES} - {*row.data}):
        yield f"names no address of {', '.join(lacking)}"
    if row.settings.get("metrics_version") != metrics.VERSION:
        yield f"metrics_version is {row.settings.get('metrics_version')}, not {metrics.VERSION}"


def _of_values(row: Row, present: Mapping[str, Any]) -> Iterator[str]:
    """Yield where a row contradicts `params.yaml`."""
    chosen = {"datasets": row.dataset, "models": row.model, "scales": row.scale}
    if lacking := [
        f"{place}.{name}" for place, name in chosen.items() if name not in present[place]
    ]:
        yield f"params.yaml has no {', '.join(lacking)}; add what the run was made with"
        return
    tables = [part["tasks"] for part in present["datasets"][row.dataset].values()]
    if (own := [part.get("tasks") for part in row.components]) != tables:
        yield f"its dataset is {own}, and datasets.{row.dataset} of params.yaml is {tables}"
    entry = present["models"][row.model]
    if any(row.settings["model"].get(name) != value for name, value in entry.items()):
        yield f"its model is not the one of models.{row.model} in params.yaml"


def _of_tasks(row: Row, results: Results) -> Iterator[str]:
    """Yield whether a row has other validation tasks than a run with the same values."""
    values = results.values
    same = row.settings["scale"].get("validation") == values["budgets"]["validation"] and all(
        row.settings[name] == values[name] for name in ("partition", "measure")
    )
    if same and (
        row.settings.get("validation_digest") != results.digest
        or {*row.tasks} != {*results.measured}
    ):
        yield "its validation tasks are not those of the committed run, which has the same values"


def _copied(path: str, known: Mapping[str, Row]) -> Iterator[tuple[str, list[str]]]:
    """Yield the rows with the losses of another row, and the fields in which the two differ."""
    row = known[path]
    for other, one in known.items():
        if other != path and row.trained and one.history == row.history:
            fields = [name for name in DRAWN if getattr(one, name) != getattr(row, name)]
            if fields:
                yield other, fields


def _own_rows(ledger: Ledger, results: Results) -> dict[str, Row]:
    """Return the rows of the committed run, or of the same run on another machine.

    Runs with the same values may differ in the adapter that they started from, and in the content
    of a model folder or of tasks that are not pinned. So those with the committed adapter come
    first, then those with the committed contents.
    """
    found = {path: row for path, row in ledger.rows().items() if _has_values(row, ledger, results)}
    for names in (("adapter",), ("model.json", "mix.json")):
        same = {
            path: row
            for path, row in found.items()
            if not {*names} & {Path(other).name for other, _, _ in _wrong_addresses(row, results)}
        }
        found = same or found
    return found


def _has_values(row: Row, ledger: Ledger, results: Results) -> bool:
    """Return whether a row is of a run with the committed code and values."""
    values = results.values
    version = results.metrics.get("metrics_version", 0)
    return (
        row.code == ledger.code
        and all(getattr(row, name) == values[name] for name in ("dataset", "model", "scale"))
        and row.seed == values["seed"]
        and row.components == [*values["components"].values()]
        and row.settings | {"model": _stated(row, values)}
        == records.settings_of(values, version, results.digest)
    )


def _stated(row: Row, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the model of a row as `params.yaml` states it, without the digest of its folder."""
    return {name: one for name, one in row.settings["model"].items() if name in values["base"]}


def _of_run(row: Row, results: Results) -> Iterator[str]:
    """Yield where the row of the committed run contradicts its results."""
    places = results.places
    if names := comparison.differing(row.metrics, results.metrics):
        shown = [
            f"{name} is {row.metrics.get(name)}, and {places.metrics} has"
            f" {results.metrics.get(name)}"
            for name in names[:LIMIT]
        ]
        yield "; ".join([*shown, *_more(names)])
    if row.tasks != results.tasks:
        yield f"its tasks are not those of {places.tasks}"
    if row.history != results.history:
        yield f"its history is not that of {places.history}"
    for path, given, address in _wrong_addresses(row, results):
        yield f"names {given} as the address of {path}, and dvc.lock has {address}"


def _wrong_addresses(row: Row, results: Results) -> Iterator[tuple[str, str, str | None]]:
    """Yield each file that a row has another address of than `dvc.lock`, and the two addresses."""
    named = {f"{name}.parquet": address for name, address in row.data.items()}
    named |= {"adapter": row.adapter}
    named |= {f"{stage}.json": _md5(fields) for stage, fields in row.machines.items()}
    # Stage `record` adds to the file what it knows of the sources.
    drawn = [
        {name: value for name, value in part.items() if name != "pinned"}
        for part in row.mix["components"]
    ]
    mix = {name: value for name, value in row.mix.items() if name != "sources"}
    named["mix.json"] = _md5(mix | {"components": drawn})
    stated = _stated(row, results.values)
    digest = {name: one for name, one in row.settings["model"].items() if name not in stated}
    named["model.json"] = _md5(digest)
    for path, address in results.reads.items():
        if (given := named.get(Path(path).name)) is not None and given != address:
            yield path, given, address


def _md5(values: Any) -> str:  # noqa: ANN401
    """Return the address of values as JSON (`files.write_json`)."""
    text = json.dumps(values, indent=1, sort_keys=True, allow_nan=False) + "\n"
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()


def _of_rest(results: Results) -> Iterator[str]:
    """Yield where the headline numbers contradict test-time fine-tuning."""
    expected = {
        "adapted_tasks": results.adapted.get("adapted", 0),
        "adapt_failed": results.adapted.get("failed", 0),
    }
    yield from consistency.contradictions(results.metrics, expected, "test-time fine-tuning gives")


def _of_clean(results: Results) -> Iterator[str]:
    """Yield the tasks of which the table and the audit do not agree whether they are clean."""
    for task, own in results.tasks.items():
        if bool(own["clean"]) == (task in {*results.seen}):
            yield f"clean of task {task} is {own['clean']}, but {results.places.audit} differs"


def _of_scores(results: Results) -> Iterator[str]:
    """Yield where the table of scores contradicts the headline numbers."""
    for name, own in results.scores.items():
        if name in results.metrics:
            expected = {"mean": results.metrics[name]}
            yield from (
                f"{name}: {text}"
                for text in consistency.contradictions(own, expected, "the headline number is")
            )
        low, high = shares.interval(min(1.0, max(0.0, own["mean"])), len(results.tasks))
        # The mean of the table has six digits.
        if abs(own["low"] - low) > 1e-5 or abs(own["high"] - high) > 1e-5:
            yield f"{name}: the interval of its mean is {low:.6g} to {high:.6g}"


def _differences(before: str, after: str) -> str:
    """Return in which values two texts of a row differ."""
    try:
        old, new = (dict(_leaves(json.loads(text))) for text in (before, after))
    except (ValueError, AttributeError):
        return "it is no JSON any more"
    names = [name for name in sorted({*old, *new}) if old.get(name) != new.get(name)]
    if not names:
        return "only its layout"
    shown = [f"{name} was {old.get(name)}, is {new.get(name)}" for name in names[:LIMIT]]
    return "; ".join([*shown, *_more(names)])


def _leaves(values: Any, place: str = "") -> Iterator[tuple[str, Any]]:  # noqa: ANN401
    if not isinstance(values, dict | list):
        yield place.removesuffix("."), values
        return
    items = values.items() if isinstance(values, dict) else enumerate(values)
    for name, value in items:
        yield from _leaves(value, f"{place}{name}.")


def _more(names: Sequence[str]) -> list[str]:
    return [f"and {len(names) - LIMIT} more"] if len(names) > LIMIT else []


def _line(found: str, expected: str) -> str:
    """Return the first line in which two texts differ."""
    lines = found.splitlines(), expected.splitlines()
    number = next(
        (at for at, (own, other) in enumerate(zip(*lines, strict=False)) if own != other),
        min(map(len, lines)),
    )
    return f"line {number + 1} differs"
