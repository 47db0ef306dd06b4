"""Mutations of `params.yaml` through stage `check`: each passes or is one clear line."""

import copy
import importlib
import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from arcmix import launch, program, randomness
from arcmix.config import check as checks
from arcmix.config import command, params, schema
from stages import check

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "params.yaml").read_text()
STAGES = sorted(path.stem for path in (ROOT / "stages").glob("*.py") if path.stem != "__init__")
COUNT = 200
"""Number of mutations of values, and of mutations of the text."""

HOSTILE = (
    "; touch pwned #",
    "x; touch pwned #",
    "$(touch pwned)",
    "`touch pwned`",
    "x\ntouch pwned\n",
    "python -c open('pwned','w')",
    "accelerate launch -m evil",
    "accelerate launch --config_file ../evil.yaml",
    "../../pwned",
    "/pwned",
    "~/pwned",
    "{{ 7 * 7 }}",
    "{% for x in y %}",
    "${seed}",
    "${oc.env:HOME}",
    "%(seed)s",
    "--index-url=https://example.org",
    "-r /etc/passwd",
    "x @ file:///etc/passwd",
    "ext::sh -c touch% pwned",
    "file:///etc/passwd",
    "https://user:secret@example.org",
    "con",
    "a\x00b",
    "\u202e\U0001f600",
    "<script>alert(1)</script>",
    "| a | b |",
    "a" * 300,
    "a" * 5000,
    "",
    " ",
    "none",
    "all",
    "seed",
    "10%",
    "-1",
    "01",
    "nan",
)
STRANGE = (
    None,
    True,
    False,
    0,
    1,
    2,
    -1,
    -100,
    255,
    2**31,
    2**32,
    2**63,
    10**30,
    0.0,
    -0.5,
    0.5,
    1.0,
    1e-320,
    1e308,
    float("inf"),
    float("nan"),
    [],
    {},
    [1],
    ["minimal", 5],
    {"x": 1},
    {"kind": "folder"},
    [[[[[[]]]]]],
)
LINES = (
    "seed: 1",
    "seed: *x",
    "x: &x [1]",
    "<<: {seed: 1}",
    "  seed: 1",
    "\tseed: 1",
    "? [a, b]\n: 1",
    "? {a: b}\n: 1",
    "seed: !!python/object/apply:os.system ['touch pwned']",
    "seed: !!binary aGk=",
    "%YAML 1.1",
    "---",
    "...",
    "- 1",
    "}",
    "'",
    ": :",
    "\x00",
    "\x07",
    "\ufeff",
    "d: 2026-13-45",
    "e: ._",
    "f: " + "[" * 400,
    "g: " + "9" * 5000,
    "null: 1",
    "1: 2",
    "true: 1",
)


class Draw:
    """The random choices of one mutation."""

    def __init__(self, purpose: str, number: int) -> None:
        self.words = iter(randomness.words(0, purpose, number, 1, 32)[0])

    def below(self, limit: int) -> int:
        """Return a number from 0 to `limit` - 1."""
        return int(next(self.words)) % limit

    def of(self, values: Any) -> Any:
        """Return one of some values."""
        return values[self.below(len(values))]


def nodes(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each container of a tree and each key in it."""
    below = value.items() if isinstance(value, dict) else enumerate(value)
    for key, one in below:
        yield value, key
        if isinstance(one, (dict, list)):
            yield from nodes(one)


def mutated_values(number: int) -> str:
    """Return the file after a change of its values, as YAML."""
    draw = Draw("values", number)
    values = YAML(typ="safe").load(TEXT)
    for _ in range(1 + draw.below(2)):
        places = [*nodes(values)]
        parent, key = draw.of(places)
        match draw.below(6):
            case 0:
                del parent[key]
            case 1 if isinstance(parent, dict):
                parent[draw.of(HOSTILE)] = parent.pop(key)
            case 2 if isinstance(parent, dict):
                parent[draw.of((*HOSTILE, 7, None, "x", "seed"))] = draw.of(STRANGE)
            case 3:
                other, name = draw.of(places)
                parent[key], other[name] = copy.deepcopy((other[name], parent[key]))
            case 4:
                parent[key] = draw.of(HOSTILE)
            case _:
                parent[key] = draw.of(STRANGE)
    # JSON is YAML, and can write every text.
    return json.dumps(values, ensure_ascii=False).replace("NaN", ".nan").replace("Infinity", ".inf")


def mutated_text(number: int) -> str:
    """Return the file after damage of its text."""
    draw = Draw("text", number)
    lines = TEXT.split("\n")
    for _ in range(1 + draw.below(2)):
        place = draw.below(len(lines))
        match draw.below(6):
            case 0:
                del lines[place]
            case 1:
                lines.insert(place, lines[place])
            case 2:
                lines[place] = draw.of(("  ", " ", "")) + lines[place].lstrip()
            case 3:
                at = draw.below(len(lines[place]) + 1)
                damaged = (
                    lines[place][:at] + draw.of(":{}[]&*!|>'\"%@`#,-?\x00") + lines[place][at:]
                )
                lines[place] = damaged
            case 4:
                lines = lines[: place + 1]
            case _:
                lines.insert(place, draw.of(LINES))
    return "\n".join(lines)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return an empty folder, which is the current one."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DVC_ROOT", raising=False)
    return tmp_path


def outcome(folder: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> str | None:
    """Return the error of stage `check` for a file, None if it passes."""
    (folder / "params.yaml").write_text(text, errors="surrogatepass")
    monkeypatch.setattr(sys, "argv", ["check.py", "--file", "params.yaml", "--out", "checked"])
    try:
        program.main(check.run)
    except SystemExit as ended:
        return str(ended.code)
    return None


@pytest.mark.parametrize("mutated", [mutated_values, mutated_text])
def test_each_mutation_passes_or_is_one_clear_line(folder, monkeypatch, mutated) -> None:
    before = {*ROOT.iterdir()}
    passed = 0

    for number in range(COUNT):
        text = mutated(number)
        error = outcome(folder, text, monkeypatch)

        if error is None:
            passed += 1
            holds_for_every_stage(folder / "params.yaml")
        else:
            assert error.startswith("error in check: params.yaml: "), (number, error)
            assert "\n" not in error
            assert len(error) < 2000, (number, error)
            assert "traceback" not in error, (number, error)
            assert not (folder / "checked").exists()
        (folder / "checked").unlink(missing_ok=True)
        assert [path.name for path in folder.iterdir()] == ["params.yaml"]

    assert COUNT / 50 < passed < COUNT / 2
    assert {*ROOT.iterdir()} == before


def holds_for_every_stage(path: Path) -> None:
    """Check that a file that passed is what every stage and the launcher accept."""
    file = checks.check_file(path)
    again = schema.validate(path, params.File, json.loads(file.model_dump_json()), {})
    assert again == file
    for stage in STAGES:
        if loaded := getattr(importlib.import_module(f"stages.{stage}"), "Params", None):
            for key in file.sources if stage == "download" else ["none"]:
                schema.load(path, loaded, key=key)
    options = command.options(schema.load(path, launch.Params).launch)
    assert options is None or shlex.split(file.launch)[:2] == ["accelerate", "launch"]


def test_the_program_itself_says_the_same_line(folder, monkeypatch) -> None:
    settings = os.environ | {"PYTHONPATH": f"{ROOT / 'src'}{os.pathsep}{ROOT}"}

    for number in range(0, COUNT, COUNT // 3):
        expected = outcome(folder, mutated_values(number), monkeypatch)
        (folder / "checked").unlink(missing_ok=True)
        done = subprocess.run(
            [sys.executable, "-m", "stages.check", "--file", "params.yaml", "--out", "checked"],
            env=settings,
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, (folder / "checked").exists()) == (
            (0, True) if expected is None else (1, False)
        )
        if expected is not None:
            assert done.stderr.splitlines() == [expected]
