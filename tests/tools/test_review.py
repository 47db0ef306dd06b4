"""The review of a change of results, in a repository with two runs of the pipeline at `tiny`.

Each test edits the repository, reviews it against its first run, and puts it back.
"""

import json
import re
import shlex
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from arcmix.ledger import provenance
from arcmix.scoring import evaluation
from tests.test_dag import Repository

pytestmark = pytest.mark.slow

AGAIN = provenance.AGAIN
MINE = "mine: {kind: folder, path: models/mine}"
COMMAND = shlex.split(
    "python -m tools.review --params params.yaml --file params.yaml --base base"
    " --library src/arcmix --programs stages --code-folder data/code --results results"
    " --rows results/ledger --page README.md --out .cache/review.md"
)
"""The command of `make review`."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Repository:
    """Return a repository with a run, tagged `base`, and a second one, as the README commits it."""
    made = Repository(tmp_path_factory.mktemp("review"))
    for seed in ("0", "1"):
        made.experiment(model="tiny", scale="tiny", dataset="combo-v2", seed=seed)
        made.run("make", "--silent", "readme")
        made.run("git", "add", "README.md", "dvc.lock", "params.yaml", "results")
        made.run("git", "commit", "--quiet", "--message=run")
        made.run("git", "tag", "base" if seed == "0" else "change")
    return made


@pytest.fixture
def repository(finished) -> Iterator[Repository]:
    yield finished
    finished.run("git", "reset", "--quiet", "--hard", "change")
    finished.run("git", "clean", "--quiet", "--force", "-d", "results")


@pytest.fixture
def rows(repository) -> tuple[Path, Path]:
    """Return the row of the base and the row of the change."""
    first, second = sorted(repository.folder.glob("results/ledger/combo-v2/*.json"))
    return first, second


def problems(repository: Repository, status: int = 1) -> list[str]:
    """Review the repository, and return the problems with `N` for a loss and `M` for a hash."""
    text = repository.run(*COMMAND, status=status)
    verdict = "refused" if status else "passed"
    assert text.startswith(f"## Review of results: {verdict}\n")
    assert (repository.folder / ".cache/review.md").read_text() in text
    [block] = re.findall("```text\n(.*?)\n```", text, re.DOTALL)[:1]
    lines = block.split("\n\n") if status else []
    lines = [re.sub(r"\b[0-9a-f]{32}(\.dir)?\b", "M", line) for line in lines]
    return [re.sub(r"\b(?!0\.1234\b)\d\.\d{4,}\b", "N", line) for line in lines]


def edit(path: Path, pattern: str, text: str) -> None:
    """Replace the one match of a pattern in a file."""
    found, count = re.subn(pattern, text, path.read_text(), count=1)
    assert count == 1
    path.write_text(found)


def named(row: Path) -> str:
    return f"results/ledger/{row.parent.name}/{row.name}"


def other(stage: str, verb: str = "wrote") -> str:
    """Return the problem of a file that is not what a stage wrote."""
    return f"is not what stage {stage} {verb}: its MD5 is M, and dvc.lock has M; {AGAIN}"


def test_a_change_as_the_readme_describes_it_passes_and_is_shown(repository, rows):
    text = repository.run(*COMMAND)

    assert text.startswith("## Review of results: passed\n")
    [line] = [line for line in text.splitlines() if f"`combo-v2/{rows[1].stem}`" in line]
    assert [cell.strip() for cell in line.split("|")][2::5] == [
        "`new`",
        "`computed again from its data`",
    ]
    loss = json.loads(rows[1].read_text())["metrics"]["best_val_loss"]
    assert f" {loss:.4f} |" in line
    assert "dvc exp run -S dataset=combo-v2 -S model=tiny -S scale=tiny -S seed=1" in text
    assert re.search(r"params.yaml +seed +0 +1", text)
    assert re.search(r"results/metrics.json +best_val_loss +\d", text)
    assert "No verdict changed." in text


def test_a_clone_without_data_is_reviewed_too_and_says_what_it_cannot_prove(repository, tmp_path):
    repository.run("git", "clone", "--quiet", str(repository.folder), str(tmp_path / "clone"))
    clone = object.__new__(Repository)
    clone.folder = tmp_path / "clone"
    text = clone.run(*COMMAND)
    assert text.startswith("## Review of results: passed\n")
    assert "`without data`" in text
    assert "What git does not show, this review cannot prove" in text


@pytest.mark.parametrize(
    ("file", "stage", "pattern", "more"),
    [
        (
            "metrics.json",
            "evaluate",
            '(?<="best_val_loss": )[0-9.]+',
            [
                "results/metrics.json: best_val_loss is 0.1234, but the history gives N",
                "ROW: best_val_loss is N, and results/metrics.json has 0.1234",
            ],
        ),
        (
            "scores.csv",
            "evaluate",
            r"(?<=accuracy,)0(?=,)",
            [
                "results/scores.csv: accuracy: mean is 0.1234, but the headline number is 0",
                "results/scores.csv: accuracy: the interval of its mean is N to N",
                f"results/scores.csv: is not what the tables of the run give; {evaluation.REMEDY}",
            ],
        ),
        (
            "tasks.csv",
            "evaluate",
            r"(?<=\w{8},1,1,)0(?=,)",
            [
                "results/metrics.json: accuracy is 0, but the tasks give N",
                "results/metrics.json: clean_accuracy is 0, but the tasks give N",
                "ROW: its tasks are not those of results/tasks.csv",
            ],
        ),
    ],
)
def test_an_edited_result_is_named(repository, rows, file, stage, pattern, more):
    path = repository.folder / "results" / file
    edit(path, pattern, "0.1234")
    found = problems(repository)
    assert found[0] == f"results/{file}: {other(stage)}"
    assert found[1:] == [line.replace("ROW", named(rows[1])) for line in more]


@pytest.mark.parametrize(
    ("file", "stage"),
    [("history.csv", "finetune"), ("groups.csv", "evaluate"), ("submission.json", "evaluate")],
)
def test_a_byte_more_in_any_result_is_named(repository, file, stage):
    path = repository.folder / "results" / file
    path.write_text(path.read_text() + " ")
    assert problems(repository)[0] == f"results/{file}: {other(stage)}"


def test_a_row_of_the_base_that_was_edited_is_named_with_the_number(repository, rows):
    edit(rows[0], '(?<="best_val_loss": )[0-9.]+', "0.1234")
    assert problems(repository) == [
        f"results/ledger: {other('record')}",
        (
            f"{named(rows[0])}: the row was edited: metrics.best_val_loss was N, is 0.1234; a row"
            " is never changed, so restore it"
        ),
    ]


def test_a_row_of_the_base_that_was_deleted_is_named(repository, rows):
    rows[0].unlink()
    assert problems(repository) == [
        f"results/ledger: {other('record')}",
        f"{named(rows[0])}: the row was deleted; the table needs it, so restore it",
    ]


def test_a_row_under_the_name_of_another_seed_or_dataset_is_a_copy(repository, rows):
    text = rows[0].read_text()
    seed = rows[0].with_name(rows[0].name.replace("0-", "2-", 1))
    seed.write_text(text.replace('"seed": 0,\n "settings"', '"seed": 2,\n "settings"'))
    train = rows[0].parent.with_name("train") / rows[0].name
    train.parent.mkdir()
    train.write_text(text)
    renamed = train.with_name(rows[1].name)
    renamed.write_text(rows[1].read_text().replace('"dataset": "combo-v2"', '"dataset": "train"'))
    assert problems(repository) == [
        f"results/ledger: {other('record')}",
        (
            f"{named(seed)}: has the losses of combo-v2/{rows[0].name} with other seed: one is a"
            " copy of the other"
        ),
        (
            f"{named(train)}: holds the row combo-v2/{rows[0].stem}: it was copied or renamed;"
            " remove the file"
        ),
        (
            f"{named(renamed)}: its dataset is ['new-train', 'val-n-1'], and datasets.train of"
            " params.yaml is ['train']"
        ),
    ]


def test_numbers_that_dvc_was_made_to_accept_are_refused_by_the_table_and_by_the_review(
    repository, rows
):
    for path in (repository.folder / "results/metrics.json", rows[1]):
        edit(path, '(?<="best_val_loss": )[0-9.]+', "0.1234")
    repository.run("dvc", "commit", "--force", "evaluate", "report", "record")
    output = repository.run("dvc", "repro", "ablation", status=255)
    assert (
        f"error in ablation: {named(rows[1])}: best_val_loss is 0.1234, but the history gives"
        in output
    )
    repository.run("git", "checkout", "--quiet", *("results/" + name for name in TABLE))
    repository.run("dvc", "commit", "--force", "ablation")
    assert problems(repository) == [
        "results/metrics.json: best_val_loss is 0.1234, but the history gives N",
        f"{named(rows[1])}: best_val_loss is 0.1234, but the history gives N",
        f"{named(rows[1])}: best_val_loss is 0.1234, but the tables of the run give N",
    ]


TABLE = ("ablation.md", "ablation.csv", "ablation.png", "loss.png", "study.html")
"""The outputs of stage `ablation`, which DVC removes before it runs the stage."""


@pytest.mark.parametrize(("file", "line"), [("ablation.md", 5), ("ablation.csv", 2)])
def test_an_edited_table_is_named_also_if_dvc_was_made_to_accept_it(repository, file, line):
    edit(repository.folder / "results" / file, "baseline(?=[ ,])", "better")
    page = ["README.md: the table in it is not the committed one; run: make readme"]
    page *= file == "ablation.md"
    wrong = f"results/{file}: is not the table of the rows: line {line} differs; run: make repro"
    assert problems(repository) == [f"results/{file}: {other('ablation')}", wrong, *page]
    repository.run("dvc", "commit", "--force", "ablation")
    assert problems(repository) == [wrong, *page]


def test_an_edited_page_is_named_also_if_dvc_was_made_to_accept_it(repository):
    edit(repository.folder / "results/study.html", r"(?<=<td>)combo-v2(?=</td>)", "train")
    repository.run("dvc", "commit", "--force", "ablation")
    [wrong] = problems(repository)
    assert re.fullmatch(
        r"results/study\.html: is not the table of the rows: line \d+ differs; run: make repro",
        wrong,
    )


def test_a_deleted_dvc_lock_is_named(repository):
    (repository.folder / "dvc.lock").unlink()
    first, *_ = problems(repository)
    assert first.startswith("dvc.lock: ")


def test_an_edited_copy_of_the_table_in_the_readme_is_named(repository):
    edit(repository.folder / "README.md", r"(?<=\| combo-v)2", "3")
    wrong = "README.md: the table in it is not the committed one; run: make readme"
    assert problems(repository) == [wrong]


def test_an_edited_value_is_named_with_the_stages_that_ran_with_another_one(repository):
    edit(repository.folder / "params.yaml", "(?<=selection: )product", "best")
    assert problems(repository) == [
        (
            f"params.yaml: by dvc.lock, stages evaluate, report, record ran with another value of"
            f" selection; {AGAIN}"
        ),
        "results/ledger: has no row of the run that params.yaml describes; run: make repro",
    ]


def test_edited_code_is_named_with_the_stages_that_ran_with_other_code(repository):
    path = repository.folder / "src/arcmix/models/packing.py"
    edit(path, r"room.append\(limit\)", "room.append(limit - 1)")
    first, *_ = problems(repository)
    assert first == (
        "src/arcmix, stages: by dvc.lock, stages preflight, finetune, adapt, predict, record,"
        f" ablation ran with other code; {AGAIN}"
    )
    edit(path, "limit - 1", "limit")
    edit(path, '"""', '"""Edited: ')  # a docstring is no code
    problems(repository, status=0)


def zeroed(repository: Repository, stage: str, path: str) -> None:
    """Write another hash of a file into an entry of `dvc.lock`."""
    lock = repository.folder / "dvc.lock"
    before, found, after = lock.read_text().partition(f"\n  {stage}:\n")
    after, count = re.subn(
        rf"(?<=path: {re.escape(path)}\n)(\s+hash: md5\n\s+md5: )\w+",
        rf"\1{'a' * 32}",
        after,
        count=1,
    )
    assert count == 1
    lock.write_text(before + found + after)


LATER = "the entry was edited, or the stage has to run again"


@pytest.mark.parametrize(
    ("stage", "path", "problem"),
    [
        (
            "record",
            "results/metrics.json",
            (
                f"stage record read results/metrics.json with the MD5 M, and the committed one"
                f" has M: {LATER}; {AGAIN}"
            ),
        ),
        (
            "evaluate",
            "data/losses.parquet",
            (
                "stage evaluate read data/losses.parquet with the MD5 M, but stage finetune"
                f" wrote M: {LATER.replace('the entry', 'an entry')}; {AGAIN}"
            ),
        ),
        (
            "evaluate",
            "data/code/evaluate",
            f"by dvc.lock, stage evaluate ran with other code; {AGAIN}",
        ),
    ],
)
def test_an_edited_entry_of_dvc_lock_is_named(repository, stage, path, problem):
    zeroed(repository, stage, path)
    assert problems(repository) == [f"dvc.lock: {problem}"]


def test_a_row_of_other_code_may_be_removed_and_is_listed(repository, rows):
    # The base of this change has the row of an earlier version of the format.
    old = rows[0].with_name("0-0123456789ab.json")
    values = json.loads(rows[0].read_text()) | {"version": 5, "fingerprint": "0123456789ab"}
    old.write_text(json.dumps(values))
    repository.run("git", "add", "--all")
    repository.run("git", "commit", "--quiet", "--message=old")
    command = [word if word != "base" else "HEAD" for word in COMMAND]
    old.unlink()
    text = repository.run(*command)
    [line] = [line for line in text.splitlines() if "0-0123456789ab" in line]
    assert "`removed`" in line


def test_a_base_that_does_not_exist_is_one_error(repository):
    text = repository.run(*[word if word != "base" else "nope" for word in COMMAND], status=1)
    assert text.startswith("error in review: git merge-base nope HEAD ended with 128: ")
    assert "make review BASE=main" in text


def test_the_makefile_calls_the_program_with_its_arguments(repository: Repository):
    options = ("-n", "--no-print-directory", "-o", ".venv/.up-to-date")
    shown = repository.run("make", *options, "review", "BASE=base")
    command = " ".join(shown.replace("\\\n", " ").split())
    assert command.endswith(" ".join(COMMAND).replace("--base base", '--base "base"'))


def test_new_rows_with_equal_values_and_other_contents_pass(repository, rows):
    def committed() -> None:
        repository.run("make", "--silent", "readme")
        repository.run("git", "add", "README.md", "dvc.lock", "params.yaml", "results")
        repository.run("git", "commit", "--quiet", "--message=more")
        assert repository.run(*COMMAND).startswith("## Review of results: passed\n")

    model = repository.folder / "models/mine"
    shutil.copytree(repository.folder / "data/base-model", model, copy_function=shutil.copyfile)
    edit(repository.folder / "params.yaml", "\nmodels:\n", f"\\g<0>  {MINE}\n")
    for rate in ("0.001", "0.01"):
        edit(model / "config.json", r'(?<="rms_norm_eps": )[^,]+', rate)
        repository.experiment(model="mine", seed="0")
    committed()
    for row in rows:
        start = {"init.adapter": f"combo-v2/{row.stem}"}
        repository.experiment(model="tiny", dataset="new-train", **start)
    committed()
    assert len([*repository.folder.glob("results/ledger/*/*.json")]) == 6
