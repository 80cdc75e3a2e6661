"""The pages in a real browser: nothing is fetched, nothing is cut off, and all text is legible."""

import itertools
import json
import os
import re
import shutil
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from alexnet_jax.cli.main import main
from tests.report.test_sweep import write_ablations, write_rates

pytestmark = pytest.mark.slow

NAMES = ("training", "figure1", "ablations")
WIDTHS = {"phone": (360, 740), "desk": (1280, 800)}

# Return the smallest contrast, as WCAG 2 defines it, of any text with its background, and this text. A bar of
# a probability lies behind its name and number, but in the document it is beside them.
CONTRAST = """
const canvas = document.createElement("canvas").getContext("2d", {willReadFrequently: true});
const known = {};
function rgba(color) {
  if (!(color in known)) {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    known[color] = Array.from(canvas.getImageData(0, 0, 1, 1).data).map(x => x / 255);
  }
  return known[color];
}
const over = (a, b) => b.slice(0, 3).map((x, i) => a[3] * a[i] + (1 - a[3]) * x);
function behind(element) {
  const color = rgba(getComputedStyle(element).backgroundColor);
  const below = element.parentElement ? behind(element.parentElement) : [1, 1, 1];
  return over(color, below);
}
function luminance(color) {
  const [r, g, b] = color.map(x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
let worst = [99, "", ""];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || element.closest("title, desc")) continue;
  const style = getComputedStyle(element);
  const color = rgba(element.closest("svg") ? style.fill : style.color);
  const bar = element.parentElement.querySelector(":scope > .bar");
  for (const below of [behind(element), ...(bar ? [behind(bar)] : [])]) {
    const [light, dark] = [luminance(color.slice(0, 3)), luminance(below)].sort((a, b) => b - a);
    const contrast = (light + 0.05) / (dark + 0.05);
    if (contrast < worst[0]) worst = [contrast, walker.currentNode.data, style.color];
  }
}
return worst;
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """Chromium without a window, with a temporary profile."""
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    chromedriver = shutil.which("chromedriver")
    if not (chromium and chromedriver):
        message = "chromium and chromedriver are not installed: tests of the pages in a browser are skipped"
        if os.environ.get("ALEXNET_JAX_NO_SKIPS"):
            pytest.fail(message)
        pytest.skip(message)
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for flag in (
        *("headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-sync"),
        *("disable-background-networking", "disable-component-update", "hide-scrollbars"),
        f"user-data-dir={tmp_path_factory.mktemp('profile')}",
    ):
        options.add_argument(f"--{flag}")
    driver = webdriver.Chrome(options, Service(executable_path=chromedriver))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def pages(trained, tmp_path_factory):
    """The pages of a training, of a sweep for figure 1 and of ablations, by name."""
    folder = tmp_path_factory.mktemp("pages")
    write_rates(folder / "figure1")
    write_ablations(folder / "ablations")
    workdirs = {"training": trained, "figure1": folder / "figure1", "ablations": folder / "ablations"}
    for name, workdir in workdirs.items():
        assert main(["report", f"--workdir={workdir}", f"--save={folder}/{name}.html"]) == 0
    return {name: folder / f"{name}.html" for name in workdirs}


def look(browser, page: Path, size=(1280, 800), theme="light"):
    width, height = size
    screen = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    scheme = {"name": "prefers-color-scheme", "value": theme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    browser.get(page.as_uri())
    browser.execute_script("for (const each of document.querySelectorAll('details')) each.open = true")


@pytest.mark.parametrize("name", NAMES)
def test_a_page_loads_completely_and_fetches_nothing(browser, pages, name):
    browser.get("about:blank")
    for kind in ("browser", "performance"):
        browser.get_log(kind)  # clears the log of earlier pages
    look(browser, pages[name])
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    requested = [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]
    assert {url for url in requested if not url.startswith("data:")} == {pages[name].as_uri()}
    sizes = browser.execute_script(
        "return [...document.querySelectorAll('img, svg')].map(x => [x.tagName, x.naturalWidth ?? 1,"
        " x.getBoundingClientRect().width, x.getBoundingClientRect().height])"
    )
    assert {tag for tag, *_ in sizes} == ({"IMG", "svg"} if name == "training" else {"svg"})
    assert all(min(numbers) > 0 for _, *numbers in sizes)
    unnamed = "img:not([alt]), img[alt=''], svg:not([aria-labelledby]):not(:has(> title)), th:not([scope])"
    assert browser.execute_script(f'return document.querySelectorAll("{unnamed}").length') == 0


@pytest.mark.parametrize("name", NAMES)
def test_headings_name_the_sections(browser, pages, name):
    look(browser, pages[name])
    found = browser.execute_script(
        "return [...document.querySelectorAll('h1, h2, h3')].map(x => [Number(x.tagName[1]), x.innerText])"
    )
    levels = [level for level, _ in found]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    titles = [title for level, title in found if level == 2]
    assert (
        titles
        == {
            "training": [
                *("Settings", "Training", "Figures 3 and 4 of the paper", "Are all layers learning?"),
                *("Mistakes", "The network"),
            ],
            "figure1": [
                *("Results", "Figure 1 of the paper: epochs until 25 % training error"),
                *("Errors over epochs", "Networks"),
            ],
            "ablations": ["Compared with whole", "Errors over epochs", "Networks"],
        }[name]
    )


@pytest.mark.parametrize("name", NAMES)
def test_the_error_and_the_next_command_are_on_the_first_screen(browser, pages, name):
    look(browser, pages[name], WIDTHS["desk"])
    lead, command = browser.execute_script(
        "return ['.lead', 'header pre'].map(x => [document.querySelector(x).innerText,"
        " document.querySelector(x).getBoundingClientRect().bottom])"
    )
    assert re.search(r"(misclassifies|lowest top-1 error is) \d", lead[0])
    assert command[0].startswith("alexnet-jax ")
    assert 0 < lead[1] < command[1] < WIDTHS["desk"][1]


@pytest.mark.parametrize("size", WIDTHS.values(), ids=list(WIDTHS))
@pytest.mark.parametrize("name", NAMES)
def test_nothing_extends_beyond_the_page(browser, pages, name, size):
    look(browser, pages[name], size)
    width, beyond = browser.execute_script(
        "return [document.documentElement.scrollWidth, [...document.querySelectorAll('main *')]"
        ".filter(x => !x.closest('.scroll table, svg *') && x.getBoundingClientRect().right > innerWidth + 1)"
        ".map(x => x.outerHTML.slice(0, 100))]"
    )
    assert width == size[0]
    assert beyond == []


@pytest.mark.parametrize("name", NAMES)
def test_both_themes_are_legible(browser, pages, name):
    grounds, strokes = {}, {}
    for theme in ("light", "dark"):
        look(browser, pages[name], WIDTHS["phone"], theme)
        grounds[theme], strokes[theme] = browser.execute_script(
            "const colors = getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number);"
            "const line = document.querySelector('svg [style*=\"var(--c0)\"]');"
            "return [colors, getComputedStyle(line).stroke]"
        )
        contrast, text, color = browser.execute_script(CONTRAST)
        assert 4.5 <= contrast < 99, f"{theme}: {text!r} in {color} has a contrast of {contrast:.2f}"
    assert min(grounds["light"]) > 230
    assert max(grounds["dark"]) < 50
    assert strokes["light"] != strokes["dark"]
