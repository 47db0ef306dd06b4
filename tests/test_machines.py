import re
from dataclasses import replace
from pathlib import Path

import pytest

from arcmix import machines
from arcmix.machines import Machine
from tests.rows import MACHINE

ONE = Machine(**MACHINE)


def test_a_machine_is_read_as_it_was_written(tmp_path: Path) -> None:
    written = replace(ONE, device="NVIDIA H100 80GB HBM3", ranks=2)
    machines.write(tmp_path / "machine.json", written)
    assert machines.read(tmp_path / "machine.json") == written


@pytest.mark.parametrize("text", ["", "[]", '{"device": "Xeon"}', '{"device": "<b>"}', "null"])
def test_another_file_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "machine.json").write_text(text)
    with pytest.raises(ValueError, match=r"machine.json: .*; run the stage that writes it again"):
        machines.read(tmp_path / "machine.json")


def test_differences_are_the_fields_that_differ_between_any_two() -> None:
    assert machines.differences([ONE, ONE]) == []
    others = [ONE, replace(ONE, threads=8), replace(ONE, device="another")]
    assert machines.differences(others) == ["device", "threads"]
    assert machines.differences([ONE, replace(ONE, versions={"torch": "2.13.0+cu130"})]) == [
        "versions"
    ]


def test_a_machine_is_one_line_in_words() -> None:
    assert str(ONE) == "Xeon, AVX512, 2 threads, python 3.11.7, torch 2.13.0"
    assert "1 thread, 4 ranks, python" in str(replace(ONE, threads=1, ranks=4))


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Intel(R) Xeon(R) CPU @ 2.20GHz", "Intel(R) Xeon(R) CPU @ 2.20GHz"),
        ("AMD  EPYC\t7B13\n", "AMD EPYC 7B13"),
        ("<script>|`$x$`", "script x"),
        ("***", "unknown"),
        ("x" * 300, "x" * 100),
    ],
)
def test_a_label_has_no_characters_of_markdown(text: str, label: str) -> None:
    assert machines.label(text) == label
    assert re.fullmatch(r"[A-Za-z0-9 ()@.,:/+_-]{1,100}", label)
