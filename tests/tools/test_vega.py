"""The page of DVC's plots, rendered by DVC and opened in a browser without a network."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from dvc.repo import Repo
from dvc_render import VegaRenderer, render_html
from selenium.webdriver.support.wait import WebDriverWait

from tests.test_makefile import IDENTITY
from tools import vega

ROOT = Path(__file__).parents[2]
LOSSES = [{"step": step, "loss": 1 / (1 + step), "rev": "workspace"} for step in range(5)]


@pytest.fixture
def offline(browser) -> Iterator[None]:
    """Cut the browser off the network."""
    names = {"latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    browser.execute_cdp_cmd("Network.enable", {})
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": True} | names)
    yield
    browser.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": False} | names)
    browser.execute_cdp_cmd("Network.disable", {})


def page(folder: Path) -> Path:
    """Render a plot as `dvc plots show` does, and return the page."""
    with Repo(str(ROOT)) as repo:
        template = Path(repo.dvc_dir or "", repo.config["plots"]["html_template"])
    plot = VegaRenderer(LOSSES, "losses", template="linear", x="step", y="loss")
    return Path(render_html([plot], folder / "dvc_plots" / "index.html", template))


@pytest.mark.usefixtures("offline")
def test_a_plot_is_drawn_without_a_network(tmp_path: Path, browser) -> None:
    vega.run(out=tmp_path / ".cache" / "vega.js")
    browser.get(page(tmp_path).as_uri())
    drawn = "return document.querySelectorAll('.vega-embed canvas, .vega-embed svg').length"
    WebDriverWait(browser, 20).until(lambda _: browser.execute_script(drawn))
    # Vega only warns that the templates are older than itself.
    assert [one for one in browser.get_log("browser") if one["level"] == "SEVERE"] == []
    assert not browser.find_element("id", "offline").is_displayed()


@pytest.fixture
def compared(tmp_path: Path) -> Path:
    """The page of `dvc plots diff` in a repository with the project's configuration of DVC."""
    (tmp_path / "losses.csv").write_text("step,loss\n0,1.0\n1,0.5\n")
    plot = "- losses.csv: {x: step, y: loss}\n"
    (tmp_path / "dvc.yaml").write_text(f"plots:\n{plot}")
    for command in (
        ["git", "init", "--quiet"],
        [sys.executable, "-m", "dvc", "init", "--quiet"],
        ["git", "add", "--all"],
        ["git", *IDENTITY, "commit", "--quiet", "--message=first"],
    ):
        subprocess.run(command, cwd=tmp_path, check=True)
    shutil.copy(ROOT / ".dvc/config", tmp_path / ".dvc")
    shutil.copytree(ROOT / ".dvc/plots", tmp_path / ".dvc/plots", dirs_exist_ok=True)
    (tmp_path / "losses.csv").write_text("step,loss\n0,0.9\n1,0.4\n")
    subprocess.run([sys.executable, "-m", "dvc", "plots", "diff", "HEAD"], cwd=tmp_path, check=True)
    return tmp_path / "dvc_plots" / "index.html"


@pytest.mark.usefixtures("offline")
def test_dvc_plots_diff_is_drawn_without_a_network(compared: Path, browser) -> None:
    vega.run(out=compared.parents[1] / ".cache" / "vega.js")
    browser.get(compared.as_uri())
    drawn = "return document.querySelectorAll('.vega-embed canvas, .vega-embed svg').length"
    WebDriverWait(browser, 20).until(lambda _: browser.execute_script(drawn))
    assert {"HEAD", "workspace"} <= {*re.findall(r'"rev": "(\w+)"', compared.read_text())}
    assert [one for one in browser.get_log("browser") if one["level"] == "SEVERE"] == []


@pytest.mark.usefixtures("offline")
def test_without_vega_the_page_says_what_to_run(tmp_path: Path, browser) -> None:
    browser.get(page(tmp_path).as_uri())
    assert "Run: make setup" in browser.find_element("id", "offline").text
    browser.get_log("browser")  # its errors are expected, and the next test shall not see them
