import hashlib
from pathlib import Path

from arcmix.ledger import commits
from tests.repository import commit

CODES = ("c0de00000001", "c0de00000002", "c0de00000003")


def lock(code: str) -> str:
    """Return a lock file with the hash of the file that holds a fingerprint of code."""
    hashed = hashlib.md5(f"{code}\n".encode(), usedforsecurity=False).hexdigest()
    return f"stages:\n  record:\n    deps:\n    - path: data/code/all\n      md5: {hashed}\n"


def test_code_has_the_first_commit_with_its_results_and_the_newest_comes_first(
    tmp_path: Path,
) -> None:
    first = commit(tmp_path, commits.LOCK, lock(CODES[0]), time=1)
    commit(tmp_path, commits.LOCK, f"{lock(CODES[0])}# other results\n", time=2)
    second = commit(tmp_path, commits.LOCK, lock(CODES[1]), time=3)
    commit(tmp_path, "other", lock(CODES[2]), time=4)
    found = commits.of_codes(tmp_path, CODES)
    assert [*found.items()] == [(CODES[1], second), (CODES[0], first), (CODES[2], None)]


def test_without_a_repository_there_is_no_commit(tmp_path: Path) -> None:
    assert commits.of_codes(tmp_path, CODES[:1]) == {CODES[0]: None}
    assert commits.of_codes(tmp_path / "none", CODES[:1]) == {CODES[0]: None}
