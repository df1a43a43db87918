import base64
import copy
import hashlib
import json
import re
from html.parser import HTMLParser
from importlib.resources import files

import pytest

from riverrun.report.page import SCRIPTS, embedded, render

ASSETS = files("riverrun.report") / "assets"
NASTY = "</script><b>&amp;<!-- <script> \u2028\u2029 \" ' \\ @script@"


class Parts(HTMLParser):
    """The elements of a page with their attributes, and the text of its scripts and styles, as a browser reads them."""

    def __init__(self, page):
        super().__init__(convert_charrefs=True)
        self.elements, self.texts, self._open = [], [], None
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self._open = (tag, dict(attrs).get("type")) if tag in ("script", "style", "title") else None

    def handle_data(self, data):
        if self._open:
            self.texts.append((*self._open, data))

    def handle_endtag(self, tag):
        self._open = None

    def text(self, tag, kind=None):
        [found] = [data for name, its, data in self.texts if (name, its) == (tag, kind)]
        return found


def policy(page):
    [content] = [
        a["content"] for tag, a in Parts(page).elements if a.get("http-equiv") == "Content-Security-Policy"
    ]
    return dict(part.split(maxsplit=1) for part in content.split("; "))


def test_a_browser_reads_the_very_facts_whatever_their_names(made_page):
    facts = copy.deepcopy(made_page())
    facts["run"] = facts["nodes"][1]["id"] = facts["nodes"][0]["schedule"] = NASTY
    page = render(facts)
    assert json.loads(Parts(page).text("script", "application/json")) == facts
    assert Parts(page).text("title") == f"{NASTY}: a tree of runs"
    assert [tag for tag, _ in Parts(page).elements if tag == "b"] == []


def test_embedded_facts_hold_no_character_that_ends_a_script(made_page):
    facts = {**made_page(), "run": NASTY}
    assert not set(embedded(facts)) & set("<>&\u2028\u2029")


def test_the_policy_allows_what_the_page_brings_and_nothing_else(made_page):
    page = render(made_page())

    def source(text):
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"

    parts = Parts(page)
    assert policy(page) == {
        "default-src": "'none'",
        "style-src": source(parts.text("style")),
        "script-src": f"{source(parts.text('script'))} {source(parts.text('script', 'module'))}",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }


def test_only_a_live_page_may_ask_for_news(made_page):
    assert policy(render({**made_page(), "live": True}))["connect-src"] == "'self'"


def test_nothing_of_the_page_lies_elsewhere(made_page):
    links = [
        value
        for _, attributes in Parts(render(made_page())).elements
        for name, value in attributes.items()
        if name in ("src", "href", "srcset", "data", "action")
    ]
    assert links == ["data:,"]
    assert "url(" not in Parts(render(made_page())).text("style")


def test_no_script_of_ours_reads_text_as_markup():
    for name in SCRIPTS:
        script = (ASSETS / "js" / f"{name}.js").read_text()
        assert not re.search(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|Function\(", script
        )


def test_every_script_is_part_of_the_page():
    assert sorted(SCRIPTS) == sorted(entry.name.removesuffix(".js") for entry in (ASSETS / "js").iterdir())


def test_a_number_that_no_browser_reads_is_refused(made_page):
    facts = copy.deepcopy(made_page())
    facts["nodes"][0]["curves"]["lr"]["values"][3] = float("nan")
    with pytest.raises(ValueError, match="not JSON compliant"):
        render(facts)


def test_what_the_page_adds_to_its_facts_is_small(made_page):
    facts = made_page(nodes=1, points=2)
    assert len(render(facts)) - len(embedded(facts)) < 150_000


def test_uplot_is_the_one_that_its_note_names():
    note = (ASSETS / "uplot" / "VERSION").read_text()
    hashes = re.findall(r"^([0-9a-f]{64})  (\S+)$", note, re.MULTILINE)
    assert {name for _, name in hashes} == {"uPlot.iife.min.js", "uPlot.min.css"}
    for digest, name in hashes:
        assert hashlib.sha256((ASSETS / "uplot" / name).read_bytes()).hexdigest() == digest
    version = re.search(r"uPlot (\S+),", note)[1]
    assert f"(v{version})" in (ASSETS / "uplot" / "uPlot.iife.min.js").read_text()
