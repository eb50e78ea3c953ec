"""Pages in a browser: opening them, walking through them, reading their numbers."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from playwright.sync_api import Browser, Page

import chainrule as cr
from chainrule import nn

F = nn.functional
SUPERSCRIPTS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


def html_of(function: Callable[..., Any], *args: Any, title: str = "A network") -> str:
    """The page that users get."""
    return cr.explain(function, *args).page(title=title)


def double(module: Any) -> Any:
    """The module with parameters in float64."""
    for inner in module.modules():
        for name, t in [*vars(inner).items()]:
            if isinstance(t, cr.Tensor):
                requires = t.requires_grad
                new = t.detach().astype("float64")
                setattr(inner, name, nn.Parameter(new) if requires else new)
    return module


def normal(*shape: int) -> Any:
    return cr.random.normal(shape).astype("float64")


class Opened:
    """A page in the browser, with what went wrong in it."""

    def __init__(self, browser: Browser, path: Path, html: str, **settings: Any) -> None:
        path.write_text(html, "utf-8")
        self.page: Page = browser.new_page(**settings)
        self.wrong: list[str] = []
        self.page.on("console", lambda m: self.wrong.append(m.text))
        self.page.on("pageerror", lambda e: self.wrong.append(str(e)))
        self.page.on("request", lambda r: self._requested(r.url))
        self.page.goto(path.as_uri())

    def _requested(self, url: str) -> None:
        if not url.startswith(("file:", "data:")):
            self.wrong.append(url)

    def press(self, key: str, times: int = 1) -> None:
        for _ in range(times):
            self.page.keyboard.press(key)

    def stop(self, phase: str, title: str) -> None:
        """Walk to the stop of this phase whose caption ends like this."""
        self.page.locator("h1").click()
        self.press("Home")
        for _ in range(60):
            caption = self.text("#caption")
            if caption.startswith(phase) and caption.endswith(title):
                return
            self.press("ArrowRight")
        raise AssertionError(f"no stop {phase} {title}")

    def text(self, selector: str) -> str:
        return self.page.locator(selector).first.inner_text()

    def number(self, selector: str) -> float:
        return parsed(self.text(selector))

    def rows(self, caption: str) -> list[list[str]]:
        """The cells of the table with this caption."""
        body = self.page.locator("table", has=self.page.get_by_text(caption, exact=True))
        return [
            [cell.strip() for cell in row.split("\t")]
            for row in body.first.locator("tbody").inner_text().split("\n")
        ]

    def map(self, title: str) -> np.ndarray:
        """The numbers in the table behind the heat map whose title begins like this."""
        figure = self.page.locator("figure.map", has_text=re.compile(rf"^\s*{re.escape(title)}"))
        details = figure.first.locator("details")
        if details.get_attribute("open") is None:
            details.locator("summary").click()
        rows = details.locator("tbody").inner_text().split("\n")
        return np.array([[parsed(c) for c in row.split("\t")[1:]] for row in rows])


def parsed(text: str) -> float:
    """A number as the page writes it."""
    text = text.replace("−", "-").replace(",", "").replace("∞", "inf").strip(" +")
    mantissa, _, power = text.partition("×10")
    return float(mantissa) * 10.0 ** int(power.translate(SUPERSCRIPTS) or 0)


def near(shown: Any, expected: Any, digits: int = 4) -> bool:
    """Whether numbers are equal to as many digits as are shown."""
    return bool(np.allclose(shown, expected, rtol=10.0**-digits * 5.01, atol=1e-12))


class Mlp:
    """x → Linear → tanh → Linear → cross-entropy, on three samples."""

    def __init__(self) -> None:
        cr.random.seed(3)
        model = double(nn.Sequential(nn.Linear(2, 3), nn.Tanh(), nn.Linear(3, 2)))
        x, y = normal(3, 2), cr.Tensor([1, 0, 1])

        def loss(x: Any, y: Any) -> Any:
            logits = model(x)
            return F.cross_entropy(logits, y)

        self.html = html_of(loss, x, y, title="Three samples")
        self.weights = [torch.tensor(np.asarray(p), requires_grad=True) for p in model.parameters()]
        self.x, self.y = torch.tensor(np.asarray(x)), torch.tensor(np.asarray(y))
        self.loss()

    def loss(self) -> Any:
        w1, b1, w2, b2 = self.weights
        self.z = self.x @ w1.T + b1
        self.h = torch.tanh(self.z)
        self.logits = self.h @ w2.T + b2
        self.total = torch.nn.functional.cross_entropy(self.logits, self.y)
        return self.total

    def gradient(self, t: Any) -> Any:
        """∂loss/∂t."""
        return torch.autograd.grad(self.total, t, retain_graph=True)[0]
