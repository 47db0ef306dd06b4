from pathlib import Path

from arcmix import fingerprints
from stages import code as stage

ROOT = Path(__file__).parents[2]
PROGRAMS = ROOT / "stages"


def written(folder: Path, library: Path) -> dict[str, str]:
    """Return what the stage writes, by the name of the file."""
    stage.run(library=library, programs=PROGRAMS, out=folder)
    return {path.name: path.read_text() for path in folder.iterdir()}


def copy(library: Path, folder: Path, old: str, new: str, name: str) -> Path:
    """Return a copy of the library with one text replaced in one of its modules."""
    for path in library.rglob("*"):
        if path.is_file() and path.suffix != ".pyc":
            target = folder / "arcmix" / path.relative_to(library)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    module = folder / "arcmix" / name
    text = module.read_text()
    assert old in text
    module.write_text(text.replace(old, new))
    return folder / "arcmix"


def test_run_writes_a_file_for_each_stage_and_one_for_the_run(tmp_path: Path) -> None:
    found = written(tmp_path / "out", ROOT / "src/arcmix")
    assert found.keys() == {*(file.stem for file in fingerprints.programs(PROGRAMS)), "all"}
    assert all(len(text) == fingerprints.LENGTH + 1 for text in found.values())


def test_an_edit_of_a_docstring_changes_no_file(tmp_path: Path) -> None:
    old, *_ = (ROOT / "src/arcmix/models/packing.py").read_text().splitlines()
    assert old.startswith('"""')
    edited = copy(ROOT / "src/arcmix", tmp_path, old, '"""Rows."""', "models/packing.py")
    assert written(tmp_path / "out", edited) == written(tmp_path / "in", ROOT / "src/arcmix")


def test_an_edit_of_code_changes_the_files_of_the_stages_that_run_it(tmp_path: Path) -> None:
    old, new = "room.append(limit)", "room.append(limit + 1)"
    edited = copy(ROOT / "src/arcmix", tmp_path, old, new, "models/packing.py")
    before, after = (
        written(tmp_path / "in", ROOT / "src/arcmix"),
        written(tmp_path / "out", edited),
    )
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"preflight", "finetune", "adapt", "predict", "all"}
