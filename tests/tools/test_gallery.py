import inspect
import re
from pathlib import Path

import numpy as np
import pytest

from arcmix import tasks
from arcmix.models import pretrained
from arcmix.pages import svg
from arcmix.sampling import augment, sample_table
from arcmix.tasks import Pair, Task
from arcmix.text.encode import Encoder
from tests import targets
from tests.arc import task
from tests.sampling.test_augment import FULL, POOL, SLOTS
from tests.training.test_trainer import settings
from tools import gallery as program

ROOT = Path(__file__).parents[2]

EVERY_COLOR = np.array([[5, 3, 8, 1, 9], [0, 7, 2, 6, 4]], np.uint8)
KNOWN = Task("a.b", "arc", "training", 0, (Pair(EVERY_COLOR, EVERY_COLOR.T),), task().test)

FILLS = """
const [grid, height, width] = arguments;
grid.scrollIntoView({block: "center"});
const box = grid.getBoundingClientRect();
const fill = (y, x) => getComputedStyle(document.elementFromPoint(
  box.left + (x + 0.5) * box.width / width, box.top + (y + 0.5) * box.height / height)).fill;
return [...Array(height).keys()].map(y => [...Array(width).keys()].map(x => fill(y, x)));
"""
"""Returns the color at the center of each cell of a grid."""

TEXTS = "return [...arguments[0].querySelectorAll(arguments[1])].map(found => found.textContent)"


def run(tmp_path, *, shown=6, encoder=("minimal",), **changes):
    """Draw the files of a folder, and return the folder of the pages."""
    program.run(
        config=program.Params.model_validate(
            {
                "seed": 0,
                "prompt": {"format": "bare", "encoder": encoder},
                "finetune": settings(**{"max_tokens": 1000} | changes),
            }
        ),
        tables=tmp_path / "tables",
        samples=tmp_path / "samples.parquet",
        base_model=tmp_path / "base-model",
        shown=shown,
        out=tmp_path / "out",
    )
    return tmp_path / "out"


@pytest.fixture(autouse=True)
def made(tmp_path, base_model):
    """A folder with task tables, of which one is empty, samples and a model."""
    tasks.write(tmp_path / "tables/mini-arc.parquet", [KNOWN, task("b")])
    tasks.write(tmp_path / "tables/arc.parquet", [task(f"t{number}") for number in range(30)])
    tasks.write(tmp_path / "tables/re-arc.parquet", [])
    sample_table.write(
        tmp_path / "samples.parquet", iter([augment.draw(POOL, SLOTS, FULL, 0, 0, 20)])
    )
    (tmp_path / "base-model").symlink_to(base_model)


def titles(page):
    return re.findall("<h2>(.*)</h2>", page.read_text())


def rgb(color):
    """Return a color of the palette in the format of a browser."""
    red, green, blue = bytes.fromhex(svg.PALETTE[color][1:])
    return f"rgb({red}, {green}, {blue})"


def test_run_writes_pages_of_sources_and_samples_and_an_index(tmp_path):
    out = run(tmp_path)
    names = ["arc.html", "index.html", "mini-arc.html", "samples.html"]
    assert sorted(path.name for path in out.iterdir()) == names
    assert titles(out / "mini-arc.html") == ["a.b", "b"]
    assert titles(out / "samples.html") == [f"sample {number}" for number in range(6)]
    index = (out / "index.html").read_text()
    assert re.findall('href="(.*?).html".*?<td>(.*?)</td><td>(.*?)</td>', index)[-3:] == [
        ("arc", "6", "30"),
        ("mini-arc", "2", "2"),
        ("samples", "6", "20"),
    ]
    assert "The dataset has no use for re-arc." in index


def test_samples_that_are_trained_on_come_before_those_that_are_too_long(tmp_path):
    page = run(tmp_path, shown=20, max_tokens=120) / "samples.html"
    facts = re.findall("<li>([0-9]+) tokens(.*?)</li>", page.read_text())
    long = [int(tokens) > 120 for tokens, _ in facts]
    assert long == sorted(long)
    assert 0 < sum(long) < len(long) == 20
    assert [text != "" for _, text in facts] == long
    numbers = [int(title.removeprefix("sample ")) for title in titles(page)]
    fit = long.count(False)
    assert sorted(numbers) == [*range(20)]
    assert numbers[:fit] == sorted(numbers[:fit])
    about = f"The first 20 samples were looked at: {fit} of them have at most 120 tokens."
    assert about in page.read_text()


def test_too_long_samples_are_shown_only_if_too_few_fit(tmp_path):
    page = run(tmp_path, shown=2, max_tokens=120) / "samples.html"
    assert "more than the" not in page.read_text()


def test_a_browser_filters_by_words_of_titles_and_facts(tmp_path, browse):
    browser = browse(run(tmp_path) / "mini-arc.html")
    field = browser.find_element("id", "search")

    def shown():
        sections = browser.find_elements("tag name", "section")
        return [one.find_element("tag name", "h2").text for one in sections if one.is_displayed()]

    assert shown() == ["a.b", "b"]
    field.send_keys("TRAINING a.")
    assert shown() == ["a.b"]
    assert browser.find_element("id", "shown").text == "1 of 2"
    field.send_keys("x")
    assert shown() == []
    assert browser.find_element("id", "none").text == "Nothing matches the filter."


def test_a_larger_number_of_tasks_extends_a_smaller_one(tmp_path):
    few = titles(run(tmp_path, shown=5) / "arc.html")
    more = titles(run(tmp_path, shown=12) / "arc.html")
    assert (len(few), len(more)) == (5, 12)
    assert {*few} < {*more} < {f"t{number}" for number in range(30)}


@pytest.mark.parametrize("name", ["tables", "samples.parquet", "base-model"])
def test_run_names_a_missing_file_and_the_command_that_makes_it(tmp_path, name):
    (tmp_path / name).rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match=rf"no \S*/{name}; .* so run: make repro"):
        run(tmp_path)


def test_make_passes_every_argument_of_run():
    name, named = targets.tool("gallery")
    assert name == "gallery"
    assert {*named} == {*inspect.signature(program.run).parameters} - {"config"} | {"params"}


def test_run_refuses_to_show_no_tasks(tmp_path):
    with pytest.raises(ValueError, match="a page shows at least 1 task, got 0"):
        run(tmp_path, shown=0)


def test_a_browser_shows_each_cell_in_its_color(tmp_path, browse):
    browser = browse(run(tmp_path) / "mini-arc.html")
    drawn = browser.find_elements("css selector", "section:first-of-type svg")
    assert [one.get_attribute("aria-label") for one in drawn[:2]] == [
        "grid of 2 by 5 cells",
        "grid of 5 by 2 cells",
    ]
    for one, grid in zip(drawn, (EVERY_COLOR, EVERY_COLOR.T), strict=False):
        fills = browser.execute_script(FILLS, one, *grid.shape)
        assert fills == [[rgb(color) for color in row] for row in grid.tolist()]


@pytest.mark.parametrize("encoder", [("minimal",), ("tokens", "row_number")])
def test_a_browser_shows_the_text_of_a_sample_with_its_answer_marked(
    tmp_path, base_model, browse, encoder
):
    browser = browse(run(tmp_path, encoder=encoder) / "samples.html")
    end = str(pretrained.load_tokenizer(base_model).eos_token)
    write = Encoder(encoder).encode
    sections = browser.find_elements("css selector", "section")
    assert len(sections) == 6
    for section, pairs in zip(
        sections, sample_table.read_pairs(tmp_path / "samples.parquet"), strict=False
    ):
        answer = write(pairs[-1].output) + end
        [whole] = browser.execute_script(TEXTS, section, "pre")
        assert browser.execute_script(TEXTS, section, "mark") == [answer]
        assert whole.endswith(f"Input\n{write(pairs[-1].input)}\nOutput\n{answer}")
        assert browser.execute_script(TEXTS, section, ".special") == [end]


def test_a_browser_shows_a_token_of_the_encoder_as_one_element(tmp_path, browse):
    browser = browse(run(tmp_path, encoder=("tokens",)) / "samples.html")
    [section, *_] = browser.find_elements("css selector", "section")
    [pairs, *_] = sample_table.read_pairs(tmp_path / "samples.parquet")
    tokens = browser.execute_script(TEXTS, section, "mark i")
    cells = [f"<{color}>" for color in pairs[-1].output.reshape(-1)]
    assert [token for token in tokens if re.fullmatch(r"<\d>", token)] == cells


def test_a_browser_follows_links_from_the_index_to_a_page_and_back(tmp_path, browse):
    browser = browse(run(tmp_path) / "index.html")
    browser.find_element("link text", "samples").click()
    assert browser.title == "samples: 6 of 20"
    browser.find_element("link text", "Gallery").click()
    assert browser.title == "Gallery"
