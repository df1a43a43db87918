"""The page in a real browser: what a reader sees and does."""

import copy
import json
import math
import os
import re
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from riverrun.cli import main
from riverrun.report.facts import page_facts
from riverrun.report.page import render
from riverrun.runs import Tree
from riverrun.train.costs import recorded_plan

webdriver = pytest.importorskip("selenium.webdriver")
By = pytest.importorskip("selenium.webdriver.common.by").By
Wait = pytest.importorskip("selenium.webdriver.support.wait").WebDriverWait
Keys = pytest.importorskip("selenium.webdriver.common.keys").Keys

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("processes")]
HOSTILE = "</script><b>"
LONG = """\
seed = 3
[model]
family = "llama"
layers = 1
width = 16
heads = 2
context = 16
[data]
corpus = "bundled"
[batch]
sequences = 4
[optimizer]
peak_lr = 1e-2
[schedule]
kind = "inverse-sqrt"
warmup = "5 steps"
offset = "20 steps"
[averaging]
tracks = ["half-life:4"]
[engine]
device = "cpu"
threads = 1
"""


@pytest.fixture
def opened(browser, tmp_path):
    """A function that opens the page of facts in a browser; the test fails where the console had anything to say."""

    def open_page(facts, width=1100):
        prefer(browser, "light")
        size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        page = tmp_path / "report.html"
        page.write_text(render(facts), encoding="utf-8")
        browser.get_log("performance")
        browser.get(page.as_uri())
        drawn(browser)
        return browser

    yield open_page
    assert browser.get_log("browser") == []


def prefer(browser, scheme):
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})


def drawn(browser):
    """Wait until all charts are."""
    browser.execute_async_script(
        """const done = arguments[0];
        const look = () => [...document.querySelectorAll(".chart")].every((chart) => chart.plot)
            ? requestAnimationFrame(() => requestAnimationFrame(() => done())) : setTimeout(look, 10);
        look();"""
    )


def requests(browser):
    """Addresses asked for since the last page was opened, without the page itself."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    return [url for url in asked if not url.startswith(("file:", "data:"))]


def text(browser, selector):
    return browser.find_element(By.CSS_SELECTOR, selector).text


def ask(browser, script, *arguments):
    """The value of a JavaScript expression; `chart` names the chart of an id."""
    chart = "const chart = (id) => document.querySelector(`#${id} .chart`).plot;"
    return browser.execute_script(f"{chart} return {script};", *arguments)


def shown(browser, chart):
    """How many curves of a chart are drawn."""
    return ask(browser, "chart(arguments[0]).series.slice(1).filter(({show}) => show).length", chart)


def row(browser, node):
    [found] = [
        r
        for r in browser.find_elements(By.CSS_SELECTOR, ".tree .row")
        if r.get_attribute("data-node") == node
    ]
    return found


def choose(browser, node):
    row(browser, node).find_element(By.TAG_NAME, "text").click()


def slide_to(browser, place):
    slider = browser.find_element(By.ID, "budget")
    slider.send_keys(Keys.HOME, *[Keys.ARROW_RIGHT] * place)


def test_it_shows_all_sections_in_order_and_asks_no_network(opened, made_page):
    browser = opened(made_page())
    headings = [heading.text for heading in browser.find_elements(By.TAG_NAME, "h2")]
    assert headings == [
        "Loss against tokens",
        "The best for a budget",
        "The tree",
        "What averaging gains",
        "What decays gain",
        "Averages compared",
        "Forecast",
        "Comparison",
        "Health",
    ]
    assert requests(browser) == []
    assert ask(browser, "performance.getEntriesByType('resource').length") == 0
    assert ask(browser, "window.polls") == []


def test_the_headline_is_the_answer(opened, made_page):
    facts = copy.deepcopy(made_page())
    readout = facts["answer"]["readout"]
    readout.update(tokens=8_864_768, loss=1.10716, bits_per_byte=1.59732)
    browser = opened(facts)
    assert text(browser, "h1") == "ema-25 at 8.86M tokens: 1.1072 nats per token (1.597 bits per byte)"
    assert facts["answer"]["export"] in text(browser, "#answer")


def test_the_trunk_is_told_from_the_best_known_for_its_tokens(opened, made_page):
    facts = copy.deepcopy(made_page())
    latest = 8000 * 1024
    for kind, loss in (("raw", 1.3), ("ema-12.5", 1.2), ("ema-25", 1.10721)):
        facts["nodes"][0]["curves"][f"loss/{kind}"]["values"][-1] = loss
    assert opened(facts).find_elements(By.ID, "trunk-now") == []  # the answer is this very readout
    branch = facts["nodes"][1]["id"]
    dear = {**facts["answer"]["readout"], "node": branch, "name": "raw", "cost": latest + 1, "loss": 0.9}
    facts["answer"]["readout"] = dear
    facts["envelope"].append({"readout": dear, "reproduce": None})
    expected = "trunk, latest: ema-25 1.1072, the best known for 8.19M tokens"
    assert text(opened(facts), "#trunk-now") == expected
    dear.update(cost=latest, loss=1.10019, tokens=5_000_000)
    facts["envelope"][-2:] = [facts["envelope"][-1]]
    expected = f"above the best known for 8.19M tokens (raw of {branch} at 5M tokens, 1.1002)"
    assert text(opened(facts), "#trunk-now") == f"trunk, latest: ema-25 1.1072, 0.0070 {expected}"


def test_what_a_tree_does_not_have_is_absent(opened, made_page):
    facts = made_page(nodes=1)
    empty = {"answer": None, "forecast": None, "comparison": None, "gains": [], "sweeps": [], "envelope": []}
    facts = {**facts, **empty, "nodes": [{**facts["nodes"][0], "curves": {}, "health": None, "best": None}]}
    browser = opened(facts)
    assert [heading.text for heading in browser.find_elements(By.TAG_NAME, "h2")] == ["The tree"]
    assert text(browser, "h1") == "made: no readout yet"


def test_a_run_that_has_not_begun_has_a_tree_without_an_axis(opened, made_page):
    facts = made_page(nodes=1)
    empty = {"answer": None, "forecast": None, "comparison": None, "gains": [], "sweeps": [], "envelope": []}
    begun = {"step": 0, "tokens": 0, "own_tokens": 0, "checkpoints": [], "curves": {}, "best": None}
    browser = opened({**facts, **empty, "nodes": [{**facts["nodes"][0], **begun}]})
    assert row(browser, "trunk").is_displayed()
    assert browser.find_elements(By.CSS_SELECTOR, ".tree text.axis") == []


@pytest.mark.parametrize("left", [0, 1])
def test_curves_of_one_point_or_none_that_is_a_number_are_drawn(opened, made_page, left):
    facts = copy.deepcopy(made_page())
    for curve in (curve for node in facts["nodes"] for curve in node["curves"].values()):
        for key in curve:
            curve[key] = curve[key][:1]
        curve["values"] = curve["values"] if left else [None]
    browser = opened(facts)
    for switch in ("log-switch", "log-loss-switch"):
        browser.find_element(By.ID, switch).click()
    assert ("–" in text(browser, "#legend tbody tr")) == (not left)


def test_a_node_whose_relatives_are_gone_is_in_the_tree(opened, made_page):
    facts = copy.deepcopy(made_page())
    facts["nodes"][1]["parent"] = facts["nodes"][1]["fork"]["node"] = "gone"
    facts["nodes"][4]["parents"][0]["node"] = facts["envelope"][0]["readout"]["node"] = "gone"
    browser = opened(facts)
    choose(browser, facts["nodes"][1]["id"])
    assert "gone at step 1,800" in text(browser, "#node")
    slide_to(browser, 0)
    assert "the best is raw of gone" in text(browser, "#winner")
    assert (
        browser.find_elements(By.CSS_SELECTOR, "#winner .controls button") == []
    )  # there is nothing to show


def test_a_name_that_is_markup_is_text(opened, made_page):
    facts = copy.deepcopy(made_page())
    facts["nodes"][1]["id"] = facts["answer"]["readout"]["node"] = HOSTILE
    facts["nodes"][1]["difference"] = [["<img src=x onerror=alert(1)>", "<i>", "</style>"]]
    browser = opened(facts)
    choose(browser, HOSTILE)
    assert HOSTILE in text(browser, "h1")
    assert text(browser, "#node h3") == HOSTILE
    assert "<img src=x onerror=alert(1)>" in text(browser, "#node")
    assert browser.find_elements(By.CSS_SELECTOR, "b, img, i") == []


def test_no_text_of_the_facts_is_markup(opened, made_page):
    browser = opened(hostile(made_page()))
    row(browser, f"{HOSTILE}trunk").find_element(By.TAG_NAME, "text").click()
    for _ in range(2):  # what is folded out may hold what is folded
        browser.execute_async_script(
            "document.querySelectorAll('details').forEach((one) => { one.open = true; }); setTimeout(arguments[0]);"
        )
    drawn(browser)
    page = ask(browser, "document.getElementById('page').textContent")
    told = (
        "sources",
        "event",
        "statement",
        "columns",
        "rows",
        "profile",
        "law",
        "notes",
        "export",
        "where",
        "hash",
    )
    assert [key for key in told if f"{HOSTILE}{key}:" not in page] == []
    assert browser.find_elements(By.CSS_SELECTOR, "b, img, i") == []


def hostile(content, key=""):
    """The same, with markup before every text that is no word of the schema's own."""
    if isinstance(content, dict):
        return {name: hostile(value, name) for name, value in content.items()}
    if isinstance(content, list):
        return [hostile(value, key) for value in content]
    if not isinstance(content, str) or key in ("kind", "chosen_by", "written", "time", "verdict"):
        return content
    return f"{HOSTILE}{content}" if key in ("id", "node", "parent") else f"{HOSTILE}{key}: {content}"


def test_an_inserted_script_would_not_run(browser, made_page, tmp_path):
    page = tmp_path / "report.html"
    page.write_text(
        render(made_page()).replace("</main>", "</main><script>window.ran = true</script>"), encoding="utf-8"
    )
    browser.get(page.as_uri())
    assert ask(browser, "window.ran") is None
    assert "violates the following Content Security Policy" in browser.get_log("browser")[0]["message"]


def test_the_slider_names_the_winner_of_each_budget(opened, made_page):
    facts = made_page()
    browser = opened(facts)
    for place, point in enumerate(facts["envelope"]):
        slide_to(browser, place)
        winner = text(browser, "#winner")
        assert f"the best is {point['readout']['name']}, {point['readout']['loss']:.4f}" in winner
        assert point["reproduce"][0] in winner
        assert f"schedule\n{facts['nodes'][0]['schedule']}" in winner
        assert "peak learning rate\n0.002" in winner
        said = browser.find_element(By.ID, "budget").get_attribute("aria-valuetext")
        assert point["readout"]["name"] in said
        assert re.match(r"From \S+ (to \S+ tokens|tokens on): ", said)


def test_the_winner_of_a_budget_is_found_in_the_tree(opened, made_page):
    browser = opened(made_page())
    browser.find_element(By.CSS_SELECTOR, "#winner .controls button").click()
    assert text(browser, "#node h3") == "trunk"
    assert row(browser, "trunk").is_displayed()


def test_hiding_a_node_takes_its_curves_from_every_chart(opened, made_page):
    facts = made_page()
    browser = opened(facts)
    before = {chart: shown(browser, chart) for chart in ("loss-chart", "lr-chart", "gap-chart", "norm-chart")}
    browser.find_element(By.CSS_SELECTOR, f"input[data-node='{facts['nodes'][1]['id']}']").send_keys(
        Keys.SPACE
    )
    after = {chart: shown(browser, chart) for chart in before}
    assert {chart: before[chart] - after[chart] for chart in before} == {
        "loss-chart": 4,
        "lr-chart": 1,
        "gap-chart": 2,
        "norm-chart": 1,
    }


def test_hiding_a_kind_of_curve_takes_it_from_all_nodes(opened, made_page):
    browser = opened(made_page())
    before = shown(browser, "loss-chart")
    browser.find_element(By.CSS_SELECTOR, "input[data-kind='ema-25']").click()
    assert shown(browser, "loss-chart") == before - 4


# How opaque the paper of a chart is at tokens and a value; a canvas of its own is read, which Chromium is made for.
INK = """(() => {
    const plot = chart(arguments[0]);
    const scratch = new OffscreenCanvas(1, 1).getContext("2d", {willReadFrequently: true});
    const [x, y] = [plot.valToPos(arguments[1], "x", true), plot.valToPos(arguments[2], "y", true)];
    scratch.drawImage(plot.ctx.canvas, -x, -y);
    return scratch.getImageData(0, 0, 1, 1).data[3];
})()"""


def test_a_forecast_is_hidden_with_its_interval_and_keeps_the_future_in_sight(opened, made_page):
    facts = made_page()
    browser = opened(facts)
    fan = facts["forecast"]["fans"][0]
    inside = (fan["tokens"][-3], (fan["expected"][-3] + 2 * fan["high"][-3]) / 3)
    outside = (fan["tokens"][-3], 2 * fan["high"][-3] - fan["expected"][-3])
    assert [ask(browser, INK, "forecast-chart", *place) > 0 for place in (inside, outside)] == [True, False]
    assert shown(browser, "forecast-chart") == 4
    browser.find_element(By.CSS_SELECTOR, "input[data-kind='forecast ema-25']").click()
    assert shown(browser, "forecast-chart") == 0
    assert ask(browser, INK, "forecast-chart", *inside) == 0
    browser.find_element(By.CSS_SELECTOR, "input[data-kind='forecast ema-25']").click()
    plot = browser.find_element(By.CSS_SELECTOR, "#loss-chart .u-over")
    webdriver.ActionChains(browser).move_to_element(plot).click_and_hold().move_by_offset(
        80, 0
    ).release().perform()
    assert ask(browser, "chart('loss-chart').scales.x.max") < 8_000_000
    assert ask(browser, "chart('forecast-chart').scales.x.max") > 20e6


def test_the_values_axis_follows_what_is_shown(opened, made_page):
    browser = opened(made_page())
    before = ask(browser, "chart('loss-chart').scales.y.max")
    browser.find_element(By.CSS_SELECTOR, "input[data-node='trunk']").click()
    browser.find_element(By.CSS_SELECTOR, "input[data-kind='envelope']").click()
    assert ask(browser, "chart('loss-chart').scales.y.max") < before


def test_the_switch_makes_the_tokens_of_all_charts_linear_or_logarithmic(opened, made_page):
    browser = opened(made_page())
    middle = "chart('{0}').posToVal(chart('{0}').over.clientWidth / 2, 'x')"
    ends = "[chart('{0}').scales.x.min, chart('{0}').scales.x.max]"
    charts = ("loss-chart", "lr-chart", "norm-chart")

    def middles():
        return [(ask(browser, middle.format(chart)), *ask(browser, ends.format(chart))) for chart in charts]

    assert all(at == pytest.approx((first * last) ** 0.5, rel=0.02) for at, first, last in middles())
    browser.find_element(By.ID, "log-switch").click()
    assert all(at == pytest.approx((first + last) / 2, rel=0.02) for at, first, last in middles())
    assert browser.find_element(By.ID, "log-switch").get_attribute("aria-pressed") == "false"


def test_the_switch_of_the_losses_makes_their_axis_alone_logarithmic(opened, made_page):
    browser = opened(made_page())
    middle = "chart('{0}').posToVal(chart('{0}').over.clientHeight / 2, 'y')"
    ends = "[chart('{0}').scales.y.min, chart('{0}').scales.y.max]"

    def look(chart):
        return ask(browser, middle.format(chart)), *ask(browser, ends.format(chart))

    before = look("lr-chart")
    at, low, high = look("loss-chart")
    assert at == pytest.approx((low + high) / 2, rel=0.01)
    browser.find_element(By.ID, "log-loss-switch").click()
    at, low, high = look("loss-chart")
    assert at == pytest.approx((low * high) ** 0.5, rel=0.01)
    assert high / low > 1.3
    assert look("lr-chart") == before
    assert browser.find_element(By.ID, "log-loss-switch").get_attribute("aria-pressed") == "true"
    assert browser.find_element(By.ID, "log-switch").get_attribute("aria-pressed") == "true"


def test_charts_above_each_other_are_aligned_and_share_the_cursor_and_the_zoom(opened, made_page):
    browser = opened(made_page())
    left, right = (
        ask(browser, f"chart('{chart}').over.getBoundingClientRect()") for chart in ("loss-chart", "lr-chart")
    )
    assert (left["left"], left["width"]) == (right["left"], right["width"])
    plot = browser.find_element(By.CSS_SELECTOR, "#loss-chart .u-over")
    webdriver.ActionChains(browser).move_to_element(plot).perform()
    here, below = (ask(browser, f"chart('{chart}').cursor.left") for chart in ("loss-chart", "lr-chart"))
    assert here > 0
    assert below == pytest.approx(here)
    drag = webdriver.ActionChains(browser).move_to_element(plot).click_and_hold()
    drag.move_by_offset(120, 0).release().perform()
    one, other = (ask(browser, f"chart('{chart}').scales.x") for chart in ("loss-chart", "lr-chart"))
    assert (one["min"], one["max"]) == (other["min"], other["max"])
    assert other["max"] / other["min"] < 5
    browser.find_element(By.ID, "whole").click()
    assert ask(browser, "chart('lr-chart').scales.x.max") > 8_192_000


def test_a_zoom_from_no_tokens_on_has_a_logarithmic_axis_too(opened, made_page):
    browser = opened(made_page())
    browser.find_element(By.ID, "log-switch").click()
    plot = browser.find_element(By.CSS_SELECTOR, "#loss-chart .u-over")
    half = round(plot.size["width"] / 2)
    drag = webdriver.ActionChains(browser).move_to_element(plot).click_and_hold()
    drag.move_by_offset(-half + 1, 0).move_by_offset(-20, 0).release().perform()
    assert ask(browser, "chart('loss-chart').scales.x.min") == pytest.approx(0, abs=20_000)
    browser.find_element(By.ID, "log-switch").click()
    first, last = ask(browser, "[chart('loss-chart').scales.x.min, chart('loss-chart').scales.x.max]")
    assert last / 2000 < first < last < 5_000_000


def test_the_cursor_reads_the_recorded_values_beside_it(opened, made_page):
    facts = made_page()
    browser = opened(facts)
    raw = facts["nodes"][0]["curves"]["loss/raw"]
    assert f"{raw['values'][-1]:.4f}" in text(browser, "#legend tbody tr")
    place = ask(browser, "chart('loss-chart').valToPos(arguments[0], 'x')", raw["tokens"][5])
    plot = browser.find_element(By.CSS_SELECTOR, "#loss-chart .u-over")
    from_middle = round(place - plot.size["width"] / 2)
    webdriver.ActionChains(browser).move_to_element_with_offset(plot, from_middle, 0).perform()
    caption = text(browser, "#legend caption")
    assert caption.startswith("At 3.")
    assert caption.endswith(
        f"the best for that budget: ema-12.5, {facts['envelope'][1]['readout']['loss']:.4f}"
    )
    assert f"{raw['values'][5]:.4f}" in text(browser, "#legend tbody tr")


def test_a_node_that_is_chosen_stands_out_everywhere_and_tells_what_it_is_made_of(opened, made_page):
    facts = made_page()
    browser = opened(facts)
    node = facts["nodes"][2]
    choose(browser, node["id"])
    assert row(browser, node["id"]).get_attribute("aria-selected") == "true"
    assert node["id"] in text(browser, "#legend tr.selected")
    alphas = ask(browser, "chart('lr-chart').series.slice(1).map(({alpha}) => alpha)")
    assert [alpha == 1 for alpha in alphas] == [False, False, True, False]
    details = text(browser, "#node")
    for told in (node["difference"][0][2], node["checkpoints"][0]["hash"], "bundled", "forked from\ntrunk"):
        assert told in details
    choose(browser, node["id"])
    assert browser.find_elements(By.CSS_SELECTOR, "#node h3") == []


def test_the_tree_is_used_by_keyboard(opened, made_page):
    facts = made_page()
    browser = opened(facts)
    row(browser, "trunk").send_keys(Keys.ARROW_DOWN)
    browser.switch_to.active_element.send_keys(Keys.ENTER)
    assert text(browser, "#node h3") == facts["nodes"][1]["id"]
    assert browser.switch_to.active_element.get_attribute("data-node") == facts["nodes"][1]["id"]


def test_every_chart_says_what_it_shows_and_has_a_table(opened, made_page):
    browser = opened(made_page())
    figures = browser.find_elements(By.TAG_NAME, "figure")
    assert len(figures) == 6
    for figure in figures:
        label = figure.find_element(By.CSS_SELECTOR, "[role=img]").get_attribute("aria-label")
        figure.find_element(By.TAG_NAME, "summary").send_keys(Keys.ENTER)
        table = Wait(figure, 5).until(lambda f: f.find_element(By.TAG_NAME, "table"))
        assert table.find_element(By.TAG_NAME, "caption").text == label
        rows = len(table.find_elements(By.CSS_SELECTOR, "tbody tr"))
        assert 4 <= rows <= 200


def test_in_the_dark_paper_and_charts_are_dark(opened, made_page):
    browser = opened(made_page())
    look = "[getComputedStyle(document.body).backgroundColor, chart('loss-chart').axes[0].stroke()]"
    light = ask(browser, look)
    prefer(browser, "dark")
    drawn(browser)
    dark = ask(browser, look)
    assert light[0] == "rgb(253, 253, 252)"
    assert dark[0] == "rgb(21, 23, 25)"
    assert light[1] != dark[1]


def test_paper_is_light_whatever_the_screen_is(opened, made_page):
    browser = opened(made_page())
    look = """["#comparison .holds", "#legend .swatch", "body"].map((one) => {
        const {color, backgroundColor} = getComputedStyle(document.querySelector(one));
        return one === "#comparison .holds" ? color : backgroundColor;
    })"""
    light = ask(browser, look)
    dark = {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    assert ask(browser, look) == [*light[:2], "rgb(255, 255, 255)"]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})


@pytest.mark.parametrize("nodes", [5, 50])
def test_a_phone_scrolls_in_one_direction(opened, made_page, nodes):
    browser = opened(made_page(nodes=nodes, points=20), width=360)
    choose(browser, "trunk")
    assert ask(browser, "document.documentElement.scrollWidth") <= 360


def test_a_large_tree_is_drawn(opened, made_page):
    browser = opened(made_page(nodes=50, points=2000))
    milliseconds = ask(browser, "performance.now()")
    print(f"50 nodes of 2,000 points a curve: all charts drawn after {milliseconds:.0f} ms")
    assert len(browser.find_elements(By.CSS_SELECTOR, ".tree .row")) == 50
    assert shown(browser, "lr-chart") == 49


@pytest.fixture
def long_tree(tmp_path):
    """A trunk and 49 branches whose records have 100,000 lines each; the branches share one file of them."""
    recipe, run = tmp_path / "tiny.toml", tmp_path / "run"
    recipe.write_text(LONG)
    assert main(["train", str(recipe), "--run", str(run), "--until", "6 steps", "--quiet"]) == 0
    decay = ["--at", "6", "--length", "2 steps", "--name", "b0", "--quiet"]
    assert main(["branch", str(run), *decay]) == 0
    tree = Tree.open(run)
    own = json.loads((run / "branches" / "b0" / "node.json").read_text())
    for node in (tree.trunk, tree.branch("b0")):
        plan, begins = recorded_plan(node), node.parent.step if node.parent else 0
        node.metrics_path.write_text("".join(lines_of(plan, begins + 1, 100_000)))
    for number in range(1, 49):
        folder = run / "branches" / f"b{number}"
        folder.mkdir()
        (folder / "node.json").write_text(json.dumps(own | {"id": folder.name}))
        os.link(run / "branches" / "b0" / "metrics.jsonl", folder / "metrics.jsonl")
    return tree


def lines_of(plan, first, count):
    for step in range(first, first + count):
        loss = 1 + 5 * (step + 60) ** -0.4
        line = {
            "step": step,
            "tokens": plan.tokens(step),
            "loss/train": loss + 0.05 * math.sin(7 * step),
            "lr": 0.01 * step**-0.5,
            "gradient_norm": 1 + 0.3 * math.sin(3 * step),
        }
        if step % 500 == 0:
            line |= {
                "loss/raw": loss,
                "bpb/raw": 1.4 * loss,
                "loss/ema-4": loss - 0.01,
                "bpb/ema-4": 1.4 * loss,
            }
        yield json.dumps(line) + "\n"


@pytest.mark.slow
def test_a_tree_of_many_long_records_is_read_and_drawn(opened, long_tree):
    begun = time.perf_counter()
    facts = page_facts(long_tree)
    seconds = time.perf_counter() - begun
    size = len(render(facts).encode())
    assert size < 3_000_000
    browser = opened(facts)
    milliseconds = ask(browser, "performance.now()")
    print(
        f"50 nodes of 100,000 lines: read in {seconds:.1f} s, {size:,} bytes, drawn after {milliseconds:.0f} ms"
    )
    assert len(browser.find_elements(By.CSS_SELECTOR, ".tree .row")) == 50
    assert shown(browser, "lr-chart") == 50
    assert shown(browser, "loss-chart") == 2 * 50 + 1
    longest = max(facts["nodes"], key=lambda node: node["step"])
    assert longest["step"] == 100_006
    assert facts["nodes"][0]["curves"]["loss/train"]["steps"][-1] == 100_000


@pytest.fixture
def live(browser, made_page):
    """A page that a server on loopback keeps new: the browser, and the facts that the next look will get."""
    facts = {**copy.deepcopy(made_page()), "live": True}
    page = render(facts).encode()

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            content = json.dumps(facts).encode() if self.path == "/facts.json" else page
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        browser.get(f"http://127.0.0.1:{server.server_port}/")
        drawn(browser)
        yield browser, facts
        server.shutdown()
    assert browser.get_log("browser") == []


def poll(browser):
    browser.execute_async_script("window.polls[0]().then(arguments[0])")
    drawn(browser)


def test_a_live_page_follows_and_keeps_what_its_reader_chose(live):
    browser, facts = live
    branch = facts["nodes"][1]["id"]
    browser.find_element(By.CSS_SELECTOR, f"input[data-node='{branch}']").click()
    choose(browser, "trunk")
    slide_to(browser, 1)
    plot = browser.find_element(By.CSS_SELECTOR, "#loss-chart .u-over")
    webdriver.ActionChains(browser).move_to_element(plot).click_and_hold().move_by_offset(
        80, 0
    ).release().perform()
    browser.find_element(By.CSS_SELECTOR, "#loss-chart summary").send_keys(Keys.ENTER)
    choices = "[chart('loss-chart').scales.x.min, document.querySelector('#winner').textContent]"
    before = [ask(browser, choices), shown(browser, "loss-chart")]

    facts["answer"]["readout"]["loss"] = 0.5
    facts["nodes"][0]["curves"]["lr"]["values"][-1] = 0.123
    poll(browser)
    assert "0.5000 nats" in text(browser, "h1")
    assert "0.123" in text(browser, "#legend tbody tr")
    assert [ask(browser, choices), shown(browser, "loss-chart")] == before
    assert text(browser, "#node h3") == "trunk"
    assert ask(browser, "document.querySelector('#loss-chart details').open")
    assert ask(browser, "document.activeElement.id") == "loss-chart-table-summary"


def test_the_keyboard_stays_where_it_was_in_a_live_tree(live):
    browser, facts = live
    row(browser, "trunk").send_keys(Keys.ARROW_DOWN)
    facts["answer"]["readout"]["loss"] = 0.5
    poll(browser)
    branch = browser.switch_to.active_element
    assert branch.get_attribute("data-node") == facts["nodes"][1]["id"]
    branch.send_keys(Keys.ARROW_DOWN)
    assert browser.switch_to.active_element.get_attribute("data-node") == facts["nodes"][2]["id"]


def test_a_legend_that_was_scrolled_stays_so_in_a_live_page(live):
    browser, facts = live
    size = {"width": 360, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    place = "document.getElementById('legend').scrollLeft"
    browser.execute_script(f"{place} = 60")
    facts["answer"]["readout"]["loss"] = 0.5
    poll(browser)
    assert "0.5000 nats" in text(browser, "h1")
    assert ask(browser, place) == 60


def test_nothing_is_faded_for_a_chosen_node_that_is_gone(live):
    browser, facts = live
    choose(browser, facts["nodes"][3]["id"])
    del facts["nodes"][3]
    poll(browser)
    assert browser.find_elements(By.CSS_SELECTOR, ".tree .faded, #node h3") == []
    assert ask(browser, "chart('lr-chart').series.slice(1).map(({alpha}) => alpha)") == [1, 1, 1]


def test_a_live_page_is_left_alone_while_nothing_is_new(live):
    browser, facts = live
    heading = browser.find_element(By.TAG_NAME, "h1")
    facts["written"] = "2026-11-27T05:00:00+00:00"
    poll(browser)
    assert heading.text, "the page was drawn again"
