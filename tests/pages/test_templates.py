import re
from pathlib import Path

import pytest
from jinja2 import UndefinedError

from arcmix.pages import templates

FOLDER = Path(templates.__file__).with_name("templates")
VALUES = {"title": "a<b", "lead": "c & d", "palette": ["#000001", "#ff0002"]}
REPORT = VALUES | {"scores": {}, "settings": {}}


def source(name):
    """Return the content of a file in the folder of templates."""
    return (FOLDER / name).read_text()


def test_a_page_is_complete_and_has_the_common_style():
    page = templates.render("page.html", **VALUES)
    assert page.startswith('<!DOCTYPE html>\n<html lang="en">\n')
    assert page.endswith("</body>\n</html>\n")
    assert source("page.css") in page


def test_a_page_escapes_its_texts():
    page = templates.render("page.html", **VALUES)
    assert "<title>a&lt;b</title>" in page
    assert '<h1>a&lt;b</h1>\n<p id="lead">c &amp; d</p>' in page


def test_a_page_has_a_rule_for_each_color_of_the_palette():
    page = templates.render("page.html", **VALUES)
    assert "\n.c0 { fill: #000001; }\n.c1 { fill: #ff0002; }\n" in page
    assert ".c2" not in page


def test_style_and_script_are_included_unchanged():
    page = templates.render("report.html", **REPORT, data={})
    for name in ("page.css", "report.css", "report.js"):
        assert source(name) in page


@pytest.mark.parametrize("name", ["page.css", "report.css", "gallery.css", "report.js"])
def test_style_and_script_cannot_end_their_element(name):
    assert not re.search("</(style|script)|<!--", source(name), re.IGNORECASE)


def test_a_missing_value_is_an_error():
    with pytest.raises(UndefinedError, match="'lead' is undefined"):
        templates.render("page.html", title="a", palette=[])


def test_data_cannot_end_its_element():
    page = templates.render(
        "report.html", **VALUES, scores={}, settings={}, data={"id": "</script><!--<b>&"}
    )
    assert r'{"id":"\u003c/script\u003e\u003c!--\u003cb\u003e\u0026"}</script>' in page


def test_data_that_json_cannot_hold_is_an_error():
    with pytest.raises(ValueError, match="not JSON compliant"):
        templates.render(
            "report.html", **VALUES, scores={}, settings={}, data={"loss": float("nan")}
        )
