"""The datasets of params.yaml on the real tasks: their counts are those of arc24's table."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ruamel.yaml import YAML

from arcmix import augment, files, params, tasks
from arcmix.sources import archive, counting, package
from stages import augment as stage
from stages import partition as split

VALUES: dict[str, Any] = YAML(typ="safe").load(Path(__file__).parents[1] / "params.yaml")
MIRROR = os.environ.get("ARCMIX_MIRROR")

FIRST_SAMPLES = "eb22d1cbe3cedd944b19fc33daf6831ad6b5ecca9ca2467b8aec2f568b9c406b"

needs_archives = pytest.mark.skipif(MIRROR is None, reason="needs ARCMIX_MIRROR")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the tables of the partition and of every source at hand."""
    folder = tmp_path_factory.mktemp("tables")
    for key, values in VALUES["sources"].items():
        text = json.dumps(values)
        if values["kind"] == "package":
            found = package.load(key, params.PackageSource.model_validate_json(text))
        elif values["kind"] == "counting":
            found = counting.load(key, params.CountingSource.model_validate_json(text))
        elif values["kind"] == "archive" and MIRROR is not None:
            source = params.ArchiveSource.model_validate_json(text)
            found = archive.load(key, source, cache=folder / "cache", mirror=MIRROR)
        else:
            continue
        tasks.write(folder / f"sources/{key}.parquet", found.tasks)
    config = {"partition": VALUES["partition"], "validation": {"tasks": 1, "max_tokens": 1}}
    split.run(
        config=split.Params.model_validate(config),
        task_table=folder / "sources/arc-agi-1.parquet",
        tables=folder / "partition",
        validation=folder / "validation.parquet",
        summary=folder / "partition.json",
    )
    return folder


def mix(folder: Path, dataset: list[dict[str, Any]], samples: int = 1) -> dict[str, Any]:
    values = {"seed": 0, "augment": VALUES["augment"], "dataset": dataset}
    whole = [
        {"table": one["tasks"], "by_design": False, "matches": [], "dropped": []} for one in dataset
    ]
    files.write_json(folder / "audit.json", {"components": whole})
    stage.run(
        config=stage.Params.model_validate_json(
            json.dumps(values | {"amount": {"samples": samples}})
        ),
        partition=folder / "partition",
        sources=folder / "sources",
        audit=folder / "audit.json",
        samples=folder / "samples.parquet",
        mix_file=folder / "mix.json",
    )
    return json.loads((folder / "mix.json").read_text())


@pytest.mark.parametrize(
    ("dataset", "count", "entries"),
    [
        ("train", 400, 400),
        ("eval", 400, 400),
        ("train+eval", 800, 800),
        ("new-train", 700, 700),
        ("val-n-1", 100, 100),
        ("val-n-1-all", 100, 333),
        ("count", 10_000, 10_000),
        ("combo-v2", 800, 800),
        ("combo-v3", 800, 800),
        pytest.param("combo-v1", 1025, 1377, marks=needs_archives),
        pytest.param("concept-arc", 176, 528, marks=needs_archives),
        pytest.param("mini-arc", 149, 149, marks=needs_archives),
        pytest.param("1d-arc", 901, 901, marks=needs_archives),
        pytest.param("arc-agi-2", 1000, 1000, marks=needs_archives),
    ],
)
def test_a_dataset_has_the_published_counts(
    tables: Path, dataset: str, count: int, entries: int
) -> None:
    found = mix(tables, VALUES["datasets"][dataset])

    assert (found["tasks"], found["entries"]) == (count, entries)


def test_combo_v3_draws_as_many_of_either_component(tables: Path) -> None:
    # 700 tasks once and 100 of them seven times: one pass is 1400 samples.
    found = mix(tables, VALUES["datasets"]["combo-v3"], samples=1400)

    assert [one["samples"] for one in found["components"]] == [700, 700]


@pytest.mark.parametrize(("n_minus", "entries"), [(1, 1363), (2, 4935)])
def test_the_evaluation_tasks_leave_out_as_published(
    tables: Path, n_minus: int, entries: int
) -> None:
    [whole] = VALUES["datasets"]["eval"]

    assert mix(tables, [whole | {"n_minus": n_minus}])["entries"] == entries


def test_count_goes_along_with_any_other_dataset(tables: Path) -> None:
    found = mix(tables, VALUES["datasets"]["count"] + VALUES["datasets"]["new-train"])

    assert (found["tasks"], found["entries"]) == (10_700, 10_700)


def test_the_first_samples_of_combo_v2_are_the_ones_they_were(tables: Path) -> None:
    mix(tables, VALUES["datasets"]["combo-v2"], samples=500)

    content = hashlib.sha256()
    for sample in augment.read(tables / "samples.parquet"):
        for grid in (side for pair in sample for side in (pair.input, pair.output)):
            content.update(np.array(grid.shape, np.uint8).tobytes() + grid.tobytes())
    assert content.hexdigest() == FIRST_SAMPLES
