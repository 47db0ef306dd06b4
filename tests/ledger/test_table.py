import math
import statistics
from collections.abc import Sequence
from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from arcmix.ledger import summary, table
from arcmix.ledger.records import Row
from tests.arc import component
from tests.rows import plain_settings, row, sealed

CODE = row().code
OTHER = "0fe000000000"
COMMIT = "87e13db5" * 5


def blocks(entries: Sequence[Row], code: str = CODE) -> list[table.Block]:
    return table.blocks(entries, code, ["train"], {OTHER: COMMIT})


rows = st.lists(
    st.builds(
        row,
        dataset=st.sampled_from(["train", "combo-v2", "arc-1d"]),
        seed=st.integers(0, 3),
        loss=st.floats(0.1, 0.9),
        model=st.sampled_from(["tiny", "smollm2-135m"]),
        code=st.sampled_from([CODE, OTHER]),
        variant=st.integers(0, 1),
        settings=st.integers(0, 1),
        init_seed=st.sampled_from(["seed", 0]),
        start=st.sampled_from(["none", "re-arc/0-0123456789ab", "re-arc/0-0123456abcde"]),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda entry: (entry.seed, entry.fingerprint),
)


def titles(found: list[table.Block]) -> list[str]:
    return [block.title for block in found]


def labels(block: table.Block) -> list[str]:
    return [line.label for line in block.lines]


@given(rows)
def test_every_row_is_in_one_line_with_its_repeats(entries: list[Row]) -> None:
    found = blocks(entries)
    lines = [line for block in found for line in block.lines]
    placed = [entry for line in lines for entry in line.rows]
    assert sorted(map(repr, placed)) == sorted(map(repr, entries))
    for block in found:
        for line in block.lines:
            assert len({entry.fingerprint for entry in line.rows}) == 1
            assert {entry.code == CODE for entry in line.rows} == {block.present}
            assert [entry.seed for entry in line.rows] == sorted(e.seed for e in line.rows)
    fingerprints = [line.rows[0].fingerprint for line in lines]
    assert len(fingerprints) == len(set(fingerprints))


@given(rows, st.randoms())
def test_the_order_of_rows_does_not_matter(entries: list[Row], random) -> None:
    shuffled = random.sample(entries, len(entries))
    first, again = (blocks(found) for found in (entries, shuffled))
    assert summary.as_markdown(again) == summary.as_markdown(first)
    pd.testing.assert_frame_equal(table.as_frame(again), table.as_frame(first))


@given(rows)
def test_the_csv_has_a_row_for_each_line(entries: list[Row]) -> None:
    found = blocks(entries)
    frame = table.as_frame(found)
    assert tuple(frame.columns) == table.CSV_COLUMNS
    assert len(frame) == sum(len(block.lines) for block in found)
    assert len(set(frame["label"])) == len(frame)
    assert sum(frame["seeds"]) == len(entries)
    for numbers in frame.to_dict("records"):
        low, high = numbers["best_val_loss_low"], numbers["best_val_loss_high"]
        assert low <= numbers["best_val_loss"] <= high


def test_a_line_has_mean_and_standard_deviation_over_seeds() -> None:
    losses = [0.61, 0.64, 0.70]
    entries = [row(seed=seed, loss=loss) for seed, loss in enumerate(losses)]
    (numbers,) = table.as_frame(blocks(entries)).to_dict("records")
    sd = statistics.stdev(losses)
    assert math.isclose(numbers["best_val_loss"], 0.65)
    assert math.isclose(numbers["best_val_loss_sd"], sd)
    assert math.isclose(numbers["best_val_loss_low"], 0.65 - sd)
    assert math.isclose(numbers["best_val_loss_high"], 0.65 + sd)
    assert numbers["seeds"] == 3


def test_a_single_seed_has_no_standard_deviation() -> None:
    (numbers,) = table.as_frame(blocks([row(loss=0.6)])).to_dict("records")
    assert pd.isna(numbers["best_val_loss_sd"])
    assert numbers["best_val_loss_low"] == numbers["best_val_loss_high"] == 0.6


def test_rows_of_other_code_follow_with_the_commit_of_their_code() -> None:
    entries = [row(seed=0, loss=0.7), row(seed=1, loss=0.1, code=OTHER)]
    present, earlier = blocks(entries)
    title = "smollm2-135m at quick on arc-agi-1 validation"
    assert titles([present, earlier]) == [title, f"{title}, code of commit 87e13db"]
    assert [(one.present, one.commit) for one in (present, earlier)] == [
        (True, None),
        (False, COMMIT),
    ]
    assert [line.rows for line in present.lines] == [(entries[0],)]
    assert [line.rows for line in earlier.lines] == [(entries[1],)]
    frame = table.as_frame([present, earlier])
    assert frame["code"].tolist() == [CODE, OTHER]
    assert frame["commit"].fillna("").tolist() == ["", COMMIT]
    label, earlier_label = frame["label"]
    assert label.startswith(f"combo-v2, {title} #")
    assert earlier_label == f"{label}, code of commit 87e13db"


def test_code_without_a_commit_is_named_by_its_fingerprint() -> None:
    (found,) = table.blocks([row(code=OTHER)], CODE, ["train"], {OTHER: None})
    assert found.title.endswith(" validation, other code, 0fe0000")
    assert "git checkout" not in summary.as_markdown([found])


def test_rows_of_earlier_code_keep_their_verdicts() -> None:
    earlier = [
        row(name, seed, per_cell=[0.4 + shift, 0.6 + shift], code=OTHER)
        for name, shift in [("train", 0.0), ("a", 0.1)]
        for seed in range(2)
    ]
    _, found = blocks([row(), *earlier])
    assert [line.verdict.text for line in found.lines] == ["baseline", "worse by 0.100 ± 0.000"]
    text = summary.as_markdown([found])
    assert "Compared with train: 1 worse: a." in text
    assert "`git checkout 87e13db`, then\n`dvc exp run -S model=smollm2-135m -S scale=quick" in text


def test_two_definitions_of_a_dataset_have_labels_that_name_the_difference() -> None:
    small = sealed(row(loss=0.7), components=[component("combo-v2", subset="10%")])
    (block,) = blocks([row(loss=0.6), small, row("train", loss=0.8)])
    assert labels(block) == [
        "combo-v2",
        "combo-v2 (combo-v2.subset=10%)",
        "train",
    ]


def test_blocks_of_earlier_code_name_the_values_in_which_they_differ() -> None:
    chosen = [{"selection": "vote", "partition": {"seed": 7}}, {"selection": "product"}]
    entries = [
        sealed(row(code=OTHER, loss=0.5 + number / 10), settings=plain_settings(**one))
        for number, one in enumerate(chosen)
    ]
    again = row(code=OTHER, model="tiny", loss=0.9)
    found = blocks([*entries, again])
    place = "at quick on arc-agi-1 validation"
    assert sorted(titles(found)) == [
        f"smollm2-135m {place} (selection=product), code of commit 87e13db",
        f"smollm2-135m {place} (selection=vote), code of commit 87e13db",
        f"tiny {place}, code of commit 87e13db",
    ]
    frame = table.as_frame(found)
    assert len(set(frame["label"])) == 3
    assert sorted(frame["differs"]) == ["", "selection=product", "selection=vote"]


def test_labels_of_the_csv_do_not_depend_on_other_lines() -> None:
    alone = table.as_frame(blocks([row()]))
    parts = [component("combo-v2", subset="10%")]
    more = [
        *(row(settings=number) for number in range(2)),
        *(sealed(row(settings=number), components=parts) for number in range(2)),
        row(model="tiny"),
        row(measured="train"),
        row(code=OTHER),
    ]
    among = table.as_frame(blocks(more))
    assert {*alone["label"]} < {*among["label"]}
    assert "augment.color_swaps=0, combo-v2.subset=10%" in among["differs"].tolist()


def test_an_experiment_that_earlier_code_alone_made_has_its_plain_label() -> None:
    found = table.blocks([row(code=OTHER)], row().code, ["train"], {OTHER: "e" * 40})
    (label,) = table.as_frame(found)["label"]
    (now,) = table.as_frame(blocks([row()]))["label"]
    assert label == now


def test_the_label_of_an_experiment_is_the_same_under_other_code() -> None:
    (earlier,) = table.as_frame(table.blocks([row(code=OTHER)], OTHER, ["train"], {}))["label"]
    (now,) = table.as_frame(blocks([row()]))["label"]
    assert earlier == now


def test_a_second_stage_has_a_line_that_names_its_start() -> None:
    starts = ["none", "re-arc/0-0123456789ab", "re-arc/0-89ab01234567"]
    entries = [row(seed=seed, loss=0.6, start=start) for start in starts for seed in range(2)]
    (block,) = blocks(entries)
    assert labels(block) == [
        "combo-v2",
        "combo-v2 ← re-arc/0-0123456",
        "combo-v2 ← re-arc/0-89ab012",
    ]
    frame = table.as_frame([block])
    assert frame[["start", "seeds"]].to_numpy().tolist() == [[start, 2] for start in starts]
    assert "| combo-v2 ← re-arc/0-0123456 | " in summary.as_markdown([block])


def test_a_second_stage_uses_the_validation_demonstrations_of_the_first() -> None:
    entry = row(start="combo-v2/0-0123456789ab")
    for used in (True, False):
        start = entry.start | {"uses_validation_demonstrations": used}
        ((line,),) = (part.lines for part in blocks([replace(entry, start=start)]))
        assert line.uses_validation is used


def test_a_run_that_adapts_at_test_time_uses_validation_demonstrations() -> None:
    entry = row()
    for count in (0, 3):
        metrics = entry.metrics | {"adapted_tasks": count}
        found = blocks([replace(entry, metrics=metrics)])
        assert found[0].lines[0].uses_validation is (count > 0)


def test_a_run_that_only_measures_is_no_line_of_its_dataset() -> None:
    entry = row(uses_validation=True)
    only = replace(entry, history=entry.history[:1])
    (block,) = blocks([only])
    assert (labels(block), block.lines[0].uses_validation) == ([table.UNTRAINED], False)
    (numbers,) = table.as_frame([block]).to_dict("records")
    assert (numbers["tasks"], numbers["variations"], numbers["converged"]) == (0, 0, 0)
    assert "| untrained | no baseline: none of train is here | " in summary.as_markdown([block])


@pytest.mark.parametrize(
    ("used", "ending"),
    [(True, "with validation demonstrations"), (False, "with unknown training data")],
)
def test_a_run_from_a_folder_names_it_and_may_have_used_anything(used: bool, ending: str) -> None:
    start = {"adapter": "folder mine", "uses_validation_demonstrations": None}
    entry = row(uses_validation=used)
    (block,) = blocks([replace(entry, start=entry.start | start)])
    assert labels(block) == ["combo-v2 ← folder mine"]
    assert block.title == f"smollm2-135m at quick on arc-agi-1 validation, {ending}"
    (numbers,) = table.as_frame([block]).to_dict("records")
    assert numbers["uses_validation_demonstrations"] == (1 if used else "unknown")


def test_rows_with_validation_demonstrations_are_compared_among_themselves() -> None:
    seen = [
        row(name, seed, per_cell=[0.4 + shift, 0.6 + shift], uses_validation=used)
        for name, shift, used in [("train", 0.0, False), ("a", 0.1, False), ("b", -0.1, True)]
        for seed in range(2)
    ]
    found = table.blocks(seen, CODE, ["train", "b"], {})
    assert [labels(block) for block in found] == [["train", "a"], ["b"]]
    assert titles(found)[1] == f"{titles(found)[0]}, with validation demonstrations"
    verdicts = [line.verdict.text for block in found for line in block.lines if line.verdict]
    assert verdicts == ["baseline", "worse by 0.100 ± 0.000", "baseline"]
    of_train, of_a, _ = table.as_frame(found).to_dict("records")
    assert of_a["baseline_difference"] == pytest.approx(0.1)
    assert of_a["baseline_p_value"] == 0
    assert pd.isna(of_train["baseline_difference"])


def test_the_baseline_is_found_by_the_name_of_its_dataset() -> None:
    of_train = [row("train", seed, per_cell=[0.4, 0.6]) for seed in range(4)]
    later = [row("train", seed, loss=0.8, start="re-arc/0-0123456789ab") for seed in range(2)]
    (block,) = blocks([*of_train, *later])
    assert block.baseline is not None
    assert block.baseline.label == "train"
    assert summary.CHANCE.format(
        later="1, 3", earlier="0, 2", mean=0.0, half=0.0
    ) in summary.as_markdown([block])
    per_test = sealed(row("train"), components=[component("train", per_test=True)])
    (block,) = blocks([*of_train, per_test])
    assert block.baseline is None
    found = {line.verdict.text for line in block.lines if line.verdict}
    assert len(found) == 1
    assert found.pop().startswith("no baseline: 2 lines are named train, so ")
    assert "Chance alone" not in summary.as_markdown([block])


def test_a_part_of_the_baseline_is_compared_with_all_of_it() -> None:
    parts = [
        sealed(
            row("train", seed, per_cell=[0.5, 0.8]), components=[component("train", subset=part)]
        )
        for part in ("10%", "all", "20%")
        for seed in range(2)
    ]
    (block,) = blocks(parts)
    assert block.baseline is not None
    assert [line.label for line in block.lines if line.verdict.difference is None] == ["train"]
    assert {*labels(block)} == {"train", "train (train.subset=10%)", "train (train.subset=20%)"}
    frame = table.as_frame([block])
    assert sorted(frame["differs"]) == ["", "train.subset=10%", "train.subset=20%"]


def test_the_lines_of_a_block_are_in_ascending_order_of_loss() -> None:
    entries = [row("train", loss=0.8), row("arc-1d", loss=0.9), row("combo-v2", loss=0.5)]
    (block,) = blocks(entries)
    assert labels(block) == ["combo-v2", "train", "arc-1d"]


def test_each_model_and_scale_has_a_block() -> None:
    entries = [row(), row(model="tiny", scale="tiny"), row(scale="paper")]
    found = blocks(entries)
    assert titles(found) == [
        "smollm2-135m at paper on arc-agi-1 validation",
        "smollm2-135m at quick on arc-agi-1 validation",
        "tiny at tiny on arc-agi-1 validation",
    ]
    names = [label.partition(" #")[0] for label in table.as_frame(found)["label"]]
    assert names == [
        "combo-v2, smollm2-135m at paper on arc-agi-1 validation",
        "combo-v2, smollm2-135m at quick on arc-agi-1 validation",
        "combo-v2, tiny at tiny on arc-agi-1 validation",
    ]


def test_rows_measured_on_other_tasks_have_a_block_that_names_these() -> None:
    found = blocks([row(), row(measured="train")])
    assert sorted(titles(found)) == [
        "smollm2-135m at quick on arc-agi-1 train",
        "smollm2-135m at quick on arc-agi-1 validation",
    ]


def test_rows_of_other_settings_have_another_block() -> None:
    entries = [row(), row(settings=1)]
    found = blocks(entries)
    assert sorted(titles(found)) == [
        f"smollm2-135m at quick on arc-agi-1 validation (augment.color_swaps={count})"
        for count in range(2)
    ]


def noise_runs(dataset: str = "train") -> list[Row]:
    """Return what `make noise` adds to the rows of a table: single runs with other seeds."""
    fixed = [row(dataset, seed, init_seed=0) for seed in range(3)]
    first = fixed[0].settings
    partition = first["partition"] | {"seed": 11}
    elsewhere = sealed(fixed[0], settings=first | {"partition": partition})
    return [*fixed, row(dataset, init_seed=1), elsewhere]


def test_runs_that_vary_another_seed_change_nothing_in_the_table() -> None:
    entries = [row(name, seed) for name in ("train", "arc-1d") for seed in range(2)]
    entries += [row("combo-v2", uses_validation=True)]
    before = blocks(entries)
    *after, others = blocks([*noise_runs(), *entries])
    assert after == before
    assert others.other_seeds
    assert not any(block.other_seeds for block in before)
    assert others.title == f"{titles(before)[0]}, other seeds"
    assert {(line.label, line.differs, len(line.rows)) for line in others.lines} == {
        (f"train ({differs})", differs, count)
        for differs, count in (
            ("partition.seed=11, init_seed=0", 1),
            ("partition.seed=7, init_seed=0", 3),
            ("partition.seed=7, init_seed=1", 1),
        )
    }
    assert all(line.verdict == table.OTHER_SEEDS for line in others.lines)
    frame = table.as_frame([*after, others])
    assert frame["differs"].tolist()[:3] == ["", "", ""]
    assert "" not in frame["differs"].tolist()[3:]
    assert summary.findings(others) == summary.OTHER_SEEDS
    assert summary.as_markdown([*after, others]).count(summary.OTHER_SEEDS) == 1


def test_several_datasets_with_another_seed_are_compared() -> None:
    names = ("train", "arc-1d")
    entries = [row(name, seed) for name in names for seed in range(2)]
    again = [row(name, seed, init_seed=5) for name in names for seed in range(3)]
    found = blocks([*entries, *again])
    assert titles(found) == [
        f"smollm2-135m at quick on arc-agi-1 validation (init_seed={seed})" for seed in ("seed", 5)
    ]
    assert [block.baseline.label for block in found if block.baseline] == ["train", "train"]


def test_runs_of_make_noise_alone_have_a_line_for_the_experiment_with_the_most() -> None:
    found = blocks(noise_runs())
    assert titles(found) == [
        "smollm2-135m at quick on arc-agi-1 validation",
        "smollm2-135m at quick on arc-agi-1 validation, other seeds",
    ]
    assert [(line.label, len(line.rows)) for line in found[0].lines] == [("train", 3)]


def test_a_run_with_the_usual_seeds_is_not_pushed_out_by_runs_of_make_noise() -> None:
    mine = row("train", uses_validation=True)
    seen = [replace(one, mix=mine.mix) for one in noise_runs()]
    found = blocks([*seen, mine])
    title = "smollm2-135m at quick on arc-agi-1 validation, with validation demonstrations"
    assert titles(found) == [title, f"{title}, other seeds"]
    assert [line.rows for line in found[0].lines] == [(mine,)]
    assert sorted(len(line.rows) for line in found[1].lines) == [1, 1, 3]


def test_runs_with_other_seeds_of_earlier_code_are_not_said_to_be_compared() -> None:
    earlier = [replace(one, code=OTHER) for one in [*noise_runs(), row("train")]]
    found = blocks([sealed(one) for one in earlier])
    assert titles(found)[1].endswith(" validation, other seeds, code of commit 87e13db")
    assert "git checkout 87e13db" in summary.as_markdown(found[:1])
    assert "git checkout" not in summary.as_markdown(found[1:])


def test_the_block_with_the_most_lines_has_its_plain_title_and_is_the_first() -> None:
    entries = [row(), row("train"), row(settings=1), row(settings=2)]
    place = "smollm2-135m at quick on arc-agi-1 validation"
    plain, *others = titles(blocks(entries))
    assert plain == place
    assert sorted(others) == [f"{place} (augment.color_swaps={count})" for count in (1, 2)]


@pytest.mark.parametrize(
    ("lasts", "converged"),
    [([0.8, 0.8], True), ([0.8, None], False), ([None], False)],
)
def test_a_line_has_converged_if_no_run_is_best_at_its_last_step(
    lasts: list[float | None], converged: bool
) -> None:
    entries = [row(seed=seed, last=last) for seed, last in enumerate(lasts)]
    (block,) = blocks(entries)
    assert block.lines[0].converged is converged


def test_the_csv_compares_the_scores_with_the_baseline() -> None:
    entries = [
        row(name, seed, per_cell=[0.5] * 24, accuracy=accuracy)
        for name, accuracy in [("train", 0.0), ("a", 0.0), ("b", 0.125)]
        for seed in range(2)
    ]
    frame = table.as_frame(blocks(entries)).set_index("dataset")
    assert frame.loc["a", "accuracy_difference"] == 0
    assert frame.loc["a", "accuracy_difference_low"] == pytest.approx(-0.138, abs=1e-3)
    assert frame.loc["a", "accuracy_difference_high"] == pytest.approx(0.138, abs=1e-3)
    assert frame.loc["b", "pass_n_difference"] == pytest.approx(0.25)
    assert frame.loc["b", "pass_n_difference_low"] < 0.25 < frame.loc["b", "pass_n_difference_high"]
    assert pd.isna(frame.loc["train", "accuracy_difference"])


def test_a_mean_over_other_machines_names_what_differs() -> None:
    versions = {"python": "3.12.1", "torch": "2.13.0"}
    entries = [
        row(seed=0),
        row(seed=1, instructions="AVX2", threads=8),
        row(seed=2, versions=versions),
        row("train", seed=0, device="NVIDIA H100"),
        row("train", seed=1, device="NVIDIA H100"),
    ]
    found = blocks(entries)
    mixed = "instructions, threads, versions"
    lines = {line.label: ", ".join(line.mixed) for line in found[0].lines}
    assert lines == {"combo-v2": mixed, "train": ""}
    frame = table.as_frame(found).set_index("dataset")["mixed"]
    assert frame.to_dict() == {"combo-v2": mixed.replace(",", ""), "train": "no"}
    text = summary.as_markdown(found)
    [line] = [one for one in text.splitlines() if one.startswith("| combo-v2") and "±" in one]
    assert line.split("|")[-2].strip() == mixed
    [*_, listed] = text.split("\n\n")
    assert listed.splitlines() == [
        "1. Xeon, AVX512, 2 threads, python 3.11.7, torch 2.13.0",
        "2. Xeon, AVX2, 8 threads, python 3.11.7, torch 2.13.0",
        "3. Xeon, AVX512, 2 threads, python 3.12.1, torch 2.13.0",
        "4. NVIDIA H100, AVX512, 2 threads, python 3.11.7, torch 2.13.0",
    ]
