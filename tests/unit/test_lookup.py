"""``wsgiproof explain``: identifiers, pasted texts, and whole error logs of any Apache."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.unit.test_corpus import NAMES, recorded
from tests.unit.test_explain import EXAMPLES, HEALTHY
from wsgiproof.judge.explain.catalog import Entry, Place, entries
from wsgiproof.judge.explain.lookup import by_id, by_text, explain_log, ids
from wsgiproof.judge.verdict import judge

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
    "ModuleNotFoundError: No module named 'shop'",
    "ConnectionResetError: [Errno 104] Connection reset by peer",
    "a line of an application that says nothing",
)


def command(*arguments: str, text: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "wsgiproof", "explain", *arguments],
        input=text,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("entry", entries(), ids=lambda entry: entry.id)
def test_an_identifier_is_found(entry: Entry) -> None:
    assert by_id(entry.id) == entry
    assert entry.id in ids()


def test_a_code_is_found_in_either_case() -> None:
    found = by_id("wsgi0150")
    assert found is not None
    assert found == by_id("WSGI0150")
    assert by_id("WSGI9999") is None


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
        assert by_text(prefix + example) == entry


@pytest.mark.parametrize(
    ("entry", "example"),
    [one for one in EXAMPLES if "\n" in one[1] and not one[0].phases],
    ids=lambda value: getattr(value, "id", ""),
)
def test_a_pasted_stack_is_explained(entry: Entry, example: str) -> None:
    assert by_text(example) == entry


@pytest.mark.parametrize("text", NOT_OURS)
def test_what_is_not_known_is_not_explained(text: str) -> None:
    assert by_text(text) is None
    assert by_text(APACHE_24 + text) is None


def test_a_healthy_log_has_neither_failures_nor_unknown_errors() -> None:
    log = explain_log(
        f"[2026-11-25 20:00:00.123456] {line.replace('] ', '] [pid 4711] ', 1)}" for line in HEALTHY
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
            for finding in judge(record.cell, record.observed).findings
            for one in finding.explained
            if one.where.startswith("error log")
        }
        bound = {entry.id for entry in entries() if entry.phases}
        log = explain_log(line.text for line in record.observed.log)
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
        ]
    )
    assert [(one.entry.id, one.lines, one.first) for one in log.known] == [("pyo3", 1, 1)]
    assert [(one.text, one.lines) for one in log.unknown] == [
        ("AH99999: other 12", 2),
        ("AH99998: first 1", 1),
    ]
    assert (log.lines, log.unknown_lines, log.application_lines) == (8, 3, 3)


def test_the_command_explains_a_log_and_says_how_much_it_knows() -> None:
    log = f"{APACHE_24}ImportError: PyO3 modules do not yet support subinterpreters\x1b[31m\n"
    shown = command(text=log)
    assert shown.returncode == 0
    assert shown.stdout.startswith("pyo3  failure, 1 line, first at line 1\n")
    assert "1 line: 1 known (1 entry), 0 unknown errors" in shown.stdout
    assert "\x1b" not in shown.stdout
    assert json.loads(command("--json", text=log).stdout)["known"][0]["entry"]["id"] == "pyo3"


def test_the_command_says_when_it_knows_nothing() -> None:
    assert command("pyo3").returncode == 0
    shown = command("nothing", "of", "the", "kind")
    assert shown.returncode == 3
    assert shown.stderr == "wsgiproof does not know this identifier or text.\n"


def test_the_command_prints_the_finding_that_an_entry_names_as_its_source() -> None:
    (source,) = [entry.source for entry in entries() if entry.id == "heap-corrupt"]
    shown = command(*source.removeprefix("wsgiproof explain ").split())
    assert shown.returncode == 0
    assert shown.stdout.startswith("12. PyMongo 4.20.0 in interpreters with their own GIL")
    assert json.loads(command("--json", "finding-12").stdout) == {
        "id": "finding-12",
        "text": shown.stdout.rstrip("\n"),
    }
