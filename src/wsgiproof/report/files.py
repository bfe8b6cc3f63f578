"""Reports in files: those that the user asks for, and the job summary of GitHub Actions."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from wsgiproof.errors import CannotRun
from wsgiproof.files import write_output
from wsgiproof.records.audit import Audit
from wsgiproof.records.run import RunRecord
from wsgiproof.report.audited_junit import audit_to_junit
from wsgiproof.report.audited_markdown import audit_to_markdown
from wsgiproof.report.junit import to_junit
from wsgiproof.report.summary import to_markdown
from wsgiproof.report.text import for_logs

_STEP_SUMMARY = "GITHUB_STEP_SUMMARY"
"""Names the file whose Markdown GitHub Actions shows with a job; steps append to it."""


def write_reports(
    record: RunRecord, junit: Path | None, summary: Path | None, note: Callable[[str], None]
) -> None:
    """Write the requested files, and append to the summary of a GitHub job.

    ``note`` is called with a line for each new directory. Raises :class:`CannotRun` if a file can't
    be written.
    """
    write_files(record, junit, summary, note)
    _append_summary(lambda: to_markdown(record))


def write_audit_reports(
    audit: Audit, junit: Path | None, markdown: Path | None, note: Callable[[str], None]
) -> None:
    """Do the same for an audit."""
    if junit is not None:
        write_whole(audit_to_junit(audit), junit, note, log=True)
    if markdown is not None:
        write_whole(audit_to_markdown(audit).encode(), markdown, note, log=True)
    _append_summary(lambda: audit_to_markdown(audit))


def write_files(
    record: RunRecord, junit: Path | None, summary: Path | None, note: Callable[[str], None]
) -> None:
    """Write the requested files, each completely or not at all.

    ``note`` is called with a line for each new directory. Raises :class:`CannotRun` if a file can't
    be written.
    """
    if junit is not None:
        write_whole(to_junit(record), junit, note, log=True)
    if summary is not None:
        write_whole(to_markdown(record).encode(), summary, note, log=True)


def write_whole(
    content: bytes, path: Path, note: Callable[[str], None], *, log: bool = False
) -> None:
    """Write a file completely or not at all, or write to a pipe.

    A missing directory is made, since the results of a long run should not be lost, and ``note`` is
    called with a line that says so: its name may be a typing error. ``log`` says that a pipe, such
    as /dev/stdout, may lead to the log of a CI system. Raises :class:`CannotRun` if the file can't
    be written.
    """
    try:
        if not path.parent.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            note(f"the directory {path.parent} did not exist, and was made for {path.name}")
        if path.exists() and not path.is_file():
            # A file must not replace a pipe, or /dev/stdout.
            path.write_bytes(for_logs(content.decode()).encode() if log else content)
            return
        there = path.is_file() and not _planted(path)
        mode = stat.S_IMODE(path.stat().st_mode) if there else None
    except OSError as error:
        raise CannotRun(f"{path} can't be written: {error.strerror}") from error
    write_output(content, path if _planted(path) else path.resolve(), mode)


def _planted(path: Path) -> bool:
    """Whether it is a link that another user made: it is replaced, not followed."""
    return path.is_symlink() and path.lstat().st_uid not in (0, os.geteuid())


def _append_summary(text: Callable[[], str]) -> None:
    step = os.environ.get(_STEP_SUMMARY)
    if not step:
        return
    path = Path(step)
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{text()}\n")
    except OSError as error:
        raise CannotRun(f"{path} ({_STEP_SUMMARY}) can't be written: {error.strerror}") from error
