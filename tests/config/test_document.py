import time
from pathlib import Path
from typing import Any

import pytest

from arcmix.config import document


@pytest.fixture
def file(tmp_path: Path):
    def write(content: str | bytes) -> Path:
        path = tmp_path / "params.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


LEVELS = 14
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{level}: &a{level} [{', '.join([f'*a{level - 1}'] * 9)}]\n" for level in range(1, LEVELS)
)
"""A file of one kilobyte with 9 ** 14 values."""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(BOMB, "not valid YAML: line 2: *a0 repeats a value; write it out", id="bomb"),
        pytest.param("a: &x [*x]\n", "line 1: *x repeats a value", id="endless"),
        pytest.param("a: " + "[" * 10**5, "line 1: more than 12 values inside", id="deep"),
        pytest.param(
            "".join("  " * n + "a:\n" for n in range(99)), "line 13: more than", id="maps"
        ),
        pytest.param("a: {<<: {b: 1}}\n", "line 1: << merges values, which is not", id="merge"),
        pytest.param(
            "a: !!python/object/apply:os.system [touch pwned]\n",
            "the tag 'tag:yaml.org,2002:python/object/apply:os.system' is not allowed; remove it",
            id="tag",
        ),
        pytest.param("a: !!set {x}\n", "the tag 'tag:yaml.org,2002:set' is not", id="set"),
        pytest.param("a: ! x\n", "the tag '!' is not allowed", id="bare-tag"),
        pytest.param(
            "a:\n  b: 1\n  b: 2\n",
            'line 3: found duplicate key "b" with value "2" (original value: "1"); ',
            id="twice",
        ),
        pytest.param("a: [1\nb: 2\n", "not valid YAML: line 2: did not find expected", id="open"),
        pytest.param("a: 1\n---\nb: 2\n", "but found another document", id="documents"),
        pytest.param("a: \x00\n", "unacceptable character #x0000", id="nul"),
        pytest.param("a: \x1b[2J\n", "unacceptable character #x001b", id="control"),
        pytest.param(b"a: \xff\n", "params.yaml: not in UTF-8: ", id="bytes"),
        pytest.param("a: 1\n".encode("utf-16"), "params.yaml: not in UTF-8: ", id="utf-16"),
        pytest.param("a: 2026-13-45\n", "not valid YAML: month must be in 1..12; ", id="date"),
        pytest.param("a: ._\n", "not valid YAML: could not convert string to float", id="number"),
        pytest.param("a: " + "9" * 5000, "not valid YAML: Exceeds the limit", id="digits"),
        pytest.param("a: 0x" + "f" * 999, "a: the integer does not fit into 64 bits", id="hex"),
        pytest.param("b:\n- -9223372036854775809\n", "b.0: the integer does not fit", id="integer"),
        pytest.param(
            "a: " + "x" * 10**5, "a: a text has at most 1000 characters, all printable, ", id="long"
        ),
        pytest.param('a: ["x\\ny"]', "a.0: a text has at most 1000 characters, all", id="lines"),
        pytest.param('a: "\\u202e"', "a: a text has at most 1000 characters, all", id="hidden"),
        pytest.param("a: ${oc.env:HOME}", "a: DVC would replace what follows ${, got ", id="dvc"),
        pytest.param("# " + "x" * 2**17, "more than the allowed 131072 bytes; shorten", id="size"),
        pytest.param("1: 2\n", "the top level: a name starts with a letter and ", id="number-name"),
        pytest.param("a: {null: 2}\n", "params.yaml: a: a name starts with a letter", id="no-name"),
        pytest.param("? [a, b]\n: 1\n", "a name starts with a letter and ", id="list-name"),
        pytest.param("? {a: b}\n: 1\n", "found unhashable key", id="map-name"),
        pytest.param(f"{'a' * 65}: 1\n", "digits, - and _, at most 64, so that", id="long-name"),
        pytest.param("a: {b-c: 1, B-C: 1}\n", "a: 'b-c' and 'B-C' differ only in case", id="case"),
        pytest.param("", "not a mapping of names to values, got None", id="empty"),
        pytest.param("- 1\n", "not a mapping of names to values, got [1]", id="list"),
    ],
)
def test_a_file_that_is_not_plain_is_one_short_line_at_once(file, content, message) -> None:
    path = file(content)
    started = time.monotonic()

    with pytest.raises(ValueError, match=r"^\S*params\.yaml: ") as caught:
        document.read(path)

    assert message in str(caught.value)
    assert len(str(caught.value)) < 500 + len(str(path))
    assert "\n" not in str(caught.value)
    assert time.monotonic() - started < 2


@pytest.mark.parametrize("kind", ["folder", "device"])
def test_what_is_no_file_is_refused(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "params.yaml"
    if kind == "folder":
        path.mkdir()
    else:
        path.symlink_to("/dev/zero")

    with pytest.raises(OSError, match=r"params.yaml: not a file; give the path of params.yaml"):
        document.read(path)


def test_read_reads_yaml_as_dvc_does(file) -> None:
    found = document.read(file("a: 1e-4\nb: yes\nc: 0o17\nd: 1_000\ne: '1'\nf: ~\n"))

    assert found == {"a": 1e-4, "b": "yes", "c": 15, "d": 1000, "e": "1", "f": None}


HOSTILE = (
    "x; touch pwned #",
    "$(touch pwned)",
    "`touch pwned`",
    "x\ntouch",
    "../../x",
    "/x",
    "a/b",
    ".",
    "..",
    "~",
    "-rf",
    "a b",
    "a.b",
    "${seed}",
    "1a",
    "é",
    "a\x00",
    "a\n",
    "",
    "a" * 65,
    None,
    7,
    True,
)


@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_that_could_be_more_than_a_name_is_refused(name: Any) -> None:
    with pytest.raises(ValueError, match="a name starts with a letter and contains only letters"):
        document.checked_name(name)


def test_an_old_name_is_refused_with_the_new_one() -> None:
    for old, new in document.RENAMED.items():
        with pytest.raises(ValueError, match=f"is now called '{new}'"):
            document.checked_name(old)
        assert document.checked_name(new) == new


@pytest.mark.parametrize(
    "path", ["", "/a", "../a", "a/../b", "a/..", "./a", "a//b", "a/", "a\\..\\b"]
)
def test_a_path_that_leaves_its_folder_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="a path is relative, separated by /"):
        document.checked_relative(path)


def test_a_path_in_a_folder_is_returned_as_it_is() -> None:
    for path in ("a", "a/b.json", "data/*/*.json", ".hidden/..a"):
        assert document.checked_relative(path) == path


@pytest.mark.parametrize(
    "value", ["x" * 10**6, [["x" * 99] * 99] * 99, {"x" * 99: 1}, {"a": [1] * 10**5}, 10**4000]
)
def test_a_shown_value_is_short(value: Any) -> None:
    assert 0 < len(document.shown(value)) <= document.MAX_SHOWN


def test_a_short_value_is_shown_whole() -> None:
    for value in ("x", [1, 2.5, None], {"a": {"b": ["c"]}}, 10**30):
        assert document.shown(value) == repr(value)


def test_an_unknown_name_is_listed_with_some_names_of_many() -> None:
    found = document.unknown("name7", [f"name{number}" for number in range(10**4)])

    assert found.startswith("'name7' is not one of ['name0', 'name1', 'name10', ")
    assert " and 9940 more; did you mean 'name7'?" in found
    assert len(found) < 1000
