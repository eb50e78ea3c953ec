"""What opens a page in the browser."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from browsing import Mlp, Opened
from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def mlp() -> Mlp:
    return Mlp()


@pytest.fixture
def opened(browser: Browser, mlp: Mlp, tmp_path: Path) -> Iterator[Opened]:
    out = Opened(browser, tmp_path / "page.html", mlp.html)
    yield out
    assert out.wrong == []
    out.page.close()


@pytest.fixture
def open_page(browser: Browser, tmp_path: Path) -> Iterator[Callable[..., Opened]]:
    """Opens pages; that nothing went wrong in them is checked at the end."""
    made: list[Opened] = []

    def build(html: str, **settings: Any) -> Opened:
        made.append(Opened(browser, tmp_path / f"{len(made)}.html", html, **settings))
        return made[-1]

    yield build
    for out in made:
        assert out.wrong == []
        out.page.close()
