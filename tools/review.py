"""Review a change of results: the comment on a pull request, and whether it is refused.

Compares the files of the repository with the last commit that they share with the revision `base`.
Ends with status 1 if a result does not belong to the code and to the values. No data is needed.
Where DVC's cache has the tables of a new row, its numbers are computed again from them.
"""

import subprocess
import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from arcmix import checked, files, fingerprints, program
from arcmix.config import check, overrides, schema
from arcmix.ledger import comment, commits, provenance, review, store, summary, table, verification
from arcmix.ledger import results as run_results
from arcmix.ledger.comment import Change
from arcmix.ledger.provenance import Problem
from arcmix.ledger.results import Places, Results
from arcmix.ledger.review import Ledger
from arcmix.pages import study
from stages import record

HERE = Path()
"""The repository: the program starts in it, and its paths are relative."""


def run(  # noqa: PLR0913 - a program's arguments are its files
    *,
    config: record.Params,
    base: str,
    file: Path,
    library: Path,
    programs: Path,
    code_folder: Path,
    results: Path,
    rows: Path,
    page: Path,
    out: Path,
) -> None:
    """Write the review of the repository against the revision `base` to `out`, and print it."""
    fork = _output("git", "merge-base", base, "HEAD").strip()
    baselines = check.check_file(file).ablation.baseline
    _, present = schema.resolved(file)
    own = fingerprints.fingerprints(fingerprints.programs(programs), library)
    ledger = Ledger(
        base=store.texts_at(HERE, fork, str(rows)),
        head={str(one.relative_to(rows)): _text(one) for one in sorted(rows.glob("*/*.json"))},
        folder=str(rows),
        code=own["all"],
    )
    stages = store.recorded(HERE)
    fingerprinted = {str(code_folder / name): one for name, one in own.items()}
    commit = _commit(stages, fingerprinted, [str(library), str(programs)], fork)
    problems = [*provenance.problems(stages, commit), *review.kept(ledger)]
    reads = next((stage.reads for stage in stages if stage.name == overrides.RECORD), {})
    found = None
    try:
        found = run_results.read(_places(results), config.model_dump(mode="json"), reads)
        problems += review.own(ledger, found)
    except ValueError as error:
        path, _, text = str(error).partition(": ")
        problems.append(Problem(path, text))
    problems += review.added(ledger, present, found)
    if not any(_has([problem.place], str(rows)) for problem in problems):
        problems += _table(ledger, baselines, results)
    problems += review.readme(str(page), _text(page), _text(results / "ablation.md"))
    changes, wrong = _changes(ledger, found)
    before = _output("git", "show", f"{fork}:{results / 'ablation.csv'}", needed=False)
    done = comment.Review(
        title=f"Against `{fork[:12]}`, the last commit shared with the base.",
        problems=[*problems, *wrong],
        notes=_notes(ledger, found, library, programs, fork),
        changes=changes,
        verdicts=comment.verdicts(before, _text(results / "ablation.csv")),
        metrics=_output(sys.executable, "-m", "dvc", "metrics", "diff", fork[:12]),
        values=_output(sys.executable, "-m", "dvc", "params", "diff", fork[:12]),
    )
    text = comment.as_markdown(done, present)
    files.write_text(out, text)
    sys.stdout.write(text)
    if done.problems:
        sys.exit(1)


def _output(*command: str, needed: bool = True) -> str:
    """Return what a command prints; empty if it fails and is not needed."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode and needed:
        raise ValueError(
            f"{' '.join(command)} ended with {done.returncode}: {done.stderr.strip()}; the base"
            " is a revision that this repository has: make review BASE=main"
        )
    return "" if done.returncode else done.stdout


def _text(path: Path) -> str:
    """Return the text of a file; empty if there is none, which DVC's entries tell."""
    return checked.read_text(path, "run: make repro") if path.exists() else ""


def _commit(
    stages: Sequence[store.Recorded], code: dict[str, str], programs: list[str], fork: str
) -> provenance.Commit:
    """Return the results that git tracks, the fingerprints of the code, and what changed."""
    tracked = _output("git", "ls-files", "-z").split("\0")
    changed = _output("git", "diff", "--name-only", "-z", fork).split("\0")
    written = [path for stage in stages for path in stage.writes if _has(tracked, path)]
    found = {
        path: store.address(Path(path)) if Path(path).exists() else provenance.MISSING
        for path in written
    }
    return provenance.Commit(found, code, programs, lambda path: _has(changed, path))


def _has(paths: Collection[str], path: str) -> bool:
    """Return whether a path or one below it is among some paths."""
    return any(one == path or one.startswith(f"{path}/") for one in paths)


def _places(results: Path) -> Places:
    return Places(
        metrics=results / "metrics.json",
        scores=results / "scores.csv",
        tasks=results / "tasks.csv",
        groups=results / "groups.csv",
        answers=results / "submission.json",
        history=results / "history.csv",
        partition=results / "partition.json",
        audit=results / "audit.json",
        adapt=results / "adapt.csv",
    )


def _table(ledger: Ledger, baselines: Sequence[str], results: Path) -> list[Problem]:
    """Return which files are not the table of the rows."""
    known = [*ledger.rows().values()]
    earlier = commits.of_codes(Path(), {row.code for row in known} - {ledger.code})
    blocks = table.blocks(known, ledger.code, baselines, earlier)
    made = {
        str(results / "ablation.md"): summary.as_markdown(blocks),
        str(results / "ablation.csv"): files.csv_text(table.as_frame(blocks)),
        str(results / "study.html"): study.without_pictures(study.page(blocks)),
    }
    committed = {path: study.without_pictures(_text(Path(path))) for path in made}
    return review.table(committed, made)


def _changes(ledger: Ledger, found: Results | None) -> tuple[list[Change], list[Problem]]:
    """Return the rows that changed, and where new ones contradict the data in DVC's cache."""
    known = ledger.rows()
    changes, problems = [], []
    for path in ledger.added:
        row, place = known.get(path), ledger.place(path)
        told = "without data"
        tables = row and verification.tables(row, HERE)
        if row and tables:
            wrong = verification.problems(place, row, tables, found)
            problems += wrong
            told = "not those of its data" if wrong else "computed again from its data"
        changes.append(Change(path.removesuffix(".json"), "new", row, told))
    changes += [Change(path.removesuffix(".json"), "removed", None, "") for path in ledger.removed]
    return changes, problems


def _notes(
    ledger: Ledger, found: Results | None, library: Path, programs: Path, fork: str
) -> list[str]:
    """Return what a reader of the review should know."""
    notes = []
    if edited := _output("git", "status", "--porcelain", "--untracked-files=no").splitlines():
        notes.append(f"{len(edited)} files have changes that are not committed.")
    paths = (str(library), str(programs), "tools", "Makefile", ".github", "dvc.yaml")
    if code := _output("git", "diff", "--name-only", fork, "--", *paths).split():
        notes.append(
            f"The change edits {len(code)} files of the code, which also reviews it: read them."
        )
    notes += [
        f"The results are of another run of {name} than its row, such as one on another machine;"
        " the row stays."
        for name in (review.elsewhere(ledger, found) if found else ())
    ]
    return notes


if __name__ == "__main__":
    program.main(run)
