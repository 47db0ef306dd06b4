import re
from datetime import datetime
from urllib.parse import quote
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.wait import WebDriverWait

from arcmix.pages import report, svg, templates
from tests.entries import CLOSE, FAR, LONG, TRUTH, entry

ENTRIES = [
    entry("c<b>1", [TRUTH, TRUTH, CLOSE, None], loss=0.5, scores={0: -1.5}),
    entry("a2", [CLOSE, LONG, FAR], loss=0.25),
    entry("b3", [None, None], truth=np.ones((3, 5), np.uint8)),
    entry("e4", [TRUTH], [FAR, FAR, FAR, LONG], loss=2.0),
    entry("d5", [LONG, LONG], [None], loss=1.0),
]
DRAW = np.random.default_rng(0)
MANY = [
    entry(f"{number:08x}", [DRAW.integers(10, size=(6, 7)).astype(np.uint8) for _ in range(64)])
    for number in range(100)
]

CROSSED = """
const [grid, height, width] = arguments;
grid.scrollIntoView({block: "center"});
const box = grid.getBoundingClientRect();
const seen = (y, x) => document.elementFromPoint(
  box.left + (x + 0.5) * box.width / width, box.top + (y + 0.5) * box.height / height);
return [...Array(height).keys()].map(
  y => [...Array(width).keys()].map(x => seen(y, x).classList.contains("wrong")));
"""
"""Returns for each cell of a grid whether its center has a cross."""


@pytest.fixture
def opened(tmp_path, browse, browser):
    """A function that opens the page of some tasks and fails on an error of a script."""

    def open_page(entries):
        page = tmp_path / "report.html"
        page.write_text(report.page("title", "lead", entries, {"pass_n": "0.500"}, {"seed": "3"}))
        return browse(page)

    yield open_page
    assert browser.get_log("browser") == []


def shown(browser):
    """Return the ids of the tasks on the page, from top to bottom."""
    cards = browser.find_elements(By.CSS_SELECTOR, ".card")
    return [one.find_element(By.TAG_NAME, "h2").text for one in cards if one.is_displayed()]


def drawn(browser, id_):
    """Scroll to the card of a task, and return it once it is drawn."""
    card = browser.execute_script(
        "return [...document.querySelectorAll('.card')]"
        ".find(one => one.dataset.task === arguments[0])",
        id_,
    )
    browser.execute_script("arguments[0].scrollIntoView()", card)
    WebDriverWait(browser, 10).until(lambda _: "drawn" in card.get_attribute("class"))
    return card


def answers(browser, id_):
    """Return the answers to a task in the order of the page."""
    return drawn(browser, id_).find_elements(By.CSS_SELECTOR, ".answer")


def facts(answer):
    """Return the title and the facts of an answer."""
    title = answer.find_element(By.TAG_NAME, "h3").text
    return [title, *(one.text for one in answer.find_elements(By.TAG_NAME, "li"))]


def crossed(browser, answer, grid):
    """Return which cells of an answer's picture have a cross."""
    picture = answer.find_element(By.TAG_NAME, "svg")
    return np.array(browser.execute_script(CROSSED, picture, *grid.shape))


def show(browser, status):
    """Choose the tasks of a status with the mouse."""
    browser.find_element(By.CSS_SELECTOR, f"#filters label:has([value={status}])").click()


def sort(browser, order):
    """Choose an order."""
    browser.find_element(By.XPATH, f"//select[@id='order']/option[.='{order}']").click()


def test_the_page_shows_all_tasks_with_the_best_first(opened):
    browser = opened(ENTRIES)
    assert browser.title == "title"
    assert shown(browser) == ["c<b>1", "e4", "a2", "b3", "d5"]
    assert browser.find_element(By.ID, "shown").text == "5 of 5 tasks"


def test_a_card_has_the_facts_of_its_task(opened):
    card = drawn(opened(ENTRIES), "e4")
    assert card.find_element(By.CLASS_NAME, "badge").text == "partly"
    assert [one.text for one in card.find_elements(By.CSS_SELECTOR, ".card > ul li")] == [
        "1 of 2 tests solved",
        "50 % of cells right in attempt 1",
        "2 votes for it",
        "validation loss 2.000",
        "45 cells",
    ]
    first, second = (one.text for one in card.find_elements(By.CSS_SELECTOR, ".body > h3"))
    about = "test 1 the right answer is number 1 · 1 distinct answer in 1 candidate"
    assert first == f"{about} · 0 without a grid"
    about = "test 2 the right answer is not among them · 2 distinct answers in 4 candidates"
    assert second == f"{about} · 0 without a grid"


@pytest.mark.parametrize(
    ("right", "share"), [(29, "29 %"), (57, "57 %"), (199, "99 %"), (200, "100 %")]
)
def test_a_share_of_cells_is_in_whole_percent_and_only_all_cells_are_100(opened, right, share):
    truth = np.zeros((10, 10) if right < 100 else (10, 20), np.uint8)
    answer = (np.arange(truth.size) >= right).astype(np.uint8).reshape(truth.shape)
    card = drawn(opened([entry("f6", [answer], truth=truth)]), "f6")
    facts_ = [one.text for one in card.find_elements(By.CSS_SELECTOR, ".card > ul li")]
    assert f"{share} of cells right in attempt 1" in facts_


@pytest.mark.parametrize(
    ("tests", "votes"),
    [([[TRUTH]], "1 vote"), ([[TRUTH, TRUTH]], "2 votes"), ([[TRUTH], [FAR, FAR]], "1.5 votes")],
)
def test_a_card_counts_the_votes_for_attempt_1(opened, tests, votes):
    card = drawn(opened([entry("f6", *tests)]), "f6")
    facts_ = [one.text for one in card.find_elements(By.CSS_SELECTOR, ".card > ul li")]
    assert f"{votes} for it" in facts_


def test_a_task_without_an_answer_says_so(opened):
    card = drawn(opened(ENTRIES), "b3")
    about = card.find_element(By.CSS_SELECTOR, ".body > h3").text
    assert about == "test 1 no answer in 2 candidates"
    assert card.find_elements(By.CSS_SELECTOR, ".answer") == []
    assert [one.text for one in card.find_elements(By.CSS_SELECTOR, ".card > ul li")] == [
        "0 of 1 test solved",
        "no validation loss",
        "51 cells",
    ]


@pytest.mark.parametrize("number", range(len(ENTRIES)))
def test_demonstrations_input_and_truth_are_drawn_as_grids(opened, number):
    task = ENTRIES[number].task
    card = drawn(opened(ENTRIES), task.id)
    pictures = [
        one.get_attribute("outerHTML")
        for one in card.find_elements(By.CSS_SELECTOR, ".pair:not(.answer) svg")
    ]
    pairs = [*task.train, *task.test]
    assert pictures == [
        templates.render("grid.svg", picture=svg.picture(grid, 20))
        .strip()
        .replace("/>", "></path>")
        for pair in pairs
        for grid in (pair.input, pair.output)
    ]


def test_exactly_the_wrong_cells_are_crossed(opened):
    browser = opened(ENTRIES)
    right, close = answers(browser, "c<b>1")
    np.testing.assert_array_equal(crossed(browser, right, TRUTH), np.zeros_like(TRUTH))
    np.testing.assert_array_equal(crossed(browser, close, CLOSE), CLOSE != TRUTH)
    _, far, *_ = answers(browser, "e4")
    np.testing.assert_array_equal(crossed(browser, far, FAR), FAR != TRUTH)
    assert "2 wrong" in close.find_element(By.TAG_NAME, "svg").get_attribute("aria-label")


def test_an_answer_of_another_size_says_so_and_has_no_cross(opened):
    browser = opened(ENTRIES)
    _, long, _ = answers(browser, "a2")
    assert facts(long)[1] == "wrong size: 3 by 3, not 2 by 3"
    assert not crossed(browser, long, LONG).any()


def test_answers_are_in_order_with_votes_and_log_probabilities(opened):
    browser = opened(ENTRIES)
    assert [facts(one) for one in answers(browser, "c<b>1")] == [
        ["attempt 1", "right", "2 votes of 4", "log p \u22120.313 a token", "re-scored \u22121.50"],
        ["attempt 2", "2 of 6 cells wrong", "1 vote of 4", "log p \u22120.500 a token"],
    ]
    titles = [facts(one)[0] for one in answers(browser, "a2")]
    assert titles == ["attempt 1", "attempt 2", "answer 3"]


def test_only_right_answers_are_marked(opened):
    browser = opened(ENTRIES)
    for found in ENTRIES:
        drawn(browser, found.task.id)
    right = [facts(one)[1] for one in browser.find_elements(By.CSS_SELECTOR, ".right")]
    assert right == ["right", "right"]


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ("all", ["c<b>1", "e4", "a2", "b3", "d5"]),
        ("solved", ["c<b>1"]),
        ("partly", ["e4"]),
        ("unsolved", ["a2", "d5"]),
        ("unanswered", ["b3"]),
    ],
)
def test_a_filter_shows_the_tasks_of_a_status_and_counts_them(opened, status, expected):
    browser = opened(ENTRIES)
    show(browser, "unanswered")
    show(browser, status)
    assert shown(browser) == expected
    label = browser.find_element(By.CSS_SELECTOR, f"#filters label:has([value={status}])")
    assert label.text.split() == [status, str(len(expected))]
    assert browser.find_element(By.ID, "shown").text == f"{len(expected)} of 5 tasks"


@pytest.mark.parametrize(
    ("order", "forwards", "backwards"),
    [
        ("score", "c<b>1 e4 a2 b3 d5", "a2 b3 d5 e4 c<b>1"),
        ("pixels", "c<b>1 a2 e4 b3 d5", "b3 d5 e4 a2 c<b>1"),
        ("votes", "c<b>1 e4 a2 d5 b3", "b3 a2 d5 c<b>1 e4"),
        ("validation loss", "a2 c<b>1 d5 e4 b3", "e4 d5 c<b>1 a2 b3"),
        ("size", "c<b>1 a2 e4 d5 b3", "b3 e4 d5 c<b>1 a2"),
        ("id", "a2 b3 c<b>1 d5 e4", "e4 d5 c<b>1 b3 a2"),
    ],
)
def test_an_order_sorts_and_a_missing_loss_is_last_in_both_directions(
    opened, order, forwards, backwards
):
    browser = opened(ENTRIES)
    sort(browser, "id")
    sort(browser, order)
    assert shown(browser) == forwards.split()
    browser.find_element(By.ID, "reverse").click()
    assert shown(browser) == backwards.split()


def test_a_search_finds_parts_of_ids_among_the_filtered_tasks(opened):
    browser = opened(ENTRIES)
    field = browser.find_element(By.ID, "search")
    field.send_keys("B", Keys.ENTER)
    assert shown(browser) == ["c<b>1", "b3"]
    show(browser, "unanswered")
    assert shown(browser) == ["b3"]
    field.send_keys("x")
    assert browser.find_element(By.ID, "shown").text == "0 of 5 tasks"
    assert browser.current_url.endswith("report.html")


def test_a_filter_without_a_task_says_so_and_can_be_reset(opened):
    browser = opened(ENTRIES)
    note = browser.find_element(By.ID, "none")
    assert not note.is_displayed()
    show(browser, "solved")
    browser.find_element(By.ID, "search").send_keys("x")
    assert note.text == "No task matches the filter. Show all tasks"
    note.find_element(By.TAG_NAME, "button").click()
    assert len(shown(browser)) == len(ENTRIES)
    assert not note.is_displayed()
    assert browser.find_element(By.ID, "shown").text == "5 of 5 tasks"


def test_the_header_has_scores_settings_and_the_date_of_the_file(opened, tmp_path):
    browser = opened(ENTRIES)
    score, date = browser.find_elements(By.CSS_SELECTOR, "#scores li")
    assert score.text == "pass_n 0.500"
    written = datetime.fromtimestamp((tmp_path / "report.html").stat().st_mtime).astimezone()
    zone = browser.execute_script("return Intl.DateTimeFormat().resolvedOptions().timeZone")
    assert date.text == f"file of {written.astimezone(ZoneInfo(zone)):%Y-%m-%d %H:%M}"
    settings = browser.find_element(By.ID, "settings")
    settings.find_element(By.TAG_NAME, "summary").click()
    assert settings.find_element(By.TAG_NAME, "li").text == "seed 3"


@pytest.mark.parametrize("id_", ["b3", "c<b>1"])
def test_the_address_of_a_task_leads_to_it_also_if_a_filter_hides_it(opened, browser, id_):
    opened(MANY[:20] + ENTRIES)
    link = drawn(browser, id_).find_element(By.CSS_SELECTOR, "h2 a")
    address = link.get_attribute("href")
    assert address.endswith(f"report.html#{quote(id_)}")

    def in_view():
        return browser.execute_script(
            "const {top} = [...document.querySelectorAll('.card')]"
            ".find(one => one.dataset.task === arguments[0]).getBoundingClientRect();"
            "return 0 <= top && top < innerHeight",
            id_,
        )

    for start in ("about:blank", address.partition("#")[0]):
        browser.get(start)
        if start != "about:blank":
            show(browser, "partly")
        browser.get(address)
        WebDriverWait(browser, 10).until(lambda _: id_ in shown(browser) and in_view())


SETTLED = """
const cards = [...document.querySelectorAll(".card")];
const near = one => {
  const {top, bottom} = one.getBoundingClientRect();
  return bottom > -600 && top < innerHeight + 600;
};
const last = document.documentElement.scrollHeight - innerHeight - scrollY < 2;
const {top} = cards.find(one => one.dataset.task === arguments[0]).getBoundingClientRect();
return cards.filter(near).every(one => one.classList.contains("drawn")) && [Math.round(top), last];
"""
"""Returns the top of a card, and whether the page ends there, once all cards near it are drawn."""


@pytest.mark.parametrize("width", [400, 700, 980, 1400])
@pytest.mark.parametrize("id_", ["00000000", "00000002", "0000000b"])
def test_the_address_leads_to_the_task_also_when_the_tasks_before_it_are_drawn(
    opened, browser, id_, width
):
    browser.set_window_size(width, 800)
    opened(MANY[:12])
    address = browser.current_url.partition("#")[0]
    browser.get("about:blank")
    browser.get(f"{address}#{id_}")
    wait = WebDriverWait(browser, 10)
    top, last = wait.until(lambda _: browser.execute_script(SETTLED, id_))
    header = browser.execute_script(
        "return parseFloat(getComputedStyle(document.querySelector('.card')).scrollMarginTop)"
    )
    assert abs(top - header) <= 2 or (last and header < top < 800)
    # The bar above the tasks does not cover the title.
    bar = browser.find_element(By.ID, "tools")
    if bar.value_of_css_property("position") == "sticky":
        assert bar.size["height"] < top


def test_the_truth_stands_beside_the_attempts(opened):
    browser = opened(ENTRIES)
    first = answers(browser, "c<b>1")[0]
    row = first.find_element(By.XPATH, "..").find_elements(By.CSS_SELECTOR, ".pair h3")
    assert [one.text for one in row] == ["test", "truth", "attempt 1", "attempt 2"]
    assert len({one.rect["y"] for one in row}) <= 2  # attempts have thicker frames


@pytest.mark.parametrize(("scheme", "dark"), [("light", False), ("dark", True)])
def test_the_page_is_as_dark_as_the_system(opened, scheme, dark):
    browser = opened(ENTRIES)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    try:
        for selector in ("body", ".card", "#filters", "#search"):
            found = browser.find_element(By.CSS_SELECTOR, selector)
            colors = [found.value_of_css_property(f"{part}color") for part in ("background-", "")]
            back, text = (sum(map(int, re.findall(r"\d+", one)[:3])) for one in colors)
            assert (back < 200 and text > 400) if dark else (back > 600 and text < 300)
    finally:
        browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_on_a_phone_the_page_is_not_wider_than_the_screen_and_grids_are_in_rows(opened, browser):
    screen = {"width": 390, "height": 800, "deviceScaleFactor": 1, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    try:
        opened(ENTRIES)
        card = drawn(browser, "e4")
        width = browser.execute_script("return document.documentElement.scrollWidth")
        assert width == 390
        for row in card.find_elements(By.CLASS_NAME, "pairs"):
            tops = {one.rect["y"] for one in row.find_elements(By.CSS_SELECTOR, ":scope > .pair")}
            assert len(tops) == 1
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_page_can_be_used_with_the_keyboard_alone(opened):
    browser = opened(ENTRIES)
    # The settings come first.
    browser.find_element(By.TAG_NAME, "body").send_keys(Keys.TAB, Keys.TAB, Keys.ARROW_RIGHT)
    assert shown(browser) == ["c<b>1"]
    browser.switch_to.active_element.send_keys(Keys.ARROW_LEFT)
    browser.switch_to.active_element.send_keys(Keys.TAB)
    browser.switch_to.active_element.send_keys("id")
    browser.switch_to.active_element.send_keys(Keys.TAB)
    browser.switch_to.active_element.send_keys(Keys.SPACE)
    assert shown(browser) == ["e4", "d5", "c<b>1", "b3", "a2"]


def test_of_a_hundred_tasks_only_those_in_view_are_drawn(opened):
    browser = opened(MANY)
    WebDriverWait(browser, 10).until(lambda _: browser.find_elements(By.CSS_SELECTOR, ".drawn"))
    count = "return document.querySelectorAll(arguments[0]).length"
    assert browser.execute_script(count, ".card") == 100
    assert 1 <= browser.execute_script(count, ".drawn") <= 6
    # Each drawn task has its first answers, two demonstrations and a test.
    assert browser.execute_script(count, "svg") == 11 * browser.execute_script(count, ".drawn")

    last = drawn(browser, MANY[-1].task.id)
    assert browser.execute_script(count, ".drawn") <= 12
    assert len(last.find_elements(By.CSS_SELECTOR, ".answer")) == 5
    more = last.find_element(By.TAG_NAME, "summary")
    assert more.text == "59 more"
    more.send_keys(Keys.ENTER)
    WebDriverWait(browser, 10).until(
        lambda _: len(last.find_elements(By.CSS_SELECTOR, ".answer")) == 64
    )
    more.send_keys(Keys.ENTER)
    more.send_keys(Keys.ENTER)
    assert len(last.find_elements(By.CSS_SELECTOR, ".answer")) == 64


def test_a_page_without_scripts_says_that_it_needs_its_script(opened):
    browser = opened(ENTRIES)
    notes = browser.find_elements(By.CLASS_NAME, "note")
    assert notes == []
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        browser.refresh()
        [note] = browser.find_elements(By.CLASS_NAME, "note")
        assert "drawn by the script" in note.text
        assert browser.find_element(By.TAG_NAME, "h1").text == "title"
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
