"""The page as one HTML file, which needs nothing else: contents, style and scripts are in it."""

from __future__ import annotations

import base64
import functools
import hashlib
import html
import json
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

from .scripts import compute_script

# In the order in which they are run; functions are visible to all of them.
_VIEW = (
    "format",
    "colour",
    "network",
    "promise",
    "grid",
    "tables",
    "heatmap",
    "charts",
    "flow",
    "columns",
    "picture",
    "choice",
    "stops",
    "words",
    "stop_panel",
    "closer",
    "probabilities",
    "convolution",
    "recurrence",
    "attention",
    "standardising",
    "whatif",
    "pointing",
    "blame",
    "training",
    "controls",
    "main",
)


def render(contents: Mapping[str, Any], title: str = "", text: str = "") -> str:
    """The page of these contents (see `contents.contents`) as HTML.

    title   of the page; that of the contents by default
    text    what to look at: a paragraph under the title
    """
    title = title or contents["title"] or "Forward and backward"
    data = json.dumps(contents, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    data = data.replace("<", "\\u003c")  # no "</script>" in it
    texts = {"title": title, "text": text, "version": contents["chainrule"]}
    texts = {key: html.escape(value) for key, value in texts.items()}
    body = Template(_file("body.html")).substitute(texts)
    script = f"{compute_script()}\n{_view_script()}"
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\';'
        f"style-src 'unsafe-inline';img-src data:;script-src 'sha256-{allowed}'\">"
        f'<link rel="icon" href="data:,"><title>{texts["title"]}</title>'
        f"<style>{_file('style.css')}</style></head><body>"
        f"{body}"
        f'<script type="application/json" id="contents">{data}</script>'
        f"<script>{script}</script></body></html>\n"
    )


@functools.cache
def _view_script() -> str:
    """The files of `view/` as one function, whose names nothing else sees."""
    files = [_file(f"view/{name}.js") for name in _VIEW]
    return "\n".join(['(() => {\n"use strict";', *files, "})();"])


@functools.cache
def _file(name: str) -> str:
    return (Path(__file__).parent / name).read_text("utf-8")
