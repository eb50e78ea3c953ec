"""Reading a page and its charts: fails where tags do not nest or something is not a number.

AXE: the script that checks accessibility in a browser.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from pathlib import Path

import axe_playwright_python

AXE = (Path(axe_playwright_python.__file__).parent / "axe.min.js").read_text("utf-8")
VOID = {"meta", "img", "br", "hr", "link", "input"}


class Page(HTMLParser):
    """The elements of a page; fails where tags do not nest."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] != "style":
            self.text.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def check_page(text: str) -> Page:
    """A page that nests, whose charts are XML, and that loads nothing."""
    page = Page(text)
    for picture in re.findall(r"<svg.*?</svg>", text, re.DOTALL):
        check_svg(picture)
    for _, attributes in page.elements:
        for name in ("src", "href", "xlink:href", "srcset", "data", "action", "poster"):
            value = attributes.get(name)
            assert value is None or value.startswith(("#", "data:image/")), value
    assert not {"script", "link", "iframe", "object", "embed", "base"} & {
        name for name, _ in page.elements
    }
    anchors = {a["href"] for a in page.all("a")}
    assert anchors <= {f"#{e['id']}" for e in page.all("section")}
    assert "url(" not in text
    assert "@import" not in text
    assert [u for u in re.findall(r"https?://[^\"' <]*", text) if "w3.org/2000/svg" not in u] == []
    text.encode()
    return page


def check_svg(text: str) -> ET.Element:
    """An SVG that is XML, has a title, and whose every coordinate is a number."""
    root = ET.fromstring(text)
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert root.attrib["viewBox"]
    assert root[0].tag.endswith("title")
    for element in root.iter():
        for name, value in element.attrib.items():
            if name not in {"class", "style"}:
                assert "nan" not in value, (name, value)
                assert "inf" not in value, (name, value)
            if name in {"width", "height", "r"}:
                assert float(value) >= 0
    return root
