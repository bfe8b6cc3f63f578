"""The page of a run, clicked through in a real browser."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import msgspec
import pytest

from tests.browser.conftest import DESK, PHONE, Open
from tests.browser.replayed import failing, large, left, passing, recorded
from tests.unit.factories import RESOURCES, RULES, run_record
from tests.unit.scenarios import crash_at_stop, leak_in_four_processes, pyo3
from wsgiproof.analysis.compare import compare
from wsgiproof.analysis.figures import by_name
from wsgiproof.analysis.trends import trends
from wsgiproof.judge.fit import fits
from wsgiproof.judge.verdict import judge_record
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.known import Known, KnownInCell
from wsgiproof.records.run import CellRecord, RunRecord
from wsgiproof.report.causes import causes
from wsgiproof.report.html.page import page
from wsgiproof.subjects.registry import rules_of

LEAK = recorded("leak-connection")
CRASH = recorded("crash-in-request")
MEMORY = recorded("leak-memory")
MANY = 120


@cache
def many() -> tuple[RunRecord, bytes]:
    record = large(MANY)
    return record, page(record, rules_of)


@cache
def faults() -> bytes:
    return page(failing(), rules_of)


def older(record: RunRecord) -> RunRecord:
    """The same run five days before, when the first cell passed and the last was not there."""
    first = record.cells[0]
    good = msgspec.structs.replace(recorded("standalone-daemon"), cell=first.cell)
    return run_record(good, *record.cells[1:-1], started="2026-11-18T05:43:59+00:00")


@cache
def changed() -> bytes:
    """A run with what became of the one before it."""
    new, old = failing(), older(failing())
    return page(new, rules_of, old=old, over=trends([new, old]))


def test_the_matrix_has_each_cell_once_with_its_verdict_in_words(opened: Open) -> None:
    record, content = many()
    shown = opened(content)
    words = [text[1:] for text in shown.all(".chip .verdict")]
    assert Counter(words) == Counter(str(cell.verdict) for cell in record.cells)
    counts = {text.split()[2]: int(text.split()[1]) for text in shown.all(".counter")}
    assert counts == dict(Counter(str(cell.verdict) for cell in record.cells))
    assert len(shown.all(".grid")) == 4, "split by mode and topology"
    assert shown.all(".grid .corner") == ["Python"] * 4
    failing = Counter(
        one.check for cell in record.cells for one in cell.checks if one.verdict is Verdict.FAIL
    )
    for check, count in failing.items():
        assert f"✗{count}" in shown.one(f"#check-{check}").inner_text().replace("\n", "")


def test_filters_leave_what_they_say_and_are_in_the_address(opened: Open) -> None:
    record, content = many()
    shown = opened(content)
    failed = [cell for cell in record.cells if cell.verdict is Verdict.FAIL]
    shown.one("#verdict-fail").click()
    assert len(shown.all(".chip")) == len(failed)
    shown.one("#check-crash").click()
    crashed = [cell for cell in failed if any(one.check == "crash" for one in cell.findings)]
    assert len(shown.all(".chip")) == len(crashed)
    shown.one("#axis-python").select_option("3.11.9")
    mine = [cell for cell in crashed if cell.cell.python == "3.11.9"]
    assert len(shown.all(".chip")) == len(mine) > 0
    assert unquote(shown.page.url).endswith("#matrix?verdict=fail&check=crash&axis.python=3.11.9")
    again = opened(content, shown.page.url.partition("#")[1] + shown.page.url.partition("#")[2])
    assert again.all(".chip") == shown.all(".chip"), "a link shows a colleague the same"
    assert shown.one("#verdict-fail").get_attribute("aria-pressed") == "true"
    shown.one("#show-all").click()
    assert len(shown.all(".chip")) == len(record.cells)
    shown.one("#text").press_sequentially("embedded")
    assert shown.one("#text").input_value() == "embedded", "the focus stays in the field"
    assert len(shown.all(".chip")) == sum("embedded" in cell.cell.id for cell in record.cells)
    shown.one("#text").fill("no such cell")
    assert shown.all(".empty") == ["No cell matches these filters."]


def test_axes_are_the_viewers_choice(opened: Open) -> None:
    shown = opened(many()[1])
    shown.one("#by-rows").select_option("topology")
    shown.one("#by-cols").select_option("mpm")
    shown.one("#split-mode").uncheck()
    assert shown.all(".grid .corner") == ["topology"]
    assert sorted(shown.all(".grid tbody th")) == ["replica-set", "standalone"]
    assert [text.split("\n")[-1] for text in shown.all(".grid thead th")][1:] == [
        *("event", "prefork", "worker")
    ]
    assert len(shown.all(".chip")) == MANY


def test_keys_alone_are_enough(opened: Open) -> None:
    shown = opened(many()[1])
    assert shown.one('.chip[tabindex="0"]').count() == 1, "one stop for the Tab key"
    shown.one('.chip[tabindex="0"]').focus()
    keyboard = shown.page.keyboard
    focused = "document.activeElement.dataset.at"
    first = shown.page.evaluate(focused)
    keyboard.press("ArrowRight")
    right = shown.page.evaluate(focused)
    keyboard.press("ArrowDown")
    below = shown.page.evaluate(focused)
    assert len({first, right, below}) == 3
    keyboard.press("ArrowUp")
    assert shown.page.evaluate(focused) == right
    outline = "getComputedStyle(document.activeElement).outlineWidth"
    assert shown.page.evaluate(outline) == "3px", "one can see where one is"
    keyboard.press("Enter")
    shown.wait_for('body[data-drawn="cell"]')
    id = shown.one(".cellhead h1").inner_text()
    keyboard.press("ArrowRight")
    title = "document.querySelector('.cellhead h1').textContent"
    shown.until(f"{title} !== '{id}'")
    keyboard.press("ArrowLeft")
    shown.until(f"{title} === '{id}'")
    keyboard.press("Escape")
    shown.wait_for('body[data-drawn="matrix"]')
    assert shown.page.evaluate(focused) == right, "back where one was"


@pytest.mark.parametrize("size", [DESK, PHONE])
@pytest.mark.parametrize("scenario", [pyo3, leak_in_four_processes, crash_at_stop])
def test_the_first_screen_says_what_broke_why_and_what_to_do(
    opened: Open, scenario: Callable[[], CellRecord], size: tuple[int, int]
) -> None:
    cell = scenario()
    (cause,) = causes(cell, RULES)
    shown = opened(page(run_record(cell), rules_of), size=size)
    for view in ("#matrix", f"#cell?cell={cell.cell.id}"):
        shown.go(view)
        card = shown.one(".finding").first
        for text in (cause.meaning, cause.action):
            box = card.get_by_text(text).first.bounding_box()
            assert box is not None
            assert box["y"] + box["height"] <= size[1], (view, text)
        assert cause.seen.replace("  ", " ") in " ".join(card.inner_text().split())
        assert len(shown.all(".finding")) == 1
        assert shown.too_wide == 0


def test_consequences_are_folded_under_their_cause(opened: Open) -> None:
    shown = opened(faults())
    shown.open_cell(CRASH.cell.id)
    cards = shown.all(".finding h3 .name")
    assert cards == ["crash", "cursors"]
    folded = shown.one(".finding").first.locator(".consequence")
    assert folded.locator("summary b").all_inner_texts() == ["error-log", "responses"]
    assert "106 of 1,110 requests failed" in folded.last.inner_text()
    assert shown.one(".outcome").inner_text().split("\n")[-1] == "5 findings, 2 causes"


def test_a_known_entry_is_text_with_its_source(opened: Open) -> None:
    cell = pyo3()
    shown = opened(page(run_record(cell), rules_of), f"#cell?cell={cell.cell.id}")
    text = shown.one(".finding dl").first.inner_text()
    assert "wsgiproof explain pyo3" in text
    link = shown.one(".finding dl a").first
    assert link.get_attribute("href") == "https://github.com/GrahamDumpleton/mod_wsgi/issues/940"
    assert "meaning" not in text


def test_what_is_known_is_shown_with_its_reason_and_is_no_failure(opened: Open) -> None:
    crashed = crash_at_stop()
    table = Known(
        check="crash",
        entry="thread-outlives-interpreter",
        reason="threads run once more",
        link="https://example.org/issues/1",
    )
    known = (KnownInCell(table=table),)
    cell = judge_record(msgspec.structs.replace(crashed, known=known), RULES)
    shown = opened(page(run_record(cell), rules_of))
    assert shown.all("h1") == ["1 cell passed, 1 of them with known findings"]
    assert shown.all(".chip .verdict") == ["≈known"]
    (line,) = shown.all(".notice p")
    assert line.startswith("Known: crash, thread-outlives-interpreter, in 1 cell: threads run")
    shown.go(f"#cell?cell={cell.cell.id}")
    assert shown.all(".outcome .badge") == ["≈ known"]
    text = shown.one(".finding dl").first.inner_text()
    assert "Accepted" in text
    assert len(shown.all(".finding.accepted")) == 1
    assert "a bug of mod_wsgi" in text
    links = shown.page.locator(".finding dl a").evaluate_all("all => all.map(one => one.href)")
    assert "https://example.org/issues/1" in links
    assert "≈ known" in shown.all("#checks .badge")


def test_axes_that_never_vary_take_no_room(opened: Open) -> None:
    alone = opened(page(run_record(LEAK), rules_of))
    assert alone.all(".chip .verdict") == ["✗fail"]
    assert alone.all(".grid table") == alone.all("#arrange") == []
    assert "standalone" in alone.one(".facts").inner_text()
    alone.go(f"#cell?cell={LEAK.cell.id}")
    assert alone.all(".axes") == []
    several = opened(faults())
    assert several.all(".grid .corner") == ["control"], "by mode"
    several.go(f"#cell?cell={LEAK.cell.id}")
    assert several.all(".axes dt") == ["mode", "control"]


def test_a_matrix_that_is_too_wide_says_so_and_scrolls(opened: Open) -> None:
    shown = opened(many()[1], size=PHONE, touch=True)
    assert not shown.one(".keys").is_visible(), "a touch screen has no arrow keys"
    box = shown.one(".matrix .scroll").first
    hint = shown.one(".sideways").first
    assert hint.is_visible()
    shown.until("document.querySelector('.matrix .scroll').classList.contains('more')")
    box.evaluate("one => { one.scrollLeft = one.scrollWidth }")
    shown.until("!document.querySelector('.matrix .scroll').classList.contains('more')")
    wide = opened(page(passing(), rules_of))
    assert wide.one(".keys").is_visible()
    assert wide.one(".sideways:visible").count() == 0


def test_a_run_in_which_all_passed(opened: Open) -> None:
    record = passing()
    shown = opened(page(record, rules_of))
    assert shown.all("h1") == ["4 cells passed"]
    assert len(shown.all(".chip.v-pass")) == len(shown.all(".chip")) == 4
    assert shown.all(".causes") == []
    for cell in record.cells:
        shown.open_cell(cell.cell.id)
        assert shown.all("#findings") == []
        assert len(shown.all("#checks tbody tr")) == len(cell.checks)
        assert shown.all(".figures b")[0] == by_name(cell)["requests_per_second"].text


def test_the_page_of_a_leak_has_findings_first_and_the_judges_line(opened: Open) -> None:
    shown = opened(faults())
    shown.open_cell(LEAK.cell.id)
    titles = shown.all("main h2")
    assert titles[:3] == ["Findings", "Checks", "Resources"]
    for finding in LEAK.findings:
        text = "\n".join(shown.all("#findings"))
        assert all(words in text for words in (finding.seen, finding.meaning, finding.action))
    assert LEAK.rerun in shown.one(".rerun").inner_text()
    assert LEAK.observed is not None
    (fit,) = [one for one in fits(RESOURCES, LEAK.observed) if one.check == "connections"]
    drawn = shown.series("connections")["fitted rate"]
    assert drawn == [[at, value] for at, value in zip(fit.requests, fit.line, strict=True)]
    assert fit.text in shown.one("figure:has(#plot-connections)").inner_text()
    assert shown.all("#plots figcaption b")[0] == "Connections", "what failed comes first"
    shown.one("figure:has(#plot-connections) .numbers summary").click()
    shown.wait_for("figure:has(#plot-connections) .numbers tbody tr")
    rows = shown.all("figure:has(#plot-connections) .numbers tbody tr")
    readings = [one.connections for one in LEAK.observed.samples]
    told = [int(row.split()[-1]) for row in rows if row.startswith("the deployment's count")]
    assert told == readings
    assert "parallel" in shown.drawn("threads"), "phases have their names above"
    (worker,) = (one.pid for one in LEAK.observed.samples[0].processes if one.role == "worker")
    points = shown.series("threads")[f"worker {worker}"]
    counts = [one.threads for sample in LEAK.observed.samples for one in sample.processes]
    assert len(points) == len(readings), "also those after the same number of requests"
    assert {value for _, value in points} <= set(counts)


def test_memory_has_its_slope_drawn_too(opened: Open) -> None:
    shown = opened(faults())
    shown.open_cell(MEMORY.cell.id)
    assert "fitted rate" in shown.series("malloc")
    assert "fitted rate" not in shown.series("connections")


def test_the_page_of_a_crash_has_deaths_stacks_and_known_lines(opened: Open) -> None:
    shown = opened(faults())
    shown.open_cell(CRASH.cell.id)
    deaths = shown.page.evaluate(
        "document.getElementById('plot-timeline').spec.lives"
        ".filter(one => one.look.title === 'crashed').map(one => one.text)"
    )
    assert deaths
    assert any("worker" in text for text in shown.drawn("timeline"))
    shown.one("#plot-timeline").scroll_into_view_if_needed()
    shown.one("#plot-timeline .u-over").hover(position={"x": 100, "y": 14})
    assert "in phase" in shown.one("figure:has(#plot-timeline) .readout").inner_text()
    assert all("SIGSEGV" in text for text in deaths)
    assert "Fatal Python error" in shown.one("#stacks").inner_text()
    every, known = len(shown.all(".log li")), len(shown.all(".log .known"))
    assert 0 < known < every
    shown.one("#only-known").check()
    assert shown.page.locator(".log li:visible").count() == known
    assert shown.one('.log .known:has-text("Truncated or oversized") .meaning').count() > 0
    answered = shown.all("#answers tbody td")
    assert CRASH.observed is not None
    told = sum(int(text.replace(",", "")) for text in answered)
    assert told == sum(one.answers for one in CRASH.observed.identities)


def test_the_files_beside_a_record_are_in_the_page(opened: Open, tmp_path: Path) -> None:
    record = run_record(LEAK)
    shown = opened(page(record, rules_of, left(record, tmp_path / "run")))
    shown.open_cell(LEAK.cell.id)
    shown.one("#config summary").first.click()
    assert "Listen 80" in shown.one("#config .file").first.inner_text()


def test_a_comparison_tells_what_changed(opened: Open) -> None:
    new = failing()
    old = older(new)
    told = compare(old, new)
    shown = opened(changed(), "#compare")
    assert shown.all("h1") == ["Something got worse"]
    assert len(shown.all(".change")) == len(told.changed) == 1
    assert told.changed[0].new in shown.one(".change h3").inner_text()
    steps = shown.all(".change .step")
    assert len(steps) == 1 + len(told.changed[0].checks)
    assert new.cells[-1].cell.id in shown.one("main").inner_text()
    assert told.rates
    assert all(one.describe() in shown.one("main").inner_text() for one in told.rates)
    shown.one(".change h3 a").click()
    shown.wait_for('body[data-drawn="cell"]')
    assert shown.all(".cellhead h1") == [told.changed[0].new]


def test_trends_tell_verdicts_and_figures_over_several_runs(opened: Open) -> None:
    new = failing()
    over = trends([new, older(new)])
    shown = opened(changed(), "#trends")
    assert shown.all("h1") == ["2 runs"]
    assert len(shown.all(".trends tbody tr")) == len(over.rows) == len(new.cells)
    first = shown.all(".trends tbody tr td")[:2]
    assert ["pass" in first[0], "fail" in first[1]] == [True, True], "what changed comes first"
    shown.wait_for("#plot-trend[data-drawn]")
    assert shown.series("trend")[over.rows[0].name] == [
        [point.column, one.value]
        for point in over.rows[0].points
        for one in point.figures
        if one.name == "requests_per_second"
    ]
    shown.one("#figure").select_option("memory_per_request")
    shown.wait_for("#plot-trend[data-drawn]")
    assert shown.all("figcaption b") == ["memory/request"]


@pytest.mark.parametrize(("size", "scheme"), [(DESK, "light"), (PHONE, "dark")])
def test_nothing_is_wider_than_the_screen(opened: Open, size: tuple[int, int], scheme: str) -> None:
    shown = opened(changed(), size=size, scheme=scheme)
    ground = shown.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert ground == ("rgb(19, 21, 25)" if scheme == "dark" else "rgb(250, 249, 246)")
    for view in ("#matrix", "#compare", "#trends", "#about"):
        shown.go(view)
        assert shown.too_wide == 0, view
    shown.open_cell(LEAK.cell.id)
    assert shown.too_wide == 0


def test_the_theme_can_be_chosen_and_plots_follow(opened: Open) -> None:
    shown = opened(faults())
    shown.open_cell(LEAK.cell.id)
    assert shown.drawn("threads")["parallel"] == "#5a616c"
    shown.one("#theme").click()
    shown.one("#theme").click()
    assert shown.one("#theme").inner_text() == "Theme: dark"
    assert shown.drawn("threads")["parallel"] == "#a3a9b4"


def test_a_plot_is_zoomed_and_read_by_mouse_and_keyboard(opened: Open) -> None:
    shown = opened(faults())
    shown.open_cell(LEAK.cell.id)
    figure = shown.one("figure:has(#plot-threads)")
    area, readout = shown.one("#plot-threads"), figure.locator(".readout")
    scale = "(({min, max}) => [min, max])(document.getElementById('plot-threads').chart.scales.x)"
    whole = shown.page.evaluate(scale)
    area.scroll_into_view_if_needed()
    area.focus()
    shown.page.keyboard.press("ArrowRight")
    assert LEAK.observed is not None
    first = LEAK.observed.samples[0]
    assert f"requests served: {first.requests:,}" in readout.inner_text()
    threads = [one.threads for one in first.processes if one.role == "worker"]
    assert figure.locator(".value").first.inner_text().strip() == str(threads[0])
    shown.page.keyboard.press("+")
    assert shown.page.evaluate(scale)[1] < whole[1]
    shown.page.keyboard.press("0")
    assert shown.page.evaluate(scale) == whole
    for name, narrower in (("Zoom in", True), ("Show all", False), ("Zoom in", True)):
        figure.get_by_label(name).click()
        assert (shown.page.evaluate(scale)[1] < whole[1]) is narrower
    assert shown.one(".cellhead h1").inner_text() == LEAK.cell.id, "arrows stay in the plot"
    line = figure.locator(".line").last
    assert line.get_attribute("aria-pressed") == "false", "a process that does not serve"
    line.click()
    last = "document.getElementById('plot-threads').chart.series.at(-1).show"
    assert shown.page.evaluate(last) is True


def test_everything_that_can_be_operated_has_a_name(opened: Open) -> None:
    shown = opened(many()[1])
    for view in ("#matrix", f"#cell?cell={many()[0].cells[0].cell.id}", "#about"):
        shown.go(view)
        nameless = shown.page.evaluate(
            """() => [...document.querySelectorAll('button, a, input, select, summary, [role=img]')]
                .filter(one => !(one.textContent.trim() || one.getAttribute('aria-label')
                    || (one.labels && one.labels.length)))
                .map(one => one.outerHTML)"""
        )
        assert nameless == []
        assert len(shown.all("h1")) == 1


def test_on_paper_there_are_no_controls_and_nothing_is_cut_off(opened: Open) -> None:
    shown = opened(faults(), scheme="dark")
    shown.open_cell(CRASH.cell.id)
    shown.page.evaluate("dispatchEvent(new Event('beforeprint'))")
    shown.page.emulate_media(media="print")
    ink = shown.page.evaluate("getComputedStyle(document.querySelector('h1')).color")
    assert ink == "rgb(28, 31, 36)", "as the paper is white"
    assert shown.page.locator("#head:visible, .contents:visible, .numbers:visible").count() == 0
    cut = "x => x.scrollHeight > x.clientHeight + 2"
    every = "[...document.querySelectorAll('.evidence')]"
    assert shown.page.evaluate(f"{every}.filter({cut}).length") == 0
    assert len(shown.page.pdf()) > 10_000


def test_runs_without_cells_or_with_cells_that_never_came(opened: Open) -> None:
    empty = opened(page(run_record(), rules_of))
    assert "No cell of this run has ended." in empty.one("main").inner_text()
    cut = run_record(LEAK, planned=(LEAK.cell.id, "py3.13t"), complete=False, finished=None)
    shown = opened(page(cut, rules_of))
    assert "1 planned cell never ran" in shown.one("main").inner_text()
    assert "The run is not complete." in shown.one("main").inner_text()
    shown.go("#cell?cell=py3.13t")
    assert shown.all("h1") == ["No such cell"]
    error = msgspec.structs.replace(
        LEAK,
        verdict=Verdict.ERROR,
        reason="it did not start",
        findings=(),
        checks=(),
        observed=None,
    )
    failed = opened(page(run_record(error), rules_of), f"#cell?cell={LEAK.cell.id}")
    assert "it did not start" in failed.one(".cellhead").inner_text()
    assert "Nothing was measured in this cell." in failed.one("main").inner_text()


def test_five_hundred_cells_are_a_small_file() -> None:
    assert len(page(large(500), rules_of)) < 20_000_000
