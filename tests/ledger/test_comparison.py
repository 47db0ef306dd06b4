from dataclasses import replace

from arcmix.ledger import comparison
from tests.rows import MACHINE, row

PUBLISHED = row(loss=0.5426)
OWN = row(loss=0.5462, instructions="AVX2", threads=8)


def test_equal_runs_are_counted() -> None:
    own = [row(loss=0.5426, device="another"), row("train")]
    text = comparison.as_markdown([PUBLISHED, row("eval")], own)
    assert text == "1 of 1 runs made here equal those of the ledger.\n"
    assert comparison.as_markdown([PUBLISHED], []).startswith("0 of 0 runs made here")


def test_the_table_has_both_numbers_and_the_machines_that_differ() -> None:
    text = comparison.as_markdown([PUBLISHED], [OWN])
    counted, table, reason = text.removesuffix("\n").split("\n\n")
    assert counted == "0 of 1 runs made here equal those of the ledger."
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    assert cells[2:] == [
        [PUBLISHED.name, "best_val_loss", "0.5426", "0.5462", "+0.0036"],
        [PUBLISHED.name, "val_loss", "0.5426", "0.5462", "+0.0036"],
        [PUBLISHED.name, "answering_val_loss", "0.5426", "0.5462", "+0.0036"],
        [PUBLISHED.name, "answering_loss_per_cell", "0.5426", "0.5462", "+0.0036"],
    ]
    assert reason == (
        f"{PUBLISHED.name}: the machines differ in instructions, threads. Ledger: Xeon, AVX512, 2"
        " threads, python 3.11.7, torch 2.13.0. Own: Xeon, AVX2, 8 threads, python 3.11.7,"
        " torch 2.13.0."
    )


def test_other_numbers_on_an_equal_machine_are_no_difference_of_machines() -> None:
    text = comparison.as_markdown([PUBLISHED], [row(loss=0.5462)])
    assert "the machines are alike" in text


def test_numbers_outside_the_metrics_count_too() -> None:
    other = replace(PUBLISHED, tasks={"b": {"tests": 1, "accuracy": 0.0, "val_loss": None}})
    assert comparison.changed(PUBLISHED, other) == []
    assert "its losses by step or by task" in comparison.sentence(PUBLISHED, other)
    assert comparison.as_markdown([PUBLISHED], [other]).startswith("0 of 1 runs")


def test_stages_that_ran_on_two_machines_are_named_once_each() -> None:
    other = MACHINE | {"device": "another"}
    both = replace(PUBLISHED, machines={"adapt": MACHINE, "finetune": MACHINE, "predict": other})
    assert comparison.described(both).count("; ") == 1
    assert comparison.mixed([both]) == []
    assert comparison.mixed([both, PUBLISHED]) == []
    assert comparison.mixed([both, replace(both, machines={"predict": MACHINE})]) == ["device"]


def test_a_sentence_names_the_sources_that_are_not_pinned() -> None:
    parts = [part | {"pinned": False, "table": "my-tasks"} for part in OWN.mix["components"]]
    loose = replace(OWN, mix=OWN.mix | {"components": parts})

    found = comparison.unpinned([PUBLISHED, loose, loose])

    assert found.startswith("Not pinned: my-tasks. The files of these sources are not verified")
    assert found.endswith("make pin SOURCE=my-tasks.")
    assert comparison.unpinned([PUBLISHED, OWN]) == ""
