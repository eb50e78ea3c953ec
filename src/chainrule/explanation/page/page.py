"""The page as one HTML file, which needs nothing else: contents, style and scripts are in it."""

from __future__ import annotations

import base64
import functools
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...train.charts.drawing import DARK, LIGHT, escape
from .scripts import compute_script

# In the order in which they are run; functions are visible to all of them.
_VIEW = (
    "format",
    "colour",
    "network",
    "heatmap",
    "charts",
    "columns",
    "picture",
    "stops",
    "stop_panel",
    "closer",
    "probabilities",
    "convolution",
    "recurrence",
    "attention",
    "standardising",
    "whatif",
    "blame",
    "training",
    "main",
)


def render(contents: Mapping[str, Any], title: str = "") -> str:
    """The page of these contents (see `contents.contents`) as HTML.

    title   of the page; that of the contents by default
    """
    title = title or contents["title"] or "Forward and backward"
    data = json.dumps(contents, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    data = data.replace("<", "\\u003c")  # no "</script>" in it
    script = f"{compute_script()}\n{_view_script()}"
    allowed = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        '<meta name="color-scheme" content="light dark">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\';'
        f"style-src 'unsafe-inline';img-src data:;script-src 'sha256-{allowed}'\">"
        f'<link rel="icon" href="data:,"><title>{escape(title)}</title>'
        f"<style>{_style()}</style></head><body>"
        f"{_body(title, contents['chainrule'])}"
        f'<script type="application/json" id="contents">{data}</script>'
        f"<script>{script}</script></body></html>\n"
    )


@functools.cache
def _view_script() -> str:
    """The files of `view/` as one function, whose names nothing else sees."""
    folder = Path(__file__).parent / "view"
    files = [(folder / f"{name}.js").read_text("utf-8") for name in _VIEW]
    return "\n".join(['(() => {\n"use strict";', *files, "})();"])


@functools.cache
def _style() -> str:
    """The colours of the charts of a run's report, by the reader's choice of light or dark."""
    dark = f':root:not([data-theme="light"]){{color-scheme:dark;{DARK}}}'
    return (
        f":root{{color-scheme:light;{LIGHT}}}@media(prefers-color-scheme:dark){{{dark}}}"
        f':root[data-theme="dark"]{{color-scheme:dark;{DARK}}}'
        + (Path(__file__).parent / "style.css").read_text("utf-8")
    )


def _body(title: str, version: str) -> str:
    return f"""
<header><div><p class="over">chainrule {escape(version)} · one sample, forward and backward</p>
<h1>{escape(title)}</h1>
<p class="summary">Loss <strong id="loss"></strong></p></div>
<button type="button" id="theme" aria-pressed="false" aria-label="Dark colours">◐</button></header>
<main class="work"><div>
<div class="scene" id="scene" tabindex="0" role="group" aria-label="The network"></div>
<div class="transport" role="group" aria-label="Walk through the network"><div class="buttons">
<button type="button" id="first" aria-label="To the start">|←</button>
<button type="button" id="back" aria-label="One step back">←</button>
<button type="button" id="play" aria-label="Play" aria-pressed="false">▶</button>
<button type="button" id="next" aria-label="One step on">→</button>
<button type="button" id="last" aria-label="To the end">→|</button>
<p class="caption" id="caption"></p>
<label hidden>sample <select id="sample"></select></label></div>
<div class="ways-line" id="ways"><input type="range" id="slider" min="0" value="0" step="1"
aria-label="Place in the walk"><div class="names" aria-hidden="true"><span>forward →</span>
<span class="turn">backward →</span></div></div></div>
<ul class="key" aria-label="Key">
<li class="v"><i></i>value above 0</li><li class="v minus"><i></i>value below 0</li>
<li class="g"><i></i>gradient above 0: more of it raises the loss</li>
<li class="g minus"><i></i>gradient below 0: more of it lowers the loss</li>
<li id="picture-table"></li></ul>
<div id="panel"></div></div>
<aside aria-label="Tools">
<section aria-labelledby="what-if"><h2 id="what-if">What if</h2><div id="what-if-body"></div></section>
<section aria-labelledby="blame"><h2 id="blame">Paths of blame</h2><div id="blame-body"></div></section>
<section aria-labelledby="train"><h2 id="train">Take a step</h2><div id="train-body"></div></section>
</aside></main>
<p class="hidden" role="status" aria-live="polite" id="status"></p>"""
