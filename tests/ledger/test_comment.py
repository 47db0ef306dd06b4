from typing import Any

from arcmix.ledger import comment
from arcmix.ledger.comment import Change, Review
from arcmix.ledger.provenance import Problem

HOSTILE = "`x`` | @someone <img src=y>\n```\n# title"


def review(**changes: Any) -> Review:
    given: dict[str, Any] = {
        "title": "Against a commit.",
        "problems": [],
        "notes": [],
        "changes": [],
        "verdicts": [],
        "metrics": "",
        "values": "",
    }
    return Review(**given | changes)


def outside(text: str) -> str:
    """Return what of a comment is neither in a block of code nor in code."""
    lines, fence = [], ""
    for line in text.splitlines():
        if fence:
            fence = "" if line == fence else fence
        elif line.startswith("```"):
            fence = line.removesuffix("text")
        else:
            lines.append("".join(line.split("`")[::2]))
    assert not fence
    return "\n".join(lines)


def test_a_stranger_s_text_is_code_alone() -> None:
    text = comment.as_markdown(
        review(
            problems=[Problem("file", HOSTILE)],
            notes=[HOSTILE],
            changes=[Change(HOSTILE, "new", None, HOSTILE)],
            verdicts=[(HOSTILE, "-", HOSTILE)],
            metrics=HOSTILE,
            values=HOSTILE,
        ),
        {},
    )
    assert text.startswith("## Review of results: refused\n")
    for part in ("@someone", "<img", "# title"):
        assert part in text
        assert part not in outside(text)


def test_a_change_of_nothing_says_so() -> None:
    text = comment.as_markdown(review(), {})
    assert text.startswith("## Review of results: passed\n")
    for part in ("No row was added or removed.", "No verdict changed.", "No difference."):
        assert part in text


def test_a_comment_fits_github() -> None:
    text = comment.as_markdown(review(problems=[Problem("a", "x" * 99_999)] * 9), {})
    assert len(text) < 65_536
    assert "(cut here)" in text


def test_verdicts_that_changed_are_found_by_the_label_of_their_line() -> None:
    before = "label,verdict\na,baseline\nb,better\nc,worse\n"
    after = "label,verdict\na,baseline\nb,worse\nd,\n"
    assert comment.verdicts(before, after) == [
        ("b", "better", "worse"),
        ("d", "-", "none"),
        ("c", "worse", "-"),
    ]
    assert comment.verdicts("", after)[0] == ("a", "-", "baseline")
