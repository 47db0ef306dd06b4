from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest

from arcmix.ledger import provenance, store
from arcmix.ledger.provenance import AGAIN, Commit, Problem
from arcmix.ledger.store import Recorded
from tests.repository import Repository

CODE = {"code/train": "c0de00000001", "code/sum": "c0de00000002"}
HASHES = {
    "code/sum": "a6d46c98af65fd889637b714728ac700",  # of the fingerprint and the end of its line
    "made/a": "a" * 32,
    "made/b": "b" * 32,
    "numbers.json": "c" * 32,
}


def recorded(name: str, reads: Sequence[str], writes: Sequence[str]) -> Recorded:
    def hashes(paths: Sequence[str]) -> dict[str, str | None]:
        return {path: HASHES[path] for path in paths}

    return Recorded(name, command=True, values=(), reads=hashes(reads), writes=hashes(writes))


def stages() -> dict[str, Recorded]:
    """Return two stages, of which the second reads the folder that the first writes."""
    train = recorded("train", [], ["made/a", "made/b"])
    total = recorded("sum", [], ["numbers.json"])
    folder = store.address_of({"a": "a" * 32, "b": "b" * 32})
    reads = {"made": folder, "code/sum": HASHES["code/sum"]}
    return {"train": train, "sum": replace(total, reads=reads)}


def problems(
    found: Mapping[str, Recorded],
    changed: Sequence[str] = (),
    address: str = "c" * 32,
    code: str = "c0de00000002",
) -> list[Problem]:
    commit = Commit(
        {"numbers.json": address}, CODE | {"code/sum": code}, ["src"], lambda path: path in changed
    )
    return provenance.problems([*found.values()], commit)


def test_entries_that_agree_with_each_other_and_with_the_commit_are_no_problem() -> None:
    assert problems(stages()) == []


def test_an_edited_result_is_named_unless_dvc_lock_alone_changed() -> None:
    text = f"is not what stage sum wrote: its MD5 is {'d' * 32}, and dvc.lock has {'c' * 32}"
    assert problems(stages(), address="d" * 32) == [Problem("numbers.json", f"{text}; {AGAIN}")]
    lock = [Problem("dvc.lock", f"numbers.json {text}; {AGAIN}")]
    assert problems(stages(), ["dvc.lock"], "d" * 32) == lock
    both = ["dvc.lock", "numbers.json"]
    assert problems(stages(), both, "d" * 32)[0].place == "numbers.json"


def test_a_missing_result_is_named() -> None:
    [found] = problems(stages(), address=provenance.MISSING)
    assert found.text.startswith("is not what stage sum wrote: it is missing, and dvc.lock has cc")


def test_other_code_is_named_with_its_stages() -> None:
    text = f"by dvc.lock, stage sum ran with other code; {AGAIN}"
    assert problems(stages(), code="c0de00000009") == [Problem("src", text)]
    assert problems(stages(), ["dvc.lock"], code="c0de00000009") == [Problem("dvc.lock", text)]


def test_another_value_or_command_is_named_with_its_stages() -> None:
    found = {
        name: replace(one, values=("seed", "finetune"), reads={"code/train": "e" * 32} | one.reads)
        for name, one in stages().items()
    }
    texts = [one for one in problems(found) if one.place == "params.yaml"]
    assert texts == [
        Problem(
            "params.yaml",
            f"by dvc.lock, stages train, sum ran with another value of seed, finetune; {AGAIN}",
        )
    ]
    found = stages()
    found["sum"] = replace(found["sum"], command=False)
    text = f"by dvc.lock, stage sum ran with another command; {AGAIN}"
    assert problems(found) == [Problem("dvc.yaml", text)]


@pytest.mark.parametrize("path", ["made", "numbers.json"])
def test_a_stage_without_a_hash_is_named(path: str) -> None:
    found = stages()
    one = found["sum"]
    found["sum"] = replace(
        one,
        reads={name: None if name == path else own for name, own in one.reads.items()},
        writes={name: None if name == path else own for name, own in one.writes.items()},
    )
    text = f"has no hash of {path} for stage sum; {AGAIN}"
    assert Problem("dvc.lock", text) in problems(found)


def test_a_stage_that_read_another_folder_than_the_one_written_is_named() -> None:
    found = stages()
    found["train"] = replace(found["train"], writes={"made/a": "a" * 32, "made/b": "e" * 32})
    [problem] = problems(found)
    assert problem.place == "dvc.lock"
    assert problem.text.startswith("stage sum read made with the MD5 ")
    assert "but stage train wrote" in problem.text


def test_stages_of_which_no_number_depends_may_be_stale() -> None:
    found = stages()
    found["check"] = replace(found["sum"], name="check", values=("seed",), writes={})
    assert problems(found) == []


def test_recorded_reads_dvc_lock_without_data(tmp_path) -> None:
    repository = Repository(tmp_path / "repository")
    repository.train("0.5")
    address = store.address(repository.folder / "data/adapter")
    made = store.address(repository.folder / "made")
    repository.forget()
    stage = Recorded("finetune", True, (), {"made": made}, {"data/adapter": address})
    assert store.recorded(repository.folder) == [stage]

    pipeline = repository.folder / "dvc.yaml"
    pipeline.write_text(pipeline.read_text() + "    params: [seed]\n")
    (repository.folder / "params.yaml").write_text("seed: 1\n")
    assert store.recorded(repository.folder)[0].values == ("seed",)
    pipeline.write_text(pipeline.read_text().replace("cp -r", "cp  -r"))
    assert not store.recorded(repository.folder)[0].command


def test_the_address_of_a_file_is_the_one_in_dvc_lock_and_finds_it_in_the_cache(tmp_path) -> None:
    repository = Repository(tmp_path / "repository")
    repository.train("0.5")
    weights = repository.folder / "data/adapter/prompt.json"
    address = store.address(weights)
    cached = store.cached(repository.folder, address)
    assert cached is not None
    assert cached.read_bytes() == weights.read_bytes()
    assert store.cached(repository.folder, "0" * 32) is None
    assert store.cached(repository.folder, "../../x") is None
