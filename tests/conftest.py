"""Settings and fixtures of all tests."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from arcmix.config import origins
from arcmix.models import fetch, pretrained

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from selenium import webdriver

# On a busy machine, an example can exceed any time limit.
settings.register_profile("arcmix", deadline=None)
settings.load_profile("arcmix")

LONGEST = ("test_dag.py", "test_finetune_started.py", "stages/test_predict.py")
"""Files whose tests take longest: they start first, so that no worker waits for them in the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the tests of the longest files first."""

    def place(item: pytest.Item) -> int:
        named = [str(item.path).endswith(file) for file in LONGEST]
        return named.index(True) if True in named else len(named)

    items.sort(key=place)


TINY = origins.RandomModel(kind="random", seed=0, hidden=32, layers=2, heads=2, positions=4096)


@pytest.fixture(scope="session")
def base_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a random two-layer Llama and a character tokenizer."""
    pretrained.quiet()
    folder = tmp_path_factory.mktemp("base-model")
    fetch.random(TINY, folder)
    return folder


BROWSER_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # which root needs
    "--disable-dev-shm-usage",  # small in a container
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--window-size=1400,1000",
)


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    """Yield a headless Chromium, which is required if ARCMIX_BROWSER is set."""
    named = os.environ.get("ARCMIX_BROWSER")
    program, driver = shutil.which(named or "chromium"), shutil.which("chromedriver")
    if program is None or driver is None:
        reason = "needs chromium and chromedriver: apt-get install chromium chromium-driver"
        if named:
            pytest.fail(f"ARCMIX_BROWSER is {named}; {reason}")
        pytest.skip(reason)
    from selenium import webdriver  # noqa: PLC0415 - only tests with a browser pay for it

    options = webdriver.ChromeOptions()
    options.binary_location = program
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in (*BROWSER_FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('browser')}"):
        options.add_argument(flag)
    # Given a driver, Selenium does not download one.
    service = webdriver.ChromeService(driver, log_output=subprocess.DEVNULL)
    with webdriver.Chrome(options, service) as found:
        yield found


@pytest.fixture
def browse(browser: webdriver.Chrome) -> Callable[[Path], webdriver.Chrome]:
    """Return a function that opens a page and checks that it logs no errors and fetches nothing."""

    def opened(page: Path) -> webdriver.Chrome:
        browser.get(page.as_uri())
        fetched = "return performance.getEntriesByType('resource').map(entry => entry.name)"
        assert browser.get_log("browser") == []
        assert browser.execute_script(fetched) == []
        return browser

    return opened
