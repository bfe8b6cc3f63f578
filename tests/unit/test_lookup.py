"""``wsgiproof explain``: identifiers, pasted texts, and whole error logs of any Apache."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.unit.factories import ALL_CHECKS, RULES
from tests.unit.test_cli import Ended, Runner
from tests.unit.test_corpus import NAMES, recorded
from tests.unit.test_explain import EXAMPLES, HEALTHY
from wsgiproof.judge.explain.catalog import Entry, Place
from wsgiproof.judge.explain.findings import finding
from wsgiproof.judge.explain.lookup import (
    FindingText,
    Topic,
    by_id,
    by_name,
    by_text,
    explain_log,
    ids,
)
from wsgiproof.judge.verdict import judge
from wsgiproof.report.console import SafeConsole
from wsgiproof.report.lookup import show_finding, show_list
from wsgiproof.subjects.registry import known_controls

CONTROLS = known_controls()

CATALOG = RULES.catalog
APACHE_24 = (
    "[Wed Oct 11 14:32:52.123456 2023] [wsgi:error] [pid 35708:tid 4328636416] "
    "[client 192.0.2.9:1234] "
)
APACHE_22 = "[Wed Oct 11 14:32:52 2000] [error] [client 192.0.2.9] "
JOURNAL = "Oct 11 14:32:52 web1 apache2[35708]: "
NOT_OURS = (
    "[ssl:error] AH02032: Hostname a.example provided via SNI and b.example provided via HTTP",
    "AH01630: client denied by server configuration: /srv/app",
    "File does not exist: /var/www/favicon.ico",
    "Traceback (most recent call last):",
    "KeyError: 'user'",
    "ImportError: cannot import name 'views' from 'shop'",
    "ConnectionResetError: [Errno 104] Connection reset by peer",
    "a line of an application that says nothing",
)


Explain = Callable[..., Ended]


@pytest.fixture
def command(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Explain:
    """Runs ``wsgiproof explain`` with this text on its standard input."""
    runner = Runner(capfd, monkeypatch)

    def run(*arguments: str, text: str = "") -> Ended:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(text.encode())))
        return runner("explain", *arguments)

    return run


@pytest.mark.parametrize("entry", CATALOG.entries, ids=lambda entry: entry.id)
def test_an_identifier_is_found(entry: Entry) -> None:
    assert by_id(entry.id, CATALOG) == entry
    assert entry.id in ids(RULES)


def test_a_code_is_found_in_either_case() -> None:
    found = by_id("wsgi0150", CATALOG)
    assert found is not None
    assert found == by_id("WSGI0150", CATALOG)
    assert by_id("WSGI9999", CATALOG) is None


@pytest.mark.parametrize("prefix", ["", APACHE_24, APACHE_22, JOURNAL + APACHE_24])
@pytest.mark.parametrize(
    ("entry", "example"),
    [one for one in EXAMPLES if "\n" not in one[1] and not one[0].phases],
    ids=lambda value: getattr(value, "id", ""),
)
def test_a_pasted_line_is_explained_behind_any_prefix(
    entry: Entry, example: str, prefix: str
) -> None:
    if Place.LOG in entry.where or not prefix:
        assert by_text(prefix + example, CATALOG) == entry


@pytest.mark.parametrize(
    ("entry", "example"),
    [one for one in EXAMPLES if "\n" in one[1] and not one[0].phases],
    ids=lambda value: getattr(value, "id", ""),
)
def test_a_pasted_stack_is_explained(entry: Entry, example: str) -> None:
    assert by_text(example, CATALOG) == entry


@pytest.mark.parametrize("text", NOT_OURS)
def test_what_is_not_known_is_not_explained(text: str) -> None:
    assert by_text(text, CATALOG) is None
    assert by_text(APACHE_24 + text, CATALOG) is None


def test_a_healthy_log_has_neither_failures_nor_unknown_errors() -> None:
    log = explain_log(
        (
            f"[2026-11-25 20:00:00.123456] {line.replace('] ', '] [pid 4711] ', 1)}"
            for line in HEALTHY
        ),
        CATALOG,
    )
    assert [one.entry.id for one in log.known if one.entry.fails] == []
    assert log.unknown == ()
    assert log.lines == len(HEALTHY)


def test_the_logs_of_recorded_cells_are_explained_as_their_findings_are() -> None:
    """But for entries that hold in a phase only, which a log does not name."""
    seen = 0
    for name in NAMES:
        record = recorded(name)
        assert record.observed is not None
        explained = {
            one.id
            for finding in judge(record.cell, record.observed, RULES).findings
            for one in finding.explained
            if one.where.startswith("error log")
        }
        bound = {entry.id for entry in CATALOG.entries if entry.phases}
        log = explain_log((line.text for line in record.observed.log), CATALOG)
        assert explained - bound <= {one.entry.id for one in log.known}
        seen += len(explained - bound)
    assert seen >= 8


def test_a_log_is_sorted_into_what_is_known_and_what_is_not() -> None:
    log = explain_log(
        [
            f"{APACHE_24}ImportError: PyO3 modules do not yet support subinterpreters, see x",
            f"{APACHE_24}Traceback (most recent call last):",
            f'{APACHE_24}  File "/srv/app.wsgi", line 3, in <module>',
            f"{APACHE_24}KeyError: 'user'",
            "[Wed Oct 11 14:32:52 2023] [core:error] [pid 1] AH99998: first 1",
            "[Wed Oct 11 14:32:52 2023] [ssl:error] [pid 1] AH99999: other 12",
            "[Wed Oct 11 14:32:52 2023] [ssl:error] [pid 1] AH99999: other 13",
            "[Wed Oct 11 14:32:52 2023] [core:notice] [pid 1] AH00094: Command line",
        ],
        CATALOG,
    )
    assert [(one.entry.id, one.lines, one.first) for one in log.known] == [("pyo3", 1, 1)]
    assert [(one.text, one.lines) for one in log.unknown] == [
        ("AH99999: other 12", 2),
        ("AH99998: first 1", 1),
    ]
    assert (log.lines, log.unknown_lines, log.application_lines) == (8, 3, 3)


def test_the_command_explains_a_log_and_says_how_much_it_knows(command: Explain) -> None:
    log = f"{APACHE_24}ImportError: PyO3 modules do not yet support subinterpreters\x1b[31m\n"
    shown = command(text=log)
    assert shown.code == 0
    assert shown.stdout.startswith("pyo3  failure, 1 line, first at line 1\n")
    assert "1 line: 1 known (1 entry), 0 unknown errors" in shown.stdout
    assert "\x1b" not in shown.stdout
    assert json.loads(command("--json", text=log).stdout)["known"][0]["entry"]["id"] == "pyo3"


def test_the_command_says_when_it_knows_nothing(command: Explain) -> None:
    assert command("pyo3").code == 0
    shown = command("nothing", "of", "the", "kind")
    assert shown.code == 3
    assert shown.stderr == "wsgiproof does not know this identifier or text.\n"


def test_the_command_prints_the_finding_that_an_entry_names_as_its_source(command: Explain) -> None:
    (source,) = [entry.source for entry in CATALOG.entries if entry.id == "heap-corrupt"]
    shown = command(*source.removeprefix("wsgiproof explain ").split())
    assert shown.code == 0
    assert shown.stdout.startswith("12. PyMongo 4.20.0 in interpreters with their own GIL")
    assert json.loads(command("--json", "finding-12").stdout) == {
        "id": "finding-12",
        "text": finding("finding-12"),
    }


def test_several_identifiers_are_explained_in_turn(command: Explain) -> None:
    shown = command("pyo3", "finding-17", "WSGI0150")
    assert shown.code == 0
    heads = [line for line in shown.stdout.splitlines() if line and line == line.lstrip()]
    assert heads[0] == "pyo3"
    assert heads[1].startswith("17. mod_wsgi before 6.1")
    assert heads[-1] == "WSGI0150"
    known = json.loads(command("--json", "pyo3", "finding-17").stdout)
    assert [one["id"] for one in known] == ["pyo3", "finding-17"]


def test_words_that_are_no_identifiers_are_one_pasted_line(command: Explain) -> None:
    line = "ImportError: PyO3 modules do not yet support subinterpreters, see memory"
    shown = command(*line.split())
    assert (shown.code, shown.stdout.splitlines()[0]) == (0, "pyo3")


def test_an_unknown_identifier_among_others_is_named(command: Explain) -> None:
    shown = command("pyo3", "findin-1")
    assert (shown.code, shown.stdout) == (3, "")
    assert shown.stderr == "wsgiproof does not know 'findin-1'; did you mean 'finding-1'?\n"


def test_the_name_of_a_log_is_answered_with_how_to_read_it(
    command: Explain, tmp_path: Path
) -> None:
    log = tmp_path / "error log"
    log.write_text("")
    shown = command(str(log))
    assert (shown.code, shown.stdout) == (3, "")
    assert shown.stderr == f"{log} is a file: wsgiproof explain < '{log}'\n"


@pytest.mark.parametrize("name", ["missing.log", "/missing/error", "./missing"])
def test_the_name_of_a_missing_file_is_called_one(command: Explain, name: str) -> None:
    shown = command(name)
    assert (shown.code, shown.stdout) == (3, "")
    assert shown.stderr.startswith(f"there is no file {name}, and wsgiproof does not know")


def test_a_pasted_word_that_is_too_long_for_a_file_is_only_unknown(command: Explain) -> None:
    assert command("x" * 5000).stderr == "wsgiproof does not know this identifier or text.\n"


@pytest.mark.parametrize("check", ALL_CHECKS)
def test_each_check_is_explained_by_its_docstring(check: str) -> None:
    found = by_name(check.upper(), RULES)
    assert isinstance(found, Topic)
    assert (found.id, found.kind, found.see) == (check, "check", "wsgiproof explain --list")
    assert found.meaning.endswith(".")
    assert "`" not in found.meaning
    assert check in ids(RULES)


def test_the_command_explains_checks_and_controls(command: Explain) -> None:
    shown = command("connections", "leak-connection", "reopen-connection")
    assert shown.code == 0
    assert shown.stdout.startswith(
        "connections  check\n"
        "  meaning: Connections to the deployment do not grow, counted by it and in /proc.\n"
        "  see: wsgiproof explain --list\n"
    )
    assert f"leak-connection  planted fault\n  meaning: {CONTROLS['leak-connection'].about}\n" in (
        shown.stdout
    )
    assert "\nreopen-connection  negative control\n" in shown.stdout


@pytest.mark.parametrize("name", ["PYO3", "Finding-1", "wsgi0150", "CRASH"])
def test_case_does_not_matter(name: str) -> None:
    found = by_name(name, RULES)
    assert found is not None
    assert found.id.lower() == name.lower()


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("PYO4", "pyo3"),
        ("wsgi01500", "WSGI0150"),
        ("connexions", "connections"),
        ("leak-conection", "leak-connection"),
    ],
)
def test_a_near_miss_is_answered_with_what_was_meant(
    command: Explain, name: str, meant: str
) -> None:
    shown = command(name)
    assert shown.code == 3
    assert shown.stderr.endswith(f"text; did you mean '{meant}'?\n")


def test_an_empty_log_is_said_to_be_empty(command: Explain) -> None:
    shown = command()
    assert (shown.code, shown.stderr) == (0, "")
    assert shown.stdout == "Standard input is empty: there was nothing to read.\n"
    assert json.loads(command("--json").stdout)["lines"] == 0


def test_no_line_is_folded_or_padded_where_there_is_no_terminal(command: Explain) -> None:
    entry = max(CATALOG.entries, key=lambda one: len(one.meaning))
    assert len(entry.meaning) > 200
    shown = command(entry.id)
    assert f"  meaning: {entry.meaning}\n" in shown.stdout
    log = command(text=f"{APACHE_24}{entry.examples[0]}\n")
    for line in (shown.stdout + log.stdout).splitlines():
        assert line == line.rstrip()


def printed(text: str, *, terminal: bool) -> str:
    file = io.StringIO()
    console = SafeConsole(
        file=file, force_terminal=terminal, width=40, color_system=None, highlight=False
    )
    show_finding(console, FindingText(id="finding-1", text=text))
    return file.getvalue()


MARKDOWN = """1. A `title`

```console
$ echo **x** `y`
```

**Whose bug:** that of [one `module`](#anchor), as
[the issue](https://example.org/1) says; `a[0](b)` and `**` stay.

### Cause

1. One item that
   goes on, and that is longer than the width of a terminal
2. Two

| a | b |
|---|---|
| `1` | #2 |
"""


def test_a_finding_is_printed_as_plain_text_with_its_first_paragraph_first() -> None:
    assert printed(MARKDOWN, terminal=False) == (
        "1. A title\n"
        "\n"
        "Whose bug: that of one module, as the issue (https://example.org/1) says; "
        "a[0](b) and ** stay.\n"
        "\n"
        "```console\n$ echo **x** `y`\n```\n"
        "\n"
        "Cause\n"
        "\n"
        "1. One item that goes on, and that is longer than the width of a terminal\n"
        "2. Two\n"
        "\n"
        "| a | b |\n|---|---|\n| 1 | #2 |\n"
    )


def test_a_terminal_folds_the_items_of_a_finding_below_their_text() -> None:
    assert (
        "1. One item that goes on, and that is\n   longer than the width of a terminal\n2. Two\n"
    ) in printed(MARKDOWN, terminal=True)


def test_the_list_has_one_line_for_each_identifier(command: Explain) -> None:
    shown = command("--list")
    names = [line.split()[0] for line in shown.stdout.splitlines()]
    assert sorted(names) == sorted([*ids(RULES), *CONTROLS])
    assert "finding-17  mod_wsgi before 6.1: threads that use" in shown.stdout
    listed = json.loads(command("--list", "--json").stdout)
    assert [one["id"] for one in listed] == names
    assert all(one["meaning"] for one in listed)


def test_a_line_of_the_list_is_cut_to_the_width_of_a_terminal() -> None:
    file = io.StringIO()
    console = SafeConsole(file=file, force_terminal=True, width=60, color_system=None)
    show_list(console, CATALOG.entries)
    lines = file.getvalue().splitlines()
    assert len(lines) == len(CATALOG.entries)
    assert max(map(len, lines)) == 60
