"""The page of a tree: one HTML file that asks nothing of any network."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from functools import cache
from importlib.resources import files

from riverrun.report import schema

# In this order they are one module; each uses names of those before it.
SCRIPTS = (
    "view", "elements", "numbers", "colours", "tables", "ticks", "charts", "curves", "answer", "losses", "budget",
    "node", "tree", "averages", "forecast", "comparison", "health", "page",
)  # fmt: skip

# "<" would let a name end the script element, the separators would end a line of JavaScript.
_ESCAPES = {ord(character): f"\\u{ord(character):04x}" for character in "<>&\u2028\u2029"}


def render(facts: schema.Page) -> str:
    """The page of a tree as HTML, with all that it needs inside.

    Its policy allows the scripts and the style that it came with, by their hashes, and nothing else; a live page may
    also ask for the `facts.json` beside it.

    Raises:
        ValueError: a number of the facts is not finite.
    """
    style, uplot, script = _style(), _asset("uplot/uPlot.iife.min.js"), _script()
    policy = [
        "default-src 'none'",
        f"style-src {_source(style)}",
        f"script-src {_source(uplot)} {_source(script)}",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        *(["connect-src 'self'"] if facts["live"] else []),
    ]
    parts = {
        "policy": "; ".join(policy),
        "title": html.escape(f"{facts['run']}: a tree of runs"),
        "style": style,
        "facts": embedded(facts),
        "uplot": uplot,
        "script": script,
    }
    return re.sub(r"@([a-z]+)@", lambda place: parts[place[1]], _asset("page.html"))


def embedded(facts: schema.Page) -> str:
    """The facts as JSON that a script element can hold, whatever the names in it."""
    text = json.dumps(facts, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(_ESCAPES)


@cache
def _asset(path: str) -> str:
    return (files(__package__) / "assets" / path).read_text(encoding="utf-8")


@cache
def _style() -> str:
    return _asset("uplot/uPlot.min.css") + "\n" + _asset("page.css")


@cache
def _script() -> str:
    return "\n".join(_asset(f"js/{name}.js") for name in SCRIPTS)


@cache
def _source(text: str) -> str:
    """How a content security policy names an inline script or style: by its hash."""
    digest = hashlib.sha256(text.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
