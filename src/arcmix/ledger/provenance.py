"""The committed results against `dvc.lock`, the code and `params.yaml`.

`dvc.lock` has the hash of each file that a stage read and wrote, and the values that it ran with.
These have to be those of the commit, and the hashes have to agree from stage to stage. This needs
no data.
"""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from arcmix.ledger import store
from arcmix.ledger.store import Recorded

LOCK = "dvc.lock"
"""Name of DVC's file."""

EXEMPT = ("code", "check", "local")
"""Stages of which no number depends: an edit of a comment or of another entry makes them stale."""

MISSING = "missing"
"""Stands for the address of a result that git tracks and that is not there."""

AGAIN = "run: make repro readme, then commit dvc.lock, the results and README.md"
"""What to do if a result is not that of the code and the values."""


@dataclass(frozen=True)
class Problem:
    """A reason to refuse results."""

    place: str
    """The file that is wrong."""
    text: str
    """What is wrong, and what to do."""


@dataclass(frozen=True)
class Commit:
    """The content of a commit, as far as stages read and wrote it."""

    results: Mapping[str, str]
    """Path of a result that git tracks -> its address (`store.address`)."""
    code: Mapping[str, str]
    """Path of the file with the fingerprint of a stage's code -> the present fingerprint."""
    programs: Sequence[str]
    """The folders of the code."""
    changed: Callable[[str], bool]
    """Whether a path, or one below it, differs from the base of the review."""

    def blamed(self, *paths: str) -> str:
        """Return the files that disagree with `dvc.lock`, or `dvc.lock` if it alone changed."""
        if self.changed(LOCK) and not any(map(self.changed, paths)):
            return LOCK
        return ", ".join(paths)


def problems(stages: Sequence[Recorded], commit: Commit) -> list[Problem]:
    """Return why the results of a commit do not belong to its code and its values.

    Args:
        stages: What `dvc.lock` says.
        commit: The content of the commit.
    """
    bound = [stage for stage in stages if stage.name not in EXEMPT]
    return [
        *_lacking(bound),
        *_commands(bound),
        *_values(bound, commit),
        *_code(bound, commit),
        *_files(bound, commit),
        *_chain(stages, commit),
    ]


def _lacking(stages: Iterable[Recorded]) -> Iterator[Problem]:
    for stage in stages:
        both = stage.reads | stage.writes
        if lacking := [path for path, address in both.items() if address is None]:
            text = f"has no hash of {', '.join(lacking)} for stage {stage.name}; {AGAIN}"
            yield Problem(LOCK, text)


def _commands(stages: Iterable[Recorded]) -> Iterator[Problem]:
    if names := [stage.name for stage in stages if not stage.command and any(stage.reads.values())]:
        yield Problem("dvc.yaml", f"{_stages(names)} ran with another command; {AGAIN}")


def _values(stages: Iterable[Recorded], commit: Commit) -> Iterator[Problem]:
    ran = defaultdict(list)
    for stage in stages:
        if any(stage.reads.values()) and stage.values:
            ran[stage.values].append(stage.name)
    for places, names in ran.items():
        text = f"{_stages(names)} ran with another value of {', '.join(places)}; {AGAIN}"
        yield Problem(commit.blamed("params.yaml"), text)


def _code(stages: Iterable[Recorded], commit: Commit) -> Iterator[Problem]:
    names = [
        stage.name
        for stage in stages
        for path, address in stage.reads.items()
        if path in commit.code and address not in (None, _hash(commit.code[path]))
    ]
    if names:
        text = f"{_stages([*dict.fromkeys(names)])} ran with other code; {AGAIN}"
        yield Problem(commit.blamed(*commit.programs), text)


def _hash(fingerprint: str) -> str:
    """Return the address of the file with a fingerprint, as stage `code` writes it."""
    return hashlib.md5(f"{fingerprint}\n".encode(), usedforsecurity=False).hexdigest()


def _files(stages: Iterable[Recorded], commit: Commit) -> Iterator[Problem]:
    """Compare the results in git with what stages wrote and read."""
    for path, address in commit.results.items():
        claims = [
            (stage.name, verb, own[path])
            for stage in stages
            for verb, own in (("wrote", stage.writes), ("read", stage.reads))
            if own.get(path) is not None
        ]
        wrong = [claim for claim in claims if claim[2] != address]
        if not wrong:
            continue
        if len({claim[2] for claim in claims}) == 1:
            # DVC's entries agree with each other.
            name, verb, found = claims[0]
            place = commit.blamed(path)
            held = "it is missing" if address == MISSING else f"its MD5 is {address}"
            text = f"is not what stage {name} {verb}: {held}, and dvc.lock has {found}; {AGAIN}"
            yield Problem(place, f"{path} {text}" if place == LOCK else text)
            continue
        for name, verb, found in wrong:
            yield Problem(
                LOCK,
                f"stage {name} {verb} {path} with the MD5 {found}, and the committed one has"
                f" {address}: the entry was edited, or the stage has to run again; {AGAIN}",
            )


def _chain(stages: Sequence[Recorded], commit: Commit) -> Iterator[Problem]:
    """Compare what a stage read with what the stage before it wrote, for files not in git."""
    written = {
        path: (stage.name, address)
        for stage in stages
        for path, address in stage.writes.items()
        if address is not None and path not in commit.results
    }
    for stage in stages:
        if stage.name in EXEMPT:
            continue
        for path, address in stage.reads.items():
            name, expected = written.get(path) or _folder(path, written)
            if address is not None and expected is not None and address != expected:
                yield Problem(
                    LOCK,
                    f"stage {stage.name} read {path} with the MD5 {address}, but stage {name} wrote"
                    f" {expected}: an entry was edited, or the stage has to run again; {AGAIN}",
                )


def _folder(
    path: str, written: Mapping[str, tuple[str, str]]
) -> tuple[str, str] | tuple[None, None]:
    """Return the stages that wrote the files of a folder, and the folder's address."""
    files = {
        other.removeprefix(f"{path}/"): (name, address)
        for other, (name, address) in written.items()
        if other.startswith(f"{path}/")
    }
    if not files or any(address.endswith(".dir") for _, address in files.values()):
        return None, None
    names = dict.fromkeys(name for name, _ in files.values())
    contents = {other: address for other, (_, address) in files.items()}
    return ", ".join(names), store.address_of(contents)


def _stages(names: Sequence[str]) -> str:
    return f"by dvc.lock, stage{'s' * (len(names) > 1)} {', '.join(names)}"
