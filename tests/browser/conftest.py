"""A real Chromium that opens pages from disk, and says whatever it complains of or asks for."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Locator, Page, sync_playwright

_QUIET = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--disable-sync",
    "--no-first-run",
)
_PATIENCE = 120.0
"""Seconds: on a busy machine a browser takes many."""
DESK, PHONE = (1400, 900), (390, 844)


class Opened:
    """A page that has been opened, and what it complained of or asked for."""

    def __init__(self, page: Page, address: str) -> None:
        self.page = page
        self.address = address
        self.complaints: list[str] = []
        self.asked_for: list[str] = []
        page.set_default_timeout(1000 * _PATIENCE)
        page.on("console", lambda message: self.complaints.append(message.text))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("request", lambda request: self._asked(request.url))
        page.goto(address)
        self.wait_for("body[data-drawn]")

    def _asked(self, url: str) -> None:
        if not url.startswith((self.address.partition("#")[0], "data:", "blob:")):
            self.asked_for.append(url)

    def wait_for(self, selector: str) -> None:
        """Until this is there."""
        self.page.wait_for_selector(selector, state="attached")

    def go(self, fragment: str) -> None:
        """Follow a link to another view."""
        view = fragment.lstrip("#").partition("?")[0]
        self.page.evaluate("delete document.body.dataset.drawn")
        self.page.evaluate("fragment => { location.hash = fragment }", fragment)
        self.wait_for(f'body[data-drawn="{view}"]')

    def open_cell(self, id: str) -> None:
        """Look at this cell, with all of its plots drawn."""
        self.go(f"#cell?cell={id}")
        for event in ("beforeprint", "afterprint"):
            self.page.evaluate("name => dispatchEvent(new Event(name))", event)
        self.until("[...document.querySelectorAll('.plot')].every(one => one.dataset.drawn)")

    def until(self, true: str) -> None:
        """Until this is true. The page's policy forbids it to be looked at from inside."""
        end = time.monotonic() + _PATIENCE
        while not self.page.evaluate(true):
            assert time.monotonic() < end, f"not after {_PATIENCE} seconds: {true}"
            self.page.wait_for_timeout(20)

    def all(self, selector: str) -> list[str]:
        """The texts of these elements."""
        return self.page.locator(selector).all_inner_texts()

    def drawn(self, plot: str) -> dict[str, str]:
        """What is written on a plot, with the colour of each text."""
        texts = f"document.querySelector('#plot-{plot} canvas').drawn"
        written = self.page.evaluate(f"[...{texts}]")
        return dict(written)

    def series(self, plot: str) -> dict[str, list[list[float]]]:
        """The points of each line of a plot, by its name."""
        lines = self.page.evaluate(
            f"""(() => {{
                const chart = document.getElementById('plot-{plot}').chart;
                return chart.series.slice(1).map((one, at) => [one.label, chart.data[at + 1]
                    .map((y, x) => [chart.data[0][x], y]).filter(point => point[1] != null)]);
            }})()"""
        )
        return dict(lines)

    def one(self, selector: str) -> Locator:
        return self.page.locator(selector)

    @property
    def too_wide(self) -> int:
        """Pixels by which the page can be scrolled sideways."""
        wide = self.page.evaluate("document.documentElement.scrollWidth - innerWidth")
        assert isinstance(wide, int)
        return max(0, wide)


Open = Callable[..., Opened]

_RECORD_TEXT = """
    const fillText = CanvasRenderingContext2D.prototype.fillText;
    CanvasRenderingContext2D.prototype.fillText = function (text, ...rest) {
        (this.canvas.drawn ||= new Map()).set(text, this.fillStyle);
        return fillText.call(this, text, ...rest);
    };
"""
"""Keeps what is written on a canvas, and in which colour."""


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    chromium = os.environ.get("WSGIPROOF_CHROMIUM") or shutil.which("chromium")
    assert chromium, "no chromium: scripts/setup dev installs it, WSGIPROOF_CHROMIUM names one"
    alone = ["--no-sandbox"] if os.geteuid() == 0 else []  # it has none for root
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium, args=[*_QUIET, *alone])
        yield started
        started.close()


@pytest.fixture
def opened(browser: Browser, tmp_path: Path) -> Iterator[Open]:
    """Opens a page from disk; at the end of the test none may have complained or asked for more."""
    pages: list[Opened] = []

    def open(
        content: bytes,
        fragment: str = "",
        *,
        size: tuple[int, int] = DESK,
        scheme: str = "light",
        touch: bool = False,
    ) -> Opened:
        path = tmp_path / f"report-{len(pages)}.html"
        path.write_bytes(content)
        context = browser.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if scheme == "dark" else "light",
            is_mobile=touch,
            has_touch=touch,
        )
        context.add_init_script(_RECORD_TEXT)
        pages.append(Opened(context.new_page(), f"{path.as_uri()}{fragment}"))
        return pages[-1]

    yield open
    for one in pages:
        one.page.context.close()
    assert [one.complaints for one in pages] == [[] for _ in pages]
    assert [one.asked_for for one in pages] == [[] for _ in pages]
