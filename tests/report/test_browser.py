"""The pages in a real browser: no errors, nothing loaded, hover, phone width."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from pruner_zero.report import read_run, report_on
from tests.report.folders import results, write_run
from tests.report.test_sweep import sweep

webdriver = pytest.importorskip("selenium.webdriver")
from selenium.webdriver.chrome.service import Service  # noqa: E402
from selenium.webdriver.common.by import By  # noqa: E402
from selenium.webdriver.support.ui import WebDriverWait  # noqa: E402

RECORDED = Path(__file__).resolve().parents[2] / "experiments"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--disable-dev-shm-usage")  # fmt: skip
PHONE, DESKTOP = 390, 1280


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator:
    """A headless Chromium of the system; its own download would need a network."""
    program = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if not program or not driver:
        pytest.skip("no Chromium with chromedriver is installed")
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    opened = webdriver.Chrome(options=options, service=Service(driver))
    yield opened
    opened.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One page of each kind."""
    folder = tmp_path_factory.mktemp("pages")
    runs = {
        "run": [read_run(RECORDED / "discovered" / "wide_50_seed0")],
        "older": [read_run(RECORDED / "quickstart/first")],
        "small": [read_run(write_run(folder / "small", ended=results()))],
        "sweep": sweep(folder / "sweep"),
    }
    for name, members in runs.items():
        report_on(members).write(folder / f"{name}.html")
    return {name: folder / f"{name}.html" for name in runs}


def show(browser, page: Path, width: int) -> None:
    """Open a page at a width and wait for its figures."""
    metrics = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width == PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    browser.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": width == PHONE})
    browser.get_log("browser")
    browser.get(page.as_uri())
    drawn = (
        "return [...document.querySelectorAll('.figure')].every(f => f.querySelector('.main-svg'))"
    )
    WebDriverWait(browser, 20).until(lambda b: b.execute_script(drawn))


def bring(browser, element) -> None:
    """Scroll to an element at once."""
    browser.execute_script(
        "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", element
    )


@pytest.mark.parametrize("name", ["run", "older", "small", "sweep"])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_page_opens_alone_without_errors_and_fits(browser, pages, name, width):
    show(browser, pages[name], width)
    assert browser.get_log("browser") == []
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    wide, window = browser.execute_script(
        "return [document.documentElement.scrollWidth, window.innerWidth]"
    )
    assert window == width and wide <= width
    figures = browser.find_elements(By.CSS_SELECTOR, ".figure")
    assert len(figures) == (4 if name == "sweep" else 5)
    for figure in figures:
        box = figure.find_element(By.CSS_SELECTOR, ".main-svg").rect
        assert box["height"] > 100 and 200 < box["width"] <= width
    assert browser.find_elements(By.CSS_SELECTOR, "math") and browser.find_elements(
        By.CSS_SELECTOR, "svg.tree"
    )


@pytest.mark.parametrize("width", [PHONE, DESKTOP])
def test_hovering_a_point_shows_its_formula(browser, pages, width):
    show(browser, pages["small"], width)
    figure = browser.find_element(By.ID, "figure-expressions")
    bring(browser, figure)
    # The candidate of highest perplexity lies alone: mul(W, G) at 90.
    at = browser.execute_script(
        """
        const figure = arguments[0], trace = figure.data[0], axes = figure._fullLayout;
        const box = figure.getBoundingClientRect();
        return [box.left + axes.xaxis._offset + axes.xaxis.d2p(trace.x[0]),
                box.top + axes.yaxis._offset + axes.yaxis.d2p(trace.y[0])];
        """,
        figure,
    )
    move = {"x": at[0], "y": at[1]}
    if width == PHONE:
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchStart",
                                "touchPoints": [move]})  # fmt: skip
        browser.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    else:
        browser.execute_cdp_cmd("Input.dispatchMouseEvent", {"type": "mouseMoved", **move})
    label = "return arguments[0].querySelector('.hoverlayer').textContent"
    WebDriverWait(browser, 10).until(lambda b: b.execute_script(label, figure))
    assert "mul(W, G)" in browser.execute_script(label, figure)
    touched = browser.find_element(By.CSS_SELECTOR, "#expressions .touched").text
    assert touched.splitlines()[0] == "mul(W, G)"
    assert "no. 5 · crossover+node" in touched and "stopped early" in touched


def test_a_button_changes_to_time(browser, pages):
    show(browser, pages["small"], DESKTOP)
    figure = browser.find_element(By.ID, "figure-convergence")
    bring(browser, figure)
    buttons = figure.find_elements(By.CSS_SELECTOR, ".updatemenu-button")
    next(b for b in buttons if b.text == "by time").click()
    assert browser.execute_script("return arguments[0].data[1].x.at(-1)", figure) == pytest.approx(
        0.7
    )
    assert "minutes" in figure.find_element(By.CSS_SELECTOR, ".xtitle").text
