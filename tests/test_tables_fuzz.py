"""A fuzz of all tables and ledger rows: each change of a file is harmless or one clear error."""

import contextlib
import copy
import csv
import json
import math
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arcmix import files, machines, randomness, tasks
from arcmix.config import schema
from arcmix.ledger import form, records
from arcmix.machines import Machine
from arcmix.sampling import mix, partition, sample_table
from arcmix.scoring import evaluation
from arcmix.training import history, outcomes
from stages import ablation, audit, augment, evaluate, report
from stages import partition as split
from tests.answers import PLAIN, stored_candidate, write_candidates, write_history, write_scores
from tests.arc import component, dataset, task
from tests.rows import MACHINE, row, sealed
from tests.sampling.test_augment import make
from tools import compare, noise, score

ROOT = Path(__file__).parents[1]
TASKS = [
    *(task(f"0{number}", split="training") for number in range(3)),
    *(task(f"1{number}", test=1 + number % 2, split="evaluation") for number in range(4)),
]
TWO_VIEWS = PLAIN | {"views": 2}
VALUES: list[Any] = [
    math.nan,
    math.inf,
    -math.inf,
    -1,
    -1.5,
    0.5,
    10,
    2**31,
    2**40,
    2**63,
    1e308,
    True,
    None,
    "",
    "x",
    "0",
    "../../escaped",
    "/etc/passwd",
    "a|b\n# c <script>alert(1)</script> <!-- end --> $\\frac{1}$ {{ 7 * 7 }}",
    "=cmd|'/c calc'!A0",
    [],
    [1, 2],
    {},
    {"a": 1},
]
"""Values that replace another one."""

DAMAGES = ("empty", "truncated", "garbage", "flipped", "folder", "loose", "elsewhere", "missing")
"""Damages of a whole file."""


class Run:
    """The files of a run in a folder, and the programs that read them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, name: str) -> Path:
        return self.folder / "data" / name

    def out(self, name: str) -> Path:
        return self.folder / "out" / name

    def write(self) -> None:
        """Write all files, by the stages that write them where that is quick."""
        (self.folder / "data").mkdir(parents=True)
        self.path("code").write_text("c0de00000001\n")
        tasks.write(self.path("sources/arc-agi-1.parquet"), TASKS)
        self.partition()
        shutil.move(self.out("partition"), self.path("partition"))
        shutil.move(self.out("validation.parquet"), self.path("validation.parquet"))
        shutil.move(self.out("partition.json"), self.path("partition.json"))
        self.audit()
        shutil.move(self.out("audit.json"), self.path("audit.json"))
        self.augment()
        shutil.move(self.out("samples.parquet"), self.path("samples.parquet"))
        shutil.move(self.out("mix.json"), self.path("mix.json"))
        self.answer()
        self.evaluate()
        for name in ("metrics.json", "tasks.csv", "submission.json"):
            shutil.move(self.out(name), self.path(name))
        files.write_json(self.path("start.json"), row(start="re-arc/0-0123456789ab").start)
        files.write_json(self.path("tasks.json"), ["10", "11"])
        machines.write(self.path("machines.json"), Machine(**MACHINE))
        for seed in range(2):
            one = row(seed=seed, loss=0.6 + 0.1 * seed)
            fixed = sealed(one, settings=one.settings | {"init_seed": 0})
            records.write(self.path("ledger"), fixed)
            if seed == 0:
                records.write(self.path("own"), replace(fixed, tasks={}))

    def answer(self) -> None:
        """Write what the stages with a model would write."""
        asked = evaluation.truths(tasks.read(self.path("validation.parquet")))
        rows = [
            stored_candidate(*test, view, grid if view else None)
            for test, grid in asked.items()
            for view in range(2)
        ]
        write_candidates(self.path("candidates.parquet"), rows)
        rescored = [(*test, 0, view, -1.0 - view) for test in asked for view in range(2)]
        write_scores(self.path("scores.parquet"), rescored)
        losses = [(step, *test, 8.0 - step, 4) for step in (0, 3) for test in asked]
        columns = ["step", "task", "test", "nll", "tokens"]
        table = pa.table({name: [one[i] for one in losses] for i, name in enumerate(columns)})
        pq.write_table(table, self.path("losses.parquet"))
        # Those of the models that answer have step 0 only.
        pq.write_table(table.slice(0, len(asked)), self.path("answering-losses.parquet"))
        write_history(self.path("history.csv"), {0: (None, 2.0), 3: (0.9, 1.25)})
        done = outcomes.Outcome("adapted", "all steps done", 8, 6, 0.5, 0.25)
        failed = outcomes.Outcome("failed", "out of memory", 2, None, 0.5, None)
        rows = [outcomes.as_row("10", done, 1.5), outcomes.as_row("11", failed, 0.5)]
        outcomes.write(self.path("adapt.csv"), rows)

    def partition(self) -> None:
        values = {
            "partition": {"source": "arc-agi-1", "seed": 7, "tasks": 3},
            "measure": {"source": "arc-agi-1", "part": "validation"},
            "validation": {"tasks": 2, "max_tokens": 400},
        }
        split.run(
            config=split.Params.model_validate(values),
            sources=self.path("sources"),
            tables=self.out("partition"),
            validation=self.out("validation.parquet"),
            summary=self.out("partition.json"),
        )

    def audit(self) -> None:
        values = {"audit": {"drop": "none"}, "dataset": dataset(component("new-train"))}
        audit.run(
            config=audit.Params.model_validate(values),
            partition=self.path("partition"),
            sources=self.path("sources"),
            report=self.out("audit.json"),
        )

    def augment(self) -> None:
        parts = dataset(component("new-train"))
        values = {"seed": 0, "augment": make(), "dataset": parts, "samples": 5}
        augment.run(
            config=augment.Params.model_validate(values),
            partition=self.path("partition"),
            sources=self.path("sources"),
            audit=self.path("audit.json"),
            samples=self.out("samples.parquet"),
            mix_file=self.out("mix.json"),
        )

    def samples(self) -> None:
        pairs = [*sample_table.read_pairs(self.path("samples.parquet"))]
        entries = sample_table.read_entries(self.path("samples.parquet"))
        assert (
            len(pairs)
            == len(entries)
            == len(sample_table.read_rows(self.path("samples.parquet"), 9))
        )
        drawn = mix.read(self.path("mix.json"))
        files.write_json(self.out("seen.json"), mix.seen(drawn, entries))

    def evaluate(self) -> None:
        evaluate.run(
            config=evaluate.Params.model_validate({"selection": "product", "predict": TWO_VIEWS}),
            validation=self.path("validation.parquet"),
            candidates=self.path("candidates.parquet"),
            scores=self.path("scores.parquet"),
            losses=self.path("losses.parquet"),
            answering_losses=self.path("answering-losses.parquet"),
            history=self.path("history.csv"),
            adapt=self.path("adapt.csv"),
            audit=self.path("audit.json"),
            metrics=self.out("metrics.json"),
            all_metrics=self.out("scores.csv"),
            tasks=self.out("tasks.csv"),
            groups=self.out("groups.csv"),
            answers=self.out("submission.json"),
        )

    def report(self) -> None:
        names = {"dataset": "combo-v2", "model": "tiny", "scale": "tiny", "seed": 0}
        report.run(
            config=report.Params.model_validate(
                schema.load(ROOT / "params.yaml", report.Params).model_dump()
                | names
                | {"selection": "product", "predict": TWO_VIEWS}
            ),
            validation=self.path("validation.parquet"),
            candidates=self.path("candidates.parquet"),
            scores=self.path("scores.parquet"),
            table=self.path("tasks.csv"),
            metrics=self.path("metrics.json"),
            page=self.out("report.html"),
            figure=self.out("report.png"),
        )

    def record(self) -> None:
        """Read what stage `record` reads; tests/stages/test_record.py runs the stage."""
        found = {
            "metrics": evaluation.read_headline(self.path("metrics.json")),
            "tasks": [str(one) for one in evaluation.read_tasks(self.path("tasks.csv"))],
            "history": [str(one) for one in history.read(self.path("history.csv"))],
            "mix": mix.read(self.path("mix.json")),
            "start": form.read_start(self.path("start.json")),
            "digest": partition.read_digest(self.path("partition.json")),
            "machine": str(machines.read(self.path("machines.json"))),
            "own": outcomes.read_adapted(self.path("tasks.json")),
        }
        files.write_json(self.out("row.json"), found)

    def ledger(self) -> None:
        code, rows = self.path("code"), self.path("ledger")
        ablation.run(
            config=schema.load(ROOT / "params.yaml", ablation.Params),
            run_code=code,
            repository=self.folder,
            rows=rows,
            csv=self.out("ablation.csv"),
            markdown=self.out("ablation.md"),
            forest=self.out("ablation.png"),
            curves=self.out("loss.png"),
            page=self.out("study.html"),
        )
        compare.run(run_code=code, rows=rows, own=self.path("own"))

    def noise(self) -> None:
        noise.run(run_code=self.path("code"), rows=self.path("ledger"))

    def score(self) -> None:
        score.run(answers=[self.path("submission.json")], tasks=self.path("validation.parquet"))


READERS: dict[str, list[Callable[[Run], None]]] = {
    "sources/arc-agi-1.parquet": [Run.partition, Run.audit],
    "partition/part.parquet": [Run.audit],
    "partition/new-train.parquet": [Run.audit, Run.augment],
    "validation.parquet": [Run.evaluate, Run.score],
    "samples.parquet": [Run.samples],
    "mix.json": [Run.samples, Run.record],
    "audit.json": [Run.augment, Run.evaluate],
    "candidates.parquet": [Run.evaluate],
    "scores.parquet": [Run.evaluate],
    "losses.parquet": [Run.evaluate],
    "answering-losses.parquet": [Run.evaluate],
    "history.csv": [Run.evaluate, Run.record],
    "adapt.csv": [Run.evaluate],
    "tasks.csv": [Run.record],
    "metrics.json": [Run.record],
    "partition.json": [Run.record],
    "start.json": [Run.record],
    "tasks.json": [Run.record],
    "machines.json": [Run.record],
    "submission.json": [Run.score],
    "ledger": [Run.noise],
}
"""File -> the programs that read it."""

DRAWN = {"candidates.parquet": Run.report, "tasks.csv": Run.report, "ledger": Run.ledger}
"""File -> a program that draws it. Figures take time, so they are drawn for fewer changes."""


class Chooser:
    """Choices by index, of which each depends on its name and number alone."""

    def __init__(self, purpose: str, index: int) -> None:
        self.words = iter(randomness.words(0, f"fuzz/{purpose}", index, 1, 64)[0])

    def __call__(self, choices: Any) -> Any:
        found = [*choices]
        return found[int(next(self.words)) % len(found)]


def file_of(run: Run, name: str, choose: Chooser) -> Path:
    """Return the path of a file; `ledger` stands for a row of the ledger."""
    return (
        choose(sorted(run.path("ledger").rglob("*.json"))) if name == "ledger" else run.path(name)
    )


def damage(path: Path, choose: Chooser) -> str:
    """Damage a whole file."""
    kind = choose(DAMAGES)
    content = path.read_bytes()
    path.unlink()
    if kind == "folder":
        path.mkdir()
    elif kind == "loose":
        path.symlink_to(path.with_name("nowhere"))
    elif kind == "elsewhere":
        path.symlink_to("/etc/passwd")
    elif kind != "missing":
        cut = choose(range(len(content)))
        flipped = bytes([content[cut] ^ choose((1, 0x55, 0xFF))])
        changed = {
            "empty": b"",
            "truncated": content[:cut],
            "garbage": bytes(choose(range(256)) for _ in range(40)),
            "flipped": content[:cut] + flipped + content[cut + 1 :],
        }
        path.write_bytes(changed[kind])
    return kind


def change_json(path: Path, choose: Chooser) -> str:
    """Replace, remove, add or repeat a value in a JSON file."""
    root = [json.loads(path.read_text())]
    places = [*nodes(root)]
    node, key = choose(places)
    what = choose(("replaced", "replaced", "removed", "added", "repeated"))
    if what == "removed" and node is not root:
        del node[key]
    elif what == "added":
        target = node[key]
        if isinstance(target, dict):
            target[str(choose(VALUES))] = choose(VALUES)
        elif isinstance(target, list):
            target.append(choose(VALUES))
    elif what == "repeated" and isinstance(node, list) and node is not root:
        node.append(copy.deepcopy(node[key]))
    else:
        node[key] = choose(VALUES)
    path.write_text(json.dumps(root[0]))
    return f"{what} {key!r}"


def nodes(node: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each value of a JSON value as a container and a key in it."""
    for key, value in [*(node.items() if isinstance(node, dict) else enumerate(node))]:
        yield node, key
        if isinstance(value, dict | list):
            yield from nodes(value)


def change_table(table: list[dict[str, Any]], choose: Chooser) -> str:
    """Change a cell, a row or a column of a table in place."""
    what = choose(
        ("cell", "cell", "cell", "column", "dropped column", "dropped row", "repeated row")
    )
    number, name = choose(range(len(table))), choose(table[0])
    if what == "cell":
        value = table[number][name]
        if isinstance(value, list) and value and choose((True, False)):
            table[number][name] = [*value[:-1], choose(VALUES)]
        else:
            table[number][name] = choose(VALUES)
    elif what == "column":
        value = choose(VALUES)
        for line in table:
            line[name] = value
    elif what == "dropped column":
        for line in table:
            del line[name]
    elif what == "dropped row":
        del table[number]
    else:
        table.append(dict(table[number]))
    return f"{what} {name} of row {number}"


def change_parquet(path: Path, choose: Chooser) -> str:
    """Change a Parquet table; types change with the values if they do not fit."""
    before = pq.read_table(path)
    rows = before.to_pylist()
    what = change_table(rows, choose)
    names = [*rows[0]] if rows else before.column_names
    columns = {}
    for name in names:
        values = [line[name] for line in rows]
        kinds = [before.schema.field(name).type, None, pa.string()]
        if any(isinstance(one, dict) for one in values):
            kinds = [pa.string()]  # Parquet has no maps without fields
        for kind in kinds if choose((True, True, False)) else kinds[-2:]:
            with contextlib.suppress(pa.ArrowException, TypeError, OverflowError, ValueError):
                texts = [str(one) for one in values] if kind == pa.string() else values
                columns[name] = pa.array(texts, kind)
                break
    pq.write_table(pa.table(columns), path)
    return what


def change_csv(path: Path, choose: Chooser) -> str:
    """Change a CSV table."""
    with path.open(newline="") as opened:
        rows = [*csv.DictReader(opened)]
    names = [*rows[0]]
    what = change_table(rows, choose)
    with path.open("w", newline="") as opened:
        writer = csv.DictWriter(opened, [*rows[0]] if rows else names)
        writer.writeheader()
        writer.writerows(rows)
    return what


CHANGES = {".json": change_json, ".parquet": change_parquet, ".csv": change_csv}
"""Suffix of a file -> the function that changes a value in it."""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run whose files are whole."""
    run = Run(tmp_path_factory.mktemp("whole") / "run")
    run.write()
    return run.folder


def ours(error: BaseException) -> bool:
    """Return whether a `raise` of this repository raised an error, so that its text is ours."""
    last = error.__traceback__
    while last and last.tb_next:
        last = last.tb_next
    assert last is not None
    place = Path(last.tb_frame.f_code.co_filename)
    return any(place.is_relative_to(ROOT / folder) for folder in ("src", "stages", "tools"))


def outcome(run: Run, read: Callable[[Run], None]) -> str:
    """Return the error of a program in one line, or an empty text, after checks of both."""
    before = {path for path in run.folder.parent.rglob("*") if "out" not in path.parts}
    try:
        read(run)
    except OSError as error:
        found = str(error)
    except ValueError as error:
        if not ours(error):
            raise
        found = str(error)
    else:
        found = ""
        for path in sorted(run.folder.glob("out/*")):
            if path.suffix in (".json", ".csv", ".md", ".html"):
                text = path.read_text()
                assert not {"nan", "inf"} & {*text.lower().replace(",", " ").split()}
                assert "<script>alert" not in text
                assert "<!-- end -->" not in text
    after = {path for path in run.folder.parent.rglob("*") if "out" not in path.parts}
    assert after == before, "a program wrote somewhere else"
    return " ".join(found.split())


ROUNDS = 14
"""Number of changes of each file: of values, and every third time of the file as a whole."""


def changed(whole: Path, folder: Path, name: str, number: int) -> tuple[Run, Path, str]:
    """Return a copy of a run with a changed file, the file, and what was changed."""
    run = Run(folder / str(number) / "run")
    shutil.copytree(whole, run.folder, symlinks=True)
    choose = Chooser(name, number)
    path = file_of(run, name, choose)
    change = damage if number % 3 == 2 else CHANGES[path.suffix]
    return run, path, change(path, choose)


def check(run: Run, read: Callable[[Run], None], path: Path, what: str) -> bool:
    """Check the outcome of a program on a changed file, and return whether it was refused."""
    try:
        found = outcome(run, read)
    except Exception as error:
        error.add_note(f"{path}, {read.__name__}: {what}")
        raise
    if found:
        named = path.name in found or path.stem in found
        assert named or found.endswith("run: dvc repro"), f"{what}: {found}"
        assert len(found) < 1000, found
    return bool(found)


@pytest.mark.parametrize("name", READERS)
def test_a_changed_file_is_harmless_or_one_clear_error(
    whole: Path, tmp_path: Path, name: str
) -> None:
    refused = 0
    for number in range(ROUNDS):
        run, path, what = changed(whole, tmp_path, name, number)
        refused += sum(check(run, read, path, what) for read in READERS[name])
    assert refused


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_of_a_changed_file_is_drawn_or_one_clear_error(
    whole: Path, tmp_path: Path, name: str
) -> None:
    for number in range(ROUNDS, ROUNDS + 6):
        run, path, what = changed(whole, tmp_path, name, number)
        check(run, DRAWN[name], path, what)


ALL = dict.fromkeys([*(read for own in READERS.values() for read in own), *DRAWN.values()])
"""All programs, in order."""


@pytest.mark.parametrize("read", ALL)
def test_whole_files_are_not_refused(
    whole: Path, tmp_path: Path, read: Callable[[Run], None]
) -> None:
    shutil.copytree(whole, tmp_path / "run")
    read(Run(tmp_path / "run"))
