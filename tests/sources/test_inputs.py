from pathlib import Path

import pytest

from arcmix.config import check, origins
from arcmix.sources import inputs

SOURCES = check.check_file(Path(__file__).parents[2] / "params.yaml").sources


def changed(name: str, **values: object) -> dict[str, str]:
    """Return what decides the content of a source after a change of its entry."""
    entry = SOURCES[name].model_copy(update=values)
    return inputs.contents([name], {name: entry})


def test_what_decides_the_content_of_pinned_tasks_is_their_digest() -> None:
    entry = SOURCES["mini-arc"]
    assert isinstance(entry, origins.ArchiveSource)
    found = inputs.contents(["mini-arc", "new-train"], SOURCES)
    assert found == {"mini-arc": entry.digest}
    # The commit decides nothing that the digest does not.
    assert changed("mini-arc", commit="0" * 40) == found


@pytest.mark.parametrize(("name", "more"), [("re-arc", "variations"), ("count", "tasks")])
def test_what_decides_the_content_of_drawn_tasks_are_their_settings(name: str, more: str) -> None:
    found = inputs.contents([name], SOURCES)
    assert len(found[name]) == 64
    assert changed(name, pin=None) == found
    assert changed(name, seed=1) != found
    assert changed(name, **{more: 9}) != found


def test_nothing_decides_the_content_of_a_source_that_is_not_pinned() -> None:
    loose = origins.FolderSource(kind="folder", path="mine")
    assert inputs.contents(["mine"], {"mine": loose}) == {}
    pinned = loose.model_copy(update={"digest": "a" * 64})
    assert inputs.contents(["mine"], {"mine": pinned}) == {"mine": "a" * 64}
