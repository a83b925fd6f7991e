"""The page in a real browser: it loads, sorts, slides, and complains about nothing."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from cryoclarity.report.overview import overview_rows
from cryoclarity.report.page import Page, write_page
from cryoclarity.report.plots import change_plot, fsc_plot, map_table, stacked
from cryoclarity.report.viewer import ViewedMap

pytestmark = pytest.mark.browser
webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


def results(count):
    rng = np.random.default_rng(5)
    for number in range(count):
        before, change = rng.uniform(0.4, 0.8), rng.normal(0, 0.05)

        def row(cc):
            return {
                "CC_mask": float(cc),
                "mean_fsc_model_masked": float(cc),
                "Q_mean": 0.5,
                "d_fsc_model_masked_0.5": 3.0,
            }

        yield {
            "emdb_id": f"EMD-{9000 + number}",
            "split": "test",
            "resolution": 3.0,
            "rows": {"input": row(before), "enhanced": row(before + change)},
            "checks": {"shift_voxels": 0.001},
        }


def page_of(path, count):
    rows = overview_rows(list(results(count)))
    x = np.linspace(0.01, 0.5, 40)
    curves = {row["emdb_id"]: {"input": (x, 1 - x), "enhanced": (x, 1 - x**2)} for row in rows}
    table = map_table(rows)
    plots = {
        "All maps": stacked(table, fsc_plot(curves, table)),
        "Before and after": change_plot(rows),
    }
    planes = [np.arange(7 * 20 * 30, dtype=np.uint8).reshape(7, 20, 30)] * 3
    names = ("input", "enhanced", "target", "trust", "resolution")
    shown = ViewedMap(
        title="EMD-9000",
        planes=dict.fromkeys(names, planes),
        numbers=[list(range(10, 17))] * 3,
        limits={"trust": (0.0, 1.0), "resolution": (2.0, 6.0)},
    )
    write_page(path, Page("test", plots=plots, viewers=[shown, shown]))


@pytest.fixture
def browser():
    if not (CHROMIUM and DRIVER):
        pytest.skip("chromium and chromedriver are not installed")
    from selenium.webdriver.chrome.options import Options
    from selenium.webdriver.chrome.service import Service

    options = Options()
    options.binary_location = CHROMIUM
    for option in OPTIONS:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    yield driver
    driver.quit()


def loaded(browser, path):
    """Open a page and wait until Bokeh has drawn it."""
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get(path.as_uri())
    script = "return window.Bokeh !== undefined && document.querySelector('#plot0').children.length"
    WebDriverWait(browser, 30).until(lambda driver: driver.execute_script(script))


def complaints(browser):
    return [line for line in browser.get_log("browser") if line["level"] == "SEVERE"]


SHADOW = """
const found = [];
const walk = node => {
  for (const child of node.children || []) { visit(child); }
};
const visit = element => {
  if (element.matches && element.matches(arguments[0])) { found.push(element); }
  if (element.shadowRoot) { walk(element.shadowRoot); }
  walk(element);
};
visit(document.body);
return found;
"""


def everywhere(browser, selector):
    """Elements by selector, also inside the shadow trees of Bokeh."""
    return browser.execute_script(SHADOW, selector)


def test_sorting_sliding_and_no_complaints(browser, tmp_path):
    page_of(tmp_path / "index.html", 12)
    loaded(browser, tmp_path / "index.html")
    first = [cell.text for cell in everywhere(browser, ".slick-row .slick-cell.l0")]
    assert len(first) == 12
    everywhere(browser, ".slick-header-column")[0].click()
    by_name = [cell.text for cell in everywhere(browser, ".slick-row .slick-cell.l0")]
    assert sorted(by_name) == by_name != first
    slider = browser.find_element("css selector", ".viewer input[type=range]")
    picture = browser.find_element("css selector", ".viewer .window img")
    before = picture.get_attribute("style")
    slider.send_keys("\ue014")  # the right arrow key
    assert picture.get_attribute("style") != before
    assert browser.find_element("css selector", ".viewer output").text == "z = 14"
    browser.find_element("css selector", ".viewer input[value=x]").click()
    assert browser.find_element("css selector", ".viewer output").text == "x = 14"
    assert complaints(browser) == []


def test_a_phone_scrolls_down_only(browser, tmp_path):
    page_of(tmp_path / "index.html", 3)
    browser.set_window_size(500, 900)
    loaded(browser, tmp_path / "index.html")
    width = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
    assert browser.execute_script(width) == 0


def test_two_thousand_maps(browser, tmp_path):
    path = tmp_path / "index.html"
    page_of(path, 2000)
    assert path.stat().st_size < 8e6
    loaded(browser, path)
    assert 0 < len(everywhere(browser, ".slick-row")) < 100  # only what is in view is drawn
    assert complaints(browser) == []


@pytest.mark.parametrize("count", [0, 1])
def test_none_and_one(browser, tmp_path, count):
    path = tmp_path / "index.html"
    if count:
        page_of(path, count)
        loaded(browser, path)
    else:
        write_page(path, Page("empty"))
        browser.get(path.as_uri())
    assert complaints(browser) == []
