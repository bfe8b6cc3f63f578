"""How large the page of a matrix is, and how long it takes to write and to open.

    python benchmarks/page.py [CELLS]...

Recorded cells under other axes (tests/browser/replayed.py), opened from disk in a headless
Chromium that has just been started; a plot is drawn when the page of a cell is opened.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.browser.replayed import large

from wsgiproof.report.html.page import page
from wsgiproof.subjects.registry import rules_of


def main(sizes: list[int]) -> None:
    print("cells       bytes   write s    open s   a cell with its first plot s")
    for cells in sizes:
        record = large(cells)
        started = time.perf_counter()
        content = page(record, rules_of)
        written = time.perf_counter() - started
        with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
            path = Path(scratch) / "report.html"
            path.write_bytes(content)
            alone = ["--no-sandbox"] if os.geteuid() == 0 else []
            chromium = shutil.which("chromium")
            browser = playwright.chromium.launch(executable_path=chromium, args=alone)
            opened, drawn = measure(browser, path.as_uri())
            browser.close()
        print(f"{cells:5} {len(content):11,} {written:9.2f} {opened:9.2f} {drawn:9.2f}")


def measure(browser: Browser, address: str) -> tuple[float, float]:
    """Seconds until the matrix is there, and from then until a plot of a cell is."""
    shown = browser.new_page(viewport={"width": 1400, "height": 900})
    started = time.perf_counter()
    shown.goto(address)
    shown.wait_for_selector(".chip")
    opened = time.perf_counter() - started
    started = time.perf_counter()
    shown.locator(".chip").first.click()
    shown.wait_for_selector("#plots")
    shown.evaluate("document.getElementById('plots').scrollIntoView()")
    shown.wait_for_selector(".plot[data-drawn]")
    return opened, time.perf_counter() - started


if __name__ == "__main__":
    main([int(word) for word in sys.argv[1:]] or [4, 240, 500])
