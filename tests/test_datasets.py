"""The datasets of params.yaml with the real tasks; their counts equal those of arc24's table."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from arcmix import files, tasks
from arcmix.config import origins, schema
from arcmix.sampling import augment, sample_table
from arcmix.sampling.mix import parts as parts_of
from arcmix.sampling.mix import read_tables
from arcmix.sampling.mix import slots as slots_of
from arcmix.sources import archive, counting, package
from stages import augment as stage
from stages import partition as split
from tests import workers

VALUES = schema.resolve(schema.read(Path(__file__).parents[1] / "params.yaml"))

Dataset = dict[str, dict[str, Any]]
MIRROR = os.environ.get("ARCMIX_MIRROR")

FIRST_SAMPLES = "eb22d1cbe3cedd944b19fc33daf6831ad6b5ecca9ca2467b8aec2f568b9c406b"

needs_archives = pytest.mark.skipif(MIRROR is None, reason="needs ARCMIX_MIRROR")


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with the tables of the partition and of all available sources."""
    folder = tmp_path_factory.mktemp("tables")
    for key, values in VALUES["sources"].items():
        text = json.dumps(values)
        if values["kind"] == "package":
            found = package.load(key, origins.PackageSource.model_validate_json(text))
        elif values["kind"] == "counting":
            found = counting.load(key, origins.CountingSource.model_validate_json(text))
        elif values["kind"] == "archive" and MIRROR is not None:
            source = origins.ArchiveSource.model_validate_json(text)
            found = archive.load(key, source, cache=folder / "cache", mirror=MIRROR, root=folder)
        else:
            continue
        tasks.write(folder / f"sources/{key}.parquet", found.tasks)
    config = {"partition": VALUES["partition"], "measure": VALUES["measure"]}
    config |= {"validation": {"tasks": 24, "max_tokens": 1}}
    split.run(
        config=split.Params.model_validate(config),
        sources=folder / "sources",
        tables=folder / "partition",
        validation=folder / "validation.parquet",
        summary=folder / "partition.json",
    )
    return folder


def configure(dataset: Dataset, samples: int, new_tasks: float = 0.0) -> stage.Params:
    changed = {"new_tasks": VALUES["augment"]["new_tasks"] | {"probability": new_tasks}}
    values = {"seed": 0, "augment": VALUES["augment"] | changed, "dataset": dataset}
    return stage.Params.model_validate_json(json.dumps(values | {"samples": samples}))


def audited(dataset: Dataset) -> dict[str, Any]:
    return {
        "components": [
            {"table": one["tasks"], "similar": 0, "dropped": []} for one in dataset.values()
        ],
        "seen": [],
    }


def mix(folder: Path, dataset: Dataset, samples: int = 1, new_tasks: float = 0.0) -> dict[str, Any]:
    files.write_json(folder / "audit.json", audited(dataset))
    stage.run(
        config=configure(dataset, samples, new_tasks),
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
        ("train-eval", 800, 800),
        ("new-train", 700, 700),
        ("val-n-1", 100, 100),
        ("val-n-1-all", 100, 333),
        ("measured", 24, 24),
        ("count", 10_000, 10_000),
        ("combo-v2", 800, 800),
        ("combo-v3", 800, 800),
        pytest.param("combo-v1", 1025, 1377, marks=needs_archives),
        pytest.param("concept-arc", 176, 528, marks=needs_archives),
        pytest.param("mini-arc", 149, 149, marks=needs_archives),
        pytest.param("arc-1d", 901, 901, marks=needs_archives),
        pytest.param("arc-agi-2", 1000, 1000, marks=needs_archives),
        pytest.param("tama", 4734, 4734, marks=needs_archives),
        pytest.param("diva", 1200, 1200, marks=needs_archives),
    ],
)
def test_a_dataset_has_the_published_counts(
    tables: Path, dataset: str, count: int, entries: int
) -> None:
    found = mix(tables, VALUES["datasets"][dataset])

    assert (found["tasks"], found["entries"]) == (count, entries)


def test_combo_v3_draws_equally_many_samples_of_both_components(tables: Path) -> None:
    # 700 tasks once and 100 of them seven times: one pass is 1400 samples.
    found = mix(tables, VALUES["datasets"]["combo-v3"], samples=1400)

    assert [one["samples"] for one in found["components"]] == [700, 700]


@pytest.mark.parametrize(("n_minus", "entries"), [(1, 1363), (2, 4935)])
def test_n_minus_1_of_the_evaluation_tasks_has_the_published_counts(
    tables: Path, n_minus: int, entries: int
) -> None:
    whole = VALUES["datasets"]["eval"]["evaluation"]

    found = mix(tables, {"evaluation": whole | {"n_minus": n_minus}})

    assert found["entries"] == entries


def test_count_can_be_combined_with_another_dataset(tables: Path) -> None:
    found = mix(tables, VALUES["datasets"]["count"] | VALUES["datasets"]["new-train"])

    assert (found["tasks"], found["entries"]) == (10_700, 10_700)


def test_the_first_samples_of_combo_v2_have_not_changed(tables: Path) -> None:
    mix(tables, VALUES["datasets"]["combo-v2"], samples=500)

    content = hashlib.sha256()
    for sample in sample_table.read_pairs(tables / "samples.parquet"):
        for grid in (side for pair in sample for side in (pair.input, pair.output)):
            content.update(np.array(grid.shape, np.uint8).tobytes() + grid.tobytes())
    assert content.hexdigest() == FIRST_SAMPLES


def digest(samples: pa.Table) -> str:
    """Return a hash of the content of samples, which does not depend on the chunks."""
    content = hashlib.sha256()
    for column in samples.combine_chunks().itercolumns():
        [values] = column.chunks
        if pa.types.is_list(values.type):
            content.update(values.value_lengths().to_numpy().tobytes())
            content.update(values.flatten().to_numpy().tobytes())
        else:
            content.update(repr(values.to_pylist()).encode())
    return content.hexdigest()


@pytest.mark.parametrize("new_tasks", [0.0, 0.5])
def test_samples_are_equal_if_written_streamed_or_resumed(tables: Path, new_tasks: float) -> None:
    dataset, count, stopped = VALUES["datasets"]["combo-v2"], 10_000, 4_321
    config = configure(dataset, count, new_tasks)
    found = read_tables(config.dataset, tables / "partition", tables / "sources")
    parts = parts_of(config.dataset, found, audited(dataset), config.seed)
    pool = augment.pool([entry for part in parts for entry in part.entries])
    slots = np.array(slots_of(parts))

    mix(tables, dataset, count, new_tasks)
    written = pq.read_table(tables / "samples.parquet")
    streamed = [
        workers.stream(pool, slots, config.augment, count, 1000, number) for number in (1, 8)
    ]
    before = workers.draw(pool, slots, config.augment, stopped, 1000, range(0, stopped, 1000))
    after = workers.draw(pool, slots, config.augment, count, 777, range(stopped, count, 777))
    resumed = pa.concat_tables(before + after)

    assert written.num_rows == count
    assert (written["new_task"].null_count < count) == (new_tasks > 0)
    assert {digest(one) for one in (*streamed, resumed)} == {digest(written)}
