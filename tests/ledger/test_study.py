import json
from pathlib import Path

import pytest

from arcmix.config import check
from arcmix.ledger import study
from arcmix.sources import inputs
from tests.stages.test_record import Run
from tests.stages.test_record import run as run  # noqa: PLC0414 - the fixture

CODE = "c0de00000001"
PARAMS = Path(__file__).parents[2] / "params.yaml"


def expected(run: Run) -> str:
    """Return what is known of a run before it runs."""
    return study.of_run(check.check_file(run.folder / "params.yaml"), CODE, run.folder)


def test_a_row_is_that_of_its_run(run: Run) -> None:
    known = expected(run)
    (row,) = run.enter()
    assert study.of_row(row) == known


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("seed", 1),
        ("init_seed", 1),
        ("scales.tiny.finetune.learning_rate", 0.02),
        ("augment.swap", False),
        ("selection", "best"),
        ("component.subset", "10%"),
        ("datasets.combo-v2.val-n-1", {"weight": 2}),
        ("models.tiny.seed", 1),
        ("partition.seed", 8),
        ("sources.arc-agi-1.digest", "0" * 64),
        ("init.adapter", "re-arc/0-0123456789ab"),
    ],
)
def test_a_run_with_another_value_has_another_row(run: Run, place: str, value: object) -> None:
    (row,) = run.enter()
    run.set(place, value)
    assert expected(run) != study.of_row(row)


def test_a_run_of_other_code_has_another_row(run: Run) -> None:
    file = check.check_file(run.folder / "params.yaml")
    assert study.of_run(file, CODE, run.folder) != study.of_run(file, "c0de00000002", run.folder)


@pytest.mark.parametrize(
    ("place", "value"),
    [("report_to", "wandb"), ("mirror", "/mnt"), ("sources.mini-arc.tasks", 1), ("studies", {})],
)
def test_a_value_that_the_numbers_do_not_depend_on_changes_nothing(
    run: Run, place: str, value: object
) -> None:
    known = expected(run)
    run.set(place, value)
    assert expected(run) == known


def test_the_row_of_a_second_stage_is_that_of_its_run(run: Run) -> None:
    name = "re-arc/0-0123456789ab"
    start = {"adapter": name, "address": f"{'a' * 32}.dir", "checkpoint": "last"}
    start |= {"optimizer": "fresh", "uses_validation_demonstrations": False}
    run.write("initial/start.json", json.dumps(start))
    run.set("init.adapter", name)
    (row,) = run.enter()
    assert study.of_row(row) == expected(run)


def test_a_start_whose_name_does_not_decide_its_content_is_refused(run: Run) -> None:
    run.set("init.adapter", "main")
    with pytest.raises(ValueError, match=r"init.adapter is main, whose adapter may change while"):
        expected(run)


def test_a_source_that_is_not_pinned_is_refused(run: Run) -> None:
    run.set("sources.arc-1d", {"kind": "folder", "path": "mine"})
    run.set("datasets.combo-v2", {"arc-1d": {}})
    with pytest.raises(
        ValueError, match=r"the source arc-1d is not pinned.*make pin SOURCE=arc-1d"
    ):
        expected(run)


def test_the_row_of_a_model_folder_is_that_of_its_content(run: Run) -> None:
    run.set("models.tiny", {"kind": "folder", "path": "mine"})
    run.write("mine/config.json", "{}")
    run.write("model.json", json.dumps(inputs.model_digest("mine", run.folder)))
    (row,) = run.enter()
    assert study.of_row(row) == expected(run)
    run.write("mine/config.json", '{"rms_norm_eps": 1}')
    assert study.of_row(row) != expected(run)


def test_an_error_about_a_cell_names_the_study_and_the_cell(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    text = PARAMS.read_text()
    path.write_text(text.replace("\n  adapter: none\n", "\n  adapter: main\n"))
    with pytest.raises(ValueError, match=r"studies.smoke: the cell new-train, seed 0: init.adap"):
        study.planned(path, "smoke", CODE, tmp_path)
    with pytest.raises(ValueError, match=r"studies: 'smok' is not one of .*did you mean 'smoke'\?"):
        study.planned(path, "smok", CODE, tmp_path)


def test_the_published_study_has_eleven_datasets_and_three_seeds() -> None:
    found = study.planned(PARAMS, "published", CODE, PARAMS.parent).values()
    assert len(found) == 33
    assert {cell.seed for cell in found} == {0, 1, 2}
    scaling = study.planned(PARAMS, "task-scaling", CODE, PARAMS.parent)
    assert len(scaling) == 12
    # All of new-train is a cell of both studies, with other flags. It is one run.
    whole = study.planned(PARAMS, "published", CODE, PARAMS.parent)
    shared = [cell for key, cell in scaling.items() if key in whole]
    assert [cell.grid for cell in shared] == [{"datasets.new-train.new-train.subset": "all"}] * 3
