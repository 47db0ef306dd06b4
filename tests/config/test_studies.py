from pathlib import Path

import pytest
from dvc.utils.hydra import apply_overrides
from ruamel.yaml import YAML

from arcmix.config import schema, studies
from arcmix.ledger import study

PARAMS = Path(__file__).parents[2] / "params.yaml"
SUBSETS = {"datasets": {"train": {"train": {"subset": ["10%", "all"]}}}}


def make(**fields: object) -> studies.Study:
    """Return a study of two datasets and two seeds, with some fields changed."""
    values = {
        "datasets": ("train", "eval"),
        "seeds": (3, 1),
        "scale": "tiny",
        "model": "tiny",
        "baseline": "train",
    }
    return studies.Study.model_validate(values | fields)


def test_the_cells_of_one_seed_come_before_those_of_the_next() -> None:
    found = [(cell.dataset, cell.seed) for cell in studies.cells(make())]
    assert found == [("train", 3), ("eval", 3), ("train", 1), ("eval", 1)]


def test_a_grid_below_a_dataset_varies_its_cells_alone() -> None:
    found = [str(cell) for cell in studies.cells(make(grid=SUBSETS, seeds=(0,)))]
    assert found == [
        "train, train.subset=10%, seed 0",
        "train, train.subset=all, seed 0",
        "eval, seed 0",
    ]


def test_a_grid_has_each_combination_of_its_values() -> None:
    grid = SUBSETS | {"selection": ["best", "product"]}
    found = studies.cells(make(datasets=("train",), seeds=(0,), grid=grid))
    assert [[*cell.grid.values()] for cell in found] == [
        ["10%", "best"],
        ["10%", "product"],
        ["all", "best"],
        ["all", "product"],
    ]


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ({"selection": "best"}, "^selection: a place of a grid has a list .*got 'best'; write a l"),
        ({"augment": {"swap": []}}, r"^augment.swap: a place of a grid has .*got \[\]; "),
        ({"augment": {}}, "^augment: a place of a grid has a list"),
        ({"augment": [{"swap": True}]}, "^augment: .*values that are no maps, got "),
    ],
)
def test_a_place_without_a_list_of_values_is_refused(grid: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        studies.cells(make(grid=grid))


def test_the_flags_of_a_cell_set_its_values_as_dvc_sets_them(tmp_path: Path) -> None:
    grid = SUBSETS | {
        "augment": {"swap": ["exchange"]},
        "scales": {"tiny": {"prompt": {"encoder": [["minimal", "code_block"]]}}},
    }
    cell = studies.cells(make(datasets=("train",), grid=grid))[0]
    path = tmp_path / "params.yaml"
    path.write_text(PARAMS.read_text())

    words = study.flags(cell)
    apply_overrides(path, words[1::2])

    assert {*words[::2]} == {"-S"}
    applied = cell.applied(schema.read(PARAMS))
    assert YAML(typ="safe").load(path) == applied
    assert applied["datasets"]["train"] == {"train": {"subset": "10%"}}
    assert applied["scales"]["tiny"]["prompt"] == {"encoder": ["minimal", "code_block"]}
    assert (applied["dataset"], applied["scale"], applied["seed"]) == ("train", "tiny", 3)
