"""The server and the page together, in a real browser: each lets the other work, and nobody else."""

import json
import threading

import pytest

from riverrun.report import latest
from riverrun.report.latest import Latest
from riverrun.report.server import PageServer
from riverrun.runs import Tree

webdriver = pytest.importorskip("selenium.webdriver")
Wait = pytest.importorskip("selenium.webdriver.support.wait").WebDriverWait

pytestmark = [pytest.mark.browser, pytest.mark.xdist_group("processes")]
FETCH = """
const [address, mode, done] = arguments;
fetch(address, { mode }).then((answer) => done(answer.type), (error) => done("refused"));
"""


@pytest.fixture
def served(made_page, tmp_path, monkeypatch):
    """A server of made facts, which a test may change, and a function that lets time pass and a file change."""
    facts = {**made_page(), "live": True}
    monkeypatch.setattr(latest, "page_facts", lambda tree, live: json.loads(json.dumps(facts)))
    now = [0.0]

    def later():
        now[0] += 10.0
        (tmp_path / f"{now[0]}").touch()

    with PageServer(0, Latest(Tree(tmp_path), lambda: now[0])) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server, facts, later
        finally:
            server.shutdown()
            thread.join()


def test_the_page_draws_itself_and_asks_for_news_under_the_server_s_policy(browser, served):
    server, facts, later = served
    browser.get_log("browser")
    browser.get(server.address)
    assert "made" in browser.title
    assert "a note of later" not in browser.page_source
    facts["notes"] = ["a note of later"]
    later()
    browser.execute_script("window.polls.forEach((poll) => poll())")
    shown = "return document.getElementById('page').textContent.includes('a note of later')"
    Wait(browser, 20).until(lambda browser: browser.execute_script(shown))
    assert browser.get_log("browser") == []


def test_a_page_from_elsewhere_can_neither_read_nor_embed_it(browser, served, tmp_path):
    server, *_ = served
    elsewhere = tmp_path / "elsewhere.html"
    elsewhere.write_text("<!doctype html><title>elsewhere</title>")
    browser.get(elsewhere.as_uri())
    for mode in ("cors", "no-cors"):
        assert browser.execute_async_script(FETCH, f"{server.address}facts.json", mode) == "refused"
    browser.get_log("browser")
    browser.execute_script(
        "const frame = document.createElement('iframe'); frame.src = arguments[0]; document.body.append(frame);",
        server.address,
    )
    told = []
    Wait(browser, 20).until(lambda browser: told.extend(browser.get_log("browser")) or told)
    assert "frame-ancestors" in told[0]["message"]
