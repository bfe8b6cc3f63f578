"""Text that means harm: shown as text, wherever a run is told."""

from __future__ import annotations

import io
import socket
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from markdown_it import MarkdownIt
from playwright.sync_api import Browser
from rich.console import Console

from tests.browser.conftest import PHONE, Open
from tests.browser.hostile_record import SAYS, TEXT, endless, hostile
from tests.browser.replayed import left
from tests.unit.factories import run_record
from wsgiproof.analysis.trends import trends
from wsgiproof.records.run import RunRecord
from wsgiproof.report.html.page import page
from wsgiproof.report.junit import to_junit
from wsgiproof.report.recorded import show_recorded
from wsgiproof.report.summary import to_markdown
from wsgiproof.subjects.registry import rules_of

_HARM = """() => ({
    harmed: Boolean(window.harmed),
    scripts: [...document.scripts].filter(one => !one.type || one.type === 'module').length,
    strangers: document.querySelectorAll('img, iframe, object, embed, base, form').length,
    handlers: [...document.querySelectorAll('*')].filter(one => [...one.attributes]
        .some(a => a.name.startsWith('on') || /^\\s*javascript:/i.test(a.value))).length,
    invisible: /[\\p{Cf}\\p{Zl}\\p{Zp}]|(?![\\n\\t])\\p{Cc}/u.test(document.body.innerText),
})"""


_SLIP = """port => {
    document.body.insertAdjacentHTML('beforeend',
        `<img src="http://127.0.0.1:${port}/image" onerror="window.harmed=1">`);
    const script = document.createElement('script');
    script.textContent = 'window.harmed=1';
    document.body.append(script);
    fetch(`http://127.0.0.1:${port}/fetched`).catch(() => null);
}"""


@cache
def content() -> bytes:
    record = hostile()
    older = msgspec.structs.replace(record, started="2026-11-20T00:00:00+00:00")
    return page(record, rules_of, old=older, over=trends([older, record]))


def test_nothing_in_a_page_runs_but_our_own(opened: Open) -> None:
    shown = opened(content(), size=PHONE)
    cells = [f"#cell?cell={cell.cell.id}" for cell in hostile().cells]
    for view in ("#matrix", "#compare", "#trends", "#about", *cells):
        if view.startswith("#cell"):
            shown.open_cell(view.partition("=")[2])
        else:
            shown.go(view)
        harm = shown.page.evaluate(_HARM)
        assert harm.pop("scripts") == 2, "our own, and the library's"
        assert harm == {"harmed": False, "strangers": 0, "handlers": 0, "invisible": False}, view
        assert SAYS in shown.one("main").inner_text()
        assert shown.too_wide == 0, view
    assert "<script>window.harmed=1</script>" in shown.one("main").inner_text(), "as text"


def test_addresses_are_as_harmless(opened: Open) -> None:
    for address in (
        "#cell?cell=<img src=x onerror=window.harmed=1>",
        "#<script>",
        "#cell?rows=x",
        "#matrix?verdict=constructor&check=__proto__&split=constructor",
        "#matrix?text=%3Csvg%20onload%3Dwindow.harmed%3D1%3E",
        "#constructor",
    ):
        shown = opened(content(), address)
        assert shown.page.evaluate(_HARM)["harmed"] is False
        assert len(shown.all("h1")) == 1


def test_megabytes_are_bounded_and_said_to_be(opened: Open) -> None:
    record = endless()
    made = page(record, rules_of)
    assert len(made) < 3_000_000
    shown = opened(made)
    shown.open_cell(record.cells[0].cell.id)
    assert "lines are left out here" in shown.one(".log").inner_text()
    assert "more characters" in shown.one(".log").inner_text()
    assert "lines are left out here" in shown.one("#stacks").inner_text()
    assert shown.too_wide == 0


def test_files_beside_a_record_need_not_be_text(opened: Open, tmp_path: Path) -> None:
    (cell,) = (one for one in hostile().cells[:1])
    record = run_record(cell)
    where = left(record, tmp_path / "run") / cell.directory
    (where / "httpd.conf").write_bytes(
        b"\xff\xfe\x00</script><script>window.harmed=1</script>\n" * 9
    )
    (where / "httpd-output.log").write_bytes(TEXT.encode() * 20_000)
    shown = opened(page(record, rules_of, tmp_path / "run"))
    shown.open_cell(cell.cell.id)
    assert "\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}\N{SYMBOL FOR NULL}</script>" in (
        shown.one("#config").text_content() or ""
    )
    assert shown.page.evaluate(_HARM)["harmed"] is False


def test_a_slip_of_ours_could_neither_run_nor_fetch(browser: Browser, tmp_path: Path) -> None:
    """What the policy is for; it complains, so this page is opened by itself."""
    path = tmp_path / "report.html"
    path.write_bytes(content())
    shown = browser.new_page()
    shown.goto(path.as_uri())
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.5)
        shown.evaluate(_SLIP, listener.getsockname()[1])
        with pytest.raises(TimeoutError):
            listener.accept()
    assert shown.evaluate("window.harmed") is None
    shown.close()


def told(record: RunRecord) -> str:
    out = Console(file=io.StringIO(), highlight=False, width=200)
    show_recorded(out, record, rules_of, 1, "/results")
    assert isinstance(out.file, io.StringIO)
    return out.file.getvalue()


def test_the_same_record_is_harmless_elsewhere() -> None:
    for record in (hostile(), endless()):
        root = ElementTree.fromstring(to_junit(record))
        assert {one.tag for one in root.iter()} <= {
            *("testsuites", "testsuite", "properties", "property", "testcase"),
            *("failure", "error", "skipped", "system-out"),
        }
        markdown = to_markdown(record)
        assert len(markdown) < 65_536
        tokens = MarkdownIt("commonmark", {"html": True}).enable("table").parse(markdown)
        kinds = {one.type for token in tokens for one in (token, *(token.children or ()))}
        assert not kinds & {"link_open", "image", "html_inline"}
        shown = told(record)
        assert all(char.isprintable() or char == "\n" for char in shown)
        assert len(shown) < 200_000
