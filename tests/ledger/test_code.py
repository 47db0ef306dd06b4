from pathlib import Path

import pytest

from arcmix.ledger import code

LIBRARY = {
    "__init__.py": '"""A docstring is no code."""\n',
    "params.py": "import arcmix.secret\n",
    "secret.py": "",
    "grid.py": "SIDE = 30\n",
    "files.py": "from arcmix import params\n",
    "tasks.py": "from arcmix import files, grid\n",
    "late.py": "",
    "types.py": "",
    "other.py": "from arcmix import grid\n",
    "sources/__init__.py": "",
    "sources/arc.py": "from ..grid import SIDE\nfrom . import pins\n",
    "sources/pins.py": "",
    "coded/__init__.py": "import arcmix.late\n",
    "coded/part.py": "",
}


@pytest.fixture
def library(tmp_path: Path) -> Path:
    for name, text in LIBRARY.items():
        file = tmp_path / "src/arcmix" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "src/arcmix"


def program(library: Path, text: str, name: str = "predict") -> Path:
    file = library.parents[1] / "stages" / f"{name}.py"
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


@pytest.mark.parametrize(
    ("text", "imported"),
    [
        pytest.param("import json, numpy\n", set(), id="nothing-of-ours"),
        pytest.param("from arcmix import grid, late\n", {"grid.py", "late.py"}, id="two-modules"),
        pytest.param("from arcmix.grid import SIDE\n", {"grid.py"}, id="a-name"),
        pytest.param("import arcmix.other as o\n", {"other.py", "grid.py"}, id="what-it-imports"),
        pytest.param("from arcmix import tasks\n", {"tasks.py", "files.py", "grid.py"}, id="chain"),
        pytest.param("from arcmix import params\n", set(), id="not-params"),
        pytest.param(
            "from arcmix.sources import arc\n",
            {"sources/arc.py", "sources/pins.py", "grid.py"},
            id="relative",
        ),
        pytest.param(
            "import arcmix.coded.part\n",
            {"coded/__init__.py", "coded/part.py", "late.py"},
            id="package-with-code",
        ),
        pytest.param("def run():\n    from arcmix import late\n", {"late.py"}, id="in-a-function"),
        pytest.param(
            "if TYPE_CHECKING:\n    from arcmix.types import T\n", {"types.py"}, id="for-types"
        ),
    ],
)
def test_closure_is_the_program_and_what_it_imports(
    library: Path, text: str, imported: set[str]
) -> None:
    file = program(library, text)
    assert code.closure(file, library) == {file, *(library / name for name in imported)}


def test_closure_ends_where_imports_go_round(library: Path) -> None:
    (library / "grid.py").write_text("from arcmix import other\n")
    file = program(library, "import arcmix.grid\n")
    assert code.closure(file, library) == {file, library / "grid.py", library / "other.py"}


def test_programs_are_those_that_make_numbers(tmp_path: Path) -> None:
    for name in (
        "predict",
        "report",
        "record",
        "ablation",
        "check",
        "download",
        "__init__",
        "new",
    ):
        (tmp_path / f"{name}.py").touch()
    assert [file.stem for file in code.programs(tmp_path)] == ["download", "new", "predict"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("x = 1\n", "# why\nx  =  1  # what\n", id="comment"),
        pytest.param("f(1, 2)\n", "f(\n    1,\n    2,\n)\n", id="layout"),
        pytest.param("x = 'a'\n", 'x = "a"\n', id="quotes"),
        pytest.param("x = 1\n", '"""New."""\nx = 1\n"""One."""\n', id="docstrings"),
        pytest.param(
            'def f():\n    """Old."""\n    return 1\n', "def f():\n    return 1\n", id="function"
        ),
        pytest.param('class A:\n    """Old."""\n', 'class A:\n    """New."""\n', id="class"),
    ],
)
def test_fingerprint_does_not_see_text_for_people(library: Path, before: str, after: str) -> None:
    old = code.fingerprint([program(library, before)], library)
    assert code.fingerprint([program(library, after)], library) == old
    assert len(old) == code.LENGTH


@pytest.mark.parametrize(
    ("before", "after"),
    [
        pytest.param("x = 1\n", "x = 2\n", id="value"),
        pytest.param("x = 0\n", "x = None\n", id="nothing"),
        pytest.param("x = 1\n", "x = 1.0\n", id="type"),
        pytest.param("x = 1\n", "x = True\n", id="truth"),
        pytest.param("x = ''\n", "x = 'a'\n", id="text"),
        pytest.param("f(a, b)\n", "f(b, a)\n", id="order"),
        pytest.param("f(x)\n", "f(*x)\n", id="star"),
        pytest.param("x = a < b\n", "x = a <= b\n", id="operator"),
    ],
)
def test_fingerprint_sees_a_change_of_meaning(library: Path, before: str, after: str) -> None:
    old = code.fingerprint([program(library, before)], library)
    assert code.fingerprint([program(library, after)], library) != old


def test_fingerprint_sees_the_library_below_but_nothing_beside(library: Path) -> None:
    file = program(library, "from arcmix import tasks\n")
    old = code.fingerprint([file], library)
    (library / "other.py").write_text("BESIDE = 1\n")
    (library / "params.py").write_text("BESIDE = 1\n")
    assert code.fingerprint([file], library) == old
    (library / "grid.py").write_text("SIDE = 31\n")
    assert code.fingerprint([file], library) != old


def test_fingerprint_is_of_all_programs_in_any_order(library: Path) -> None:
    files = [program(library, f"x = {number}\n", f"p{number}") for number in range(3)]
    whole = code.fingerprint(files, library)
    assert code.fingerprint(reversed(files), library) == whole
    assert code.fingerprint(files[:2], library) != whole


def test_fingerprint_is_the_same_in_another_clone(library: Path, tmp_path: Path) -> None:
    file = program(library, "from arcmix import tasks\n")
    old = code.fingerprint([file], library)
    clone = tmp_path.rename(tmp_path.with_name("clone"))
    file, library = (clone / path.relative_to(tmp_path) for path in (file, library))
    assert code.fingerprint([file], library) == old


def test_the_key_of_unfinished_work_changes_with_what_its_result_depends_on(
    tmp_path: Path,
) -> None:
    folder, file = tmp_path / "model", tmp_path / "tasks"
    (folder / "deeper").mkdir(parents=True)
    stage = tmp_path / "stage.py"
    found = []
    for text, values, weights, rows in [
        ("1", "{}", "w", "r"),
        ("2", "{}", "w", "r"),
        ("1", "{'seed': 1}", "w", "r"),
        ("1", "{}", "v", "r"),
        ("1", "{}", "w", "q"),
        ("1 # again", "{}", "w", "r"),
    ]:
        stage.write_text(text)
        (folder / "deeper/weights").write_text(weights)
        file.write_text(rows)
        found.append(code.key(stage, values, [folder, file]))
    (folder / "deeper/weights").rename(folder / "weights")
    found.append(code.key(stage, "{}", [folder, file]))
    assert len({*found}) == 6
    assert found[0] == found[-2]
