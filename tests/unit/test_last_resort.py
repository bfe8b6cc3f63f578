"""How a command ends that nobody wants to end so: a defect, a reader that goes, Ctrl-C."""

from __future__ import annotations

import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.unit.factories import record, run_record
from tests.unit.test_cli import Runner, wsgiproof
from tests.unit.test_merge import saved
from wsgiproof.cli.defect import defect
from wsgiproof.errors import CannotRun, ExitCode, interrupted
from wsgiproof.report.text import for_logs

__all__ = ["wsgiproof"]

MAIN = "from wsgiproof.__main__ import main\nmain()\n"


def ended(
    program: str, *arguments: str | Path, tmp: Path, stdin: int | None = None
) -> subprocess.CompletedProcess[str]:
    """The command with something planted, which ``program`` does before it runs it."""
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        capture_output=True, text=True, timeout=300, env={**os.environ, "TMPDIR": str(tmp)},
        stdin=stdin,
    )  # fmt: skip


def reported(line: str) -> Path:
    """The file that a user is to report."""
    found = re.search(r"please report it, with (\S+)\n$", line)
    assert found, line
    return Path(found[1])


# Defects

PLANTED = (
    "import wsgiproof.analysis.rejudge as it\n"
    "def broken(where, rules_of, pattern): {}\nit.rejudge = broken\n" + MAIN
)


def test_a_defect_has_an_exit_code_of_its_own_and_one_line(tmp_path: Path) -> None:
    run = ended(
        PLANTED.format("1 / 0"), "show", "--rejudge", "mongodb://ann:hunter2@x/", tmp=tmp_path
    )
    assert (run.returncode, run.stdout) == (70, "")
    (line,) = run.stderr.splitlines(keepends=True)
    assert line.startswith("wsgiproof: a defect of wsgiproof: ZeroDivisionError: division by zero;")
    file = reported(line)
    assert file.parent == tmp_path
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    text = file.read_text()
    assert "Traceback" in text
    assert "1 / 0" in text or "broken" in text
    assert "wsgiproof show --rejudge URI" in text
    assert "hunter2" not in text


@pytest.mark.parametrize(
    ("raised", "code", "says"),
    [
        ("raise MemoryError", 3, "no memory left"),
        ("raise RecursionError('deep')", 70, "a defect of wsgiproof: RecursionError: deep"),
        (
            'raise RuntimeError("can\'t start new thread")',
            3,
            "no more processes or threads can be started",
        ),
        ("raise EOFError", 70, "a defect of wsgiproof"),
        ("raise KeyboardInterrupt", 130, "interrupted"),
        ("raise SystemExit(3)", 3, ""),
        ("raise AssertionError('\\x1b[2J' + 10000 * 'x')", 70, "AssertionError: ?[2Jxxx"),
        ("raise GeneratorExit", 70, "a defect of wsgiproof: GeneratorExit"),
    ],
)
def test_whatever_is_raised_becomes_an_exit_code(
    raised: str,
    code: int,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    wsgiproof: Runner,
) -> None:
    def broken(where: Path, rules_of: object, pattern: str | None) -> None:
        exec(raised)

    monkeypatch.setattr("wsgiproof.analysis.rejudge.rejudge", broken)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    done = wsgiproof("show", "--rejudge", "x")
    assert done.code == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert len(done.stderr) < 1000


def test_what_comes_up_on_the_way_out_of_ctrl_c_is_ctrl_c(tmp_path: Path) -> None:
    body = "\n  try: raise KeyboardInterrupt\n  finally: raise OSError(5, 'cleaning up failed')"
    run = ended(PLANTED.format(body), "show", "--rejudge", "x", tmp=tmp_path)
    assert run.returncode == 130, run.stderr
    assert not interrupted(ValueError())


RUN = """
import wsgiproof.run.session as it
from pathlib import Path
def broken(config, command, progress, **rest):
    progress.begin([], Path(config.output), 1)
    {}
it.run = broken
"""


def test_the_traceback_of_a_run_is_left_with_its_results(tmp_path: Path) -> None:
    output = tmp_path / "out"
    output.mkdir()
    run = ended(RUN.format("1 / 0") + MAIN, "run", "--output", output, tmp=tmp_path)
    assert run.returncode == 70, run.stderr
    file = reported(run.stderr)
    assert file.parent == output
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert f"Results so far: {output}" in run.stdout


def test_a_defect_on_a_full_disk_names_the_place_instead(tmp_path: Path) -> None:
    limit = "import resource\nresource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
    ignore = "import signal\nsignal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
    run = ended(limit + ignore + PLANTED.format("1 / 0"), "show", "--rejudge", "x", tmp=tmp_path)
    assert run.returncode == 70
    assert re.search(r"at <string>:\d+ \(broken\), its traceback could not be written", run.stderr)


def test_an_error_that_is_none_of_ours_is_told_by_its_own_words() -> None:
    try:
        raise ValueError("mongodb+srv://ann:hunter2@x/")
    except ValueError as error:
        says, code = defect(error, None)
    assert code is ExitCode.DEFECT
    assert "hunter2" not in says
    reported(f"{says}\n").unlink()


# Readers that go, and streams that can't be written


def piped(
    program: str, arguments: Sequence[str | Path], tmp: Path, *, stderr: bool = False
) -> tuple[int, str]:
    """The command with nobody at the other end of its output: exit code, and the other stream."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        run = subprocess.run(
            [sys.executable, "-c", program, *map(str, arguments)],
            stdout=subprocess.PIPE if stderr else writer,
            stderr=writer if stderr else subprocess.PIPE,
            text=True, timeout=300, env={**os.environ, "TMPDIR": str(tmp)},
        )  # fmt: skip
    finally:
        os.close(writer)
    return run.returncode, run.stdout if stderr else run.stderr


@pytest.mark.parametrize("arguments", [("show", "run"), ("show", "run", "--json"), ("--help",)])
def test_a_reader_that_has_gone_is_no_finding_and_no_defect(
    arguments: Sequence[str], tmp_path: Path
) -> None:
    run = saved(tmp_path / "run", run_record(record()))
    words = [run if word == "run" else word for word in arguments]
    assert piped(MAIN, words, tmp_path) == (141, "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_a_reader_of_errors_that_has_gone(tmp_path: Path) -> None:
    assert piped(MAIN, ["show", "--rejudge", tmp_path / "nowhere"], tmp_path, stderr=True) == (
        141,
        "",
    )


def test_a_reader_that_goes_is_not_taken_for_a_failure_of_a_cell(tmp_path: Path) -> None:
    """What a cell's steps print is printed while its own errors are caught."""
    body = """
    try:
        for number in range(10_000):
            progress.console.print('x' * 1000)
    except Exception as error:
        Path(config.output, 'caught').write_text(repr(error))
    """
    (tmp_path / "out").mkdir()
    program = RUN.format(body) + MAIN
    assert piped(program, ["run", "--output", tmp_path / "out"], tmp_path) == (141, "")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_full_device_is_an_error_with_its_name(tmp_path: Path) -> None:
    run = saved(tmp_path / "run", run_record(record()))
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-c", MAIN, "show", run], stdout=full, stderr=subprocess.PIPE,
            text=True, timeout=300,
        )  # fmt: skip
    assert done.returncode == 3
    assert done.stderr == "wsgiproof: No space left on device: make room\n"


@pytest.mark.parametrize("closed", ["<&- >&-", ">&- 2>&-"])
def test_streams_that_are_closed_from_the_start(closed: str, tmp_path: Path) -> None:
    run = saved(tmp_path / "run", run_record(record()))
    shell = f'exec "$0" -c "$1" show "$2" {closed}'
    done = subprocess.run(
        ["/bin/sh", "-c", shell, sys.executable, MAIN, run], capture_output=True, timeout=300
    )
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_locale_without_a_character_is_no_defect(tmp_path: Path) -> None:
    seen = record(reason="caf\u00e9 \u2713")
    run = saved(tmp_path / "run", run_record(seen))
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    for words in (["show"], ["show", "--json"]):
        done = subprocess.run(
            [sys.executable, "-c", MAIN, *words, run], capture_output=True, timeout=300,
            env=environment, text=True,
        )  # fmt: skip
        assert (done.returncode, done.stderr) == (0, "")
        assert "caf\\xe9" in done.stdout or "caf\\u00e9" in done.stdout


# Ctrl-C


def test_ctrl_c_while_a_report_is_written(tmp_path: Path) -> None:
    """The signal comes as the draft of a file is there; neither it nor a part of a file stays."""
    run = saved(tmp_path / "run", run_record(record()))
    program = (
        "import os, signal, wsgiproof.files as it\n"
        "sync = os.fsync\n"
        "def fsync(descriptor):\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    sync(descriptor)\n"
        "os.fsync = fsync\n"
    )
    done = ended(program + MAIN, "show", run, "--junit", tmp_path / "junit.xml", tmp=tmp_path)
    assert done.returncode == 130, done.stderr
    assert done.stderr.strip() == (
        "wsgiproof: interrupted; everything that was started has been stopped"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_ctrl_c_while_the_command_line_is_loaded(tmp_path: Path) -> None:
    program = (
        "import builtins, os, signal\n"
        "real = builtins.__import__\n"
        "def load(name, *rest):\n"
        "    if name == 'click': os.kill(os.getpid(), signal.SIGINT)\n"
        "    return real(name, *rest)\n"
        "builtins.__import__ = load\n"
    )
    done = ended(program + MAIN, "--help", tmp=tmp_path)
    assert (done.returncode, done.stderr) == (130, "wsgiproof: interrupted\n")


def test_sigterm_is_ctrl_c_and_a_second_signal_changes_nothing(tmp_path: Path) -> None:
    body = "\n  import os, signal\n  os.kill(os.getpid(), signal.SIGTERM)\n  os.read(0, 1)"
    later = (
        "import click\n"
        "echo = click.echo\n"
        "def twice(*rest, **options):\n"
        "    import os, signal\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "    echo(*rest, **options)\n"
        "click.echo = twice\n"
    )
    done = ended(
        later + PLANTED.format(body),
        "show",
        "--rejudge",
        "x",
        tmp=tmp_path,
        stdin=subprocess.DEVNULL,
    )
    assert done.returncode == 130
    assert "Traceback" not in done.stderr
    assert done.returncode != -signal.SIGINT


@pytest.mark.parametrize(("body", "code"), [("raise KeyboardInterrupt", 130), ("1 / 0", 70)])
def test_a_signal_while_python_shuts_down_changes_nothing(
    body: str, code: int, tmp_path: Path
) -> None:
    late = (
        "import builtins, os, signal\n"
        "class Late:\n"
        "    def __del__(self, kill=os.kill, pid=os.getpid()):\n"
        "        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP): kill(pid, number)\n"
        "builtins.late = Late()  # lives until Python clears its own modules\n"
    )
    done = ended(late + PLANTED.format(body), "show", "--rejudge", "x", tmp=tmp_path)
    assert done.returncode == code, done.stderr


# What CI systems look for in a log


@pytest.mark.parametrize(
    ("text", "becomes"),
    [
        ("::error::x", ": :error::x"),
        ("  ::set-output name=a::b", "  : :set-output name=a::b"),
        ("a\n\t::add-mask::x\n", "a\n\t: :add-mask::x\n"),
        ("a\r::error::x", "a\r: :error::x"),
        ("\u00a0::error::x", "\u00a0: :error::x"),
        ("std::vector::push", "std::vector::push"),
        ("reason ::1 is loopback", "reason ::1 is loopback"),
        ("x ##vso[task.complete result=Failed;]", "x # #vso[task.complete result=Failed;]"),
        ("###[error]x", "## #[error]x"),
        ("##[set-env name=PATH]/x", "# #[set-env name=PATH]/x"),
        ("##teamcity[message text='x']", "# #teamcity[message text='x']"),
        ("## wsgiproof: 2 cells [all]", "## wsgiproof: 2 cells [all]"),
    ],
)
def test_no_command_of_a_ci_system_is_left(text: str, becomes: str) -> None:
    assert for_logs(text) == becomes
    assert for_logs(becomes) == becomes


def test_what_goes_on_with_a_line_does_not_begin_one() -> None:
    assert for_logs("::error::x\n::error::y", at_start=False) == "::error::x\n: :error::y"


def test_one_line_keeps_no_character_that_acts() -> None:
    said = str(CannotRun("a\x1b[2J\u202eb\u200b\ud800\x9b\u2028c\nd"))
    assert said == "a?[2J?b???\x20c d"
