from pathlib import Path

import pytest

from arcmix import fingerprints

LIBRARY = {
    "__init__.py": '"""A docstring is not code."""\n',
    "config/__init__.py": "",
    "config/params.py": "import arcmix.secret\n",
    "secret.py": "",
    "grid.py": "SIDE = 30\n",
    "files.py": "from arcmix.config import params\n",
    "tasks.py": "from arcmix import files, grid\n",
    "late.py": "",
    "types.py": "",
    "other.py": "from arcmix import grid\n",
    "sources/__init__.py": "",
    "sources/arc.py": "from ..grid import SIDE\nfrom . import pins\n",
    "sources/pins.py": "",
    "coded/__init__.py": "import arcmix.late\n",
    "coded/part.py": "",
    "pages/__init__.py": "",
    "pages/report.py": "from arcmix.pages import svg\n",
    "pages/svg.py": "",
    "pages/style.css": "a {}",
    "pages/templates/page.html": "<p>",
    "pages/templates/deeper/part.html": "<i>",
    "pages/drawn/__init__.py": "",
    "pages/drawn/other.svg": "<svg>",
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
        pytest.param("import json, numpy\n", set(), id="no-module-of-the-library"),
        pytest.param("from arcmix import grid, late\n", {"grid.py", "late.py"}, id="two-modules"),
        pytest.param("from arcmix.grid import SIDE\n", {"grid.py"}, id="a-name"),
        pytest.param("import arcmix.other as o\n", {"other.py", "grid.py"}, id="indirect-import"),
        pytest.param("from arcmix import tasks\n", {"tasks.py", "files.py", "grid.py"}, id="chain"),
        pytest.param("from arcmix.config import params\n", set(), id="not-params"),
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
        pytest.param(
            "from arcmix.pages import report\n",
            {
                "pages/report.py",
                "pages/svg.py",
                "pages/style.css",
                "pages/templates/page.html",
                "pages/templates/deeper/part.html",
            },
            id="data-files",
        ),
        pytest.param("def run():\n    from arcmix import late\n", {"late.py"}, id="in-a-function"),
        pytest.param(
            "if TYPE_CHECKING:\n    from arcmix.types import T\n", {"types.py"}, id="for-types"
        ),
    ],
)
def test_closure_is_the_program_and_its_imports(
    library: Path, text: str, imported: set[str]
) -> None:
    file = program(library, text)
    assert fingerprints.closure(file, library) == {file, *(library / name for name in imported)}


def test_closure_ends_with_circular_imports(library: Path) -> None:
    (library / "grid.py").write_text("from arcmix import other\n")
    file = program(library, "import arcmix.grid\n")
    assert fingerprints.closure(file, library) == {file, library / "grid.py", library / "other.py"}


def test_programs_are_all_files_but_the_package_file(tmp_path: Path) -> None:
    for name in ("predict", "report", "__init__", "new"):
        (tmp_path / f"{name}.py").touch()
    assert [file.stem for file in fingerprints.programs(tmp_path)] == ["new", "predict", "report"]


def test_the_fingerprint_of_a_run_covers_the_programs_that_make_its_numbers(library: Path) -> None:
    made = {
        name: program(library, f"x = '{name}'\n", name)
        for name in ("predict", "download", *fingerprints.EXCLUDED_PROGRAMS)
    }
    found = fingerprints.fingerprints(made.values(), library)
    assert found.keys() == {*made, "all"}
    assert len({*found.values()}) == len(found)
    assert found["predict"] == fingerprints.fingerprint([made["predict"]], library)
    assert found["all"] == fingerprints.fingerprint([made["predict"], made["download"]], library)


def test_an_edit_of_an_excluded_module_changes_no_fingerprint(library: Path) -> None:
    (library / "config").mkdir(exist_ok=True)
    names = [name.removesuffix(".py").replace("/", ".") for name in fingerprints.EXCLUDED_MODULES]
    file = program(library, "".join(f"import arcmix.{name}\n" for name in names))
    found = set()
    for text in ("x = 1\n", "x = 2\n"):
        for name in fingerprints.EXCLUDED_MODULES:
            (library / name).write_text(text)
        found.add(fingerprints.fingerprint([file], library))
    assert len(found) == 1
    assert all(
        (Path(fingerprints.__file__).parent / name).is_file()
        for name in fingerprints.EXCLUDED_MODULES
    )


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
def test_fingerprint_ignores_comments_layout_and_docstrings(
    library: Path, before: str, after: str
) -> None:
    old = fingerprints.fingerprint([program(library, before)], library)
    assert fingerprints.fingerprint([program(library, after)], library) == old
    assert len(old) == fingerprints.LENGTH


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
def test_fingerprint_changes_with_the_meaning_of_code(
    library: Path, before: str, after: str
) -> None:
    old = fingerprints.fingerprint([program(library, before)], library)
    assert fingerprints.fingerprint([program(library, after)], library) != old


def test_fingerprint_changes_with_imported_modules_alone(library: Path) -> None:
    file = program(library, "from arcmix import tasks\n")
    old = fingerprints.fingerprint([file], library)
    (library / "other.py").write_text("BESIDE = 1\n")
    (library / "config/params.py").write_text("BESIDE = 1\n")
    assert fingerprints.fingerprint([file], library) == old
    (library / "grid.py").write_text("SIDE = 31\n")
    assert fingerprints.fingerprint([file], library) != old


def test_fingerprint_changes_with_the_data_files_of_a_module(library: Path) -> None:
    file = program(library, "from arcmix.pages import report\n")
    old = fingerprints.fingerprint([file], library)
    (library / "pages/drawn/other.svg").write_text("<b>")
    assert fingerprints.fingerprint([file], library) == old
    (library / "pages/templates/.page.html.swp").write_text("what an editor leaves")
    (library / "old/__pycache__").mkdir(parents=True)
    (library / "old/__pycache__/gone.cpython-311.pyc").write_text("what a checkout leaves")
    assert fingerprints.fingerprint([file], library) == old
    (library / "pages/templates/page.html").write_text("<b>")
    assert fingerprints.fingerprint([file], library) != old


def test_fingerprint_covers_all_programs_in_any_order(library: Path) -> None:
    files = [program(library, f"x = {number}\n", f"p{number}") for number in range(3)]
    whole = fingerprints.fingerprint(files, library)
    assert fingerprints.fingerprint(reversed(files), library) == whole
    assert fingerprints.fingerprint(files[:2], library) != whole


def test_fingerprint_is_the_same_in_another_clone(library: Path, tmp_path: Path) -> None:
    file = program(library, "from arcmix import tasks\n")
    old = fingerprints.fingerprint([file], library)
    clone = tmp_path.rename(tmp_path.with_name("clone"))
    file, library = (clone / path.relative_to(tmp_path) for path in (file, library))
    assert fingerprints.fingerprint([file], library) == old
