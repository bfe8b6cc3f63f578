"""The command line: what it says, and its exit codes."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from wsgiproof.account import server_account
from wsgiproof.build.python import choose
from wsgiproof.cli import cli, main


class Ended:
    """A command that came to its end."""

    def __init__(self, code: int, stdout: str, stderr: str) -> None:
        self.code = code
        self.stdout = stdout
        self.stderr = stderr


class Command:
    """A command that goes on while other tests run."""

    def __init__(self, *arguments: str) -> None:
        self._started = time.monotonic()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "wsgiproof", *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def end(self) -> tuple[Ended, float]:
        stdout, stderr = self._process.communicate(timeout=60)
        return Ended(self._process.returncode, stdout, stderr), time.monotonic() - self._started

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


@pytest.fixture(scope="module")
def python() -> str:
    """One that mod_wsgi can embed, so that each command need not look for it."""
    return choose(None, server_account()).path


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cli") / "results"


@pytest.fixture(scope="module", autouse=True)
def dead_uri(python: str, output: Path) -> Iterator[Command]:
    """Started first, since it takes 5 seconds of waiting."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # bound and not listened on: refuses, and stays ours
        uri = f"mongodb://ann:hunter2@127.0.0.1:{closed.getsockname()[1]}/"
        where = ["--output", str(output)]
        command = Command("run", "--python", python, "--mongodb", uri, *where)
        yield command
        command.kill()  # nobody has waited for it where that test ran in another worker


@pytest.fixture
def wsgiproof(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Runner]:
    yield Runner(capfd, monkeypatch)


class Runner:
    """Runs ``main`` as the console script does, in this process, which is quicker."""

    def __init__(self, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._capfd = capfd
        self._monkeypatch = monkeypatch

    def __call__(self, *arguments: str) -> Ended:
        self._monkeypatch.setattr(sys, "argv", ["wsgiproof", *arguments])
        self._capfd.readouterr()
        before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
        try:
            main()
            code = 0
        except SystemExit as exit:
            code = int(exit.code or 0)
        finally:
            signal.signal(signal.SIGINT, before[0])
            signal.signal(signal.SIGTERM, before[1])
        out = self._capfd.readouterr()
        return Ended(code, out.out, out.err)


def one_line(ended: Ended) -> str:
    """The error, which is one line and nothing else."""
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith("wsgiproof: ")
    return line.removeprefix("wsgiproof: ")


# Help


def test_help_of_run_has_examples_exit_codes_and_every_option() -> None:
    text = CliRunner().invoke(cli, ["run", "--help"], prog_name="wsgiproof").output
    lines = [line.strip() for line in text.splitlines()]
    assert lines[lines.index("Examples:") + 1] == "wsgiproof run"
    codes = lines[lines.index("Exit codes:") + 1 :]
    assert [line.split()[0] for line in codes] == ["0", "1", "2", "3", "70", "130", "141"]
    options = (
        "--python --mod-wsgi --pymongo --topology --mode --mpm --sub-interpreters --profile "
        "--mongodb --output --control --app -n -c --interpreter --set --config --jobs --resume "
        "--fail-fast --retry-errors --max-seconds --junit --summary --json"
    )
    for option in options.split():
        assert option in text, option


def test_help_without_a_command_lists_the_commands_and_exit_codes() -> None:
    text = CliRunner().invoke(cli, ["--help"], prog_name="wsgiproof").output
    words = [line.split()[:1] for line in text.splitlines()]
    commands = words[words.index(["Commands:"]) + 1 : words.index(["Exit"])]
    assert {command for (command,) in filter(None, commands)} >= {
        *("doctor", "list", "run", "selftest"),
        *("compare", "judge", "merge", "show"),
        *("conf", "serve"),
    }
    assert ["130"] in words[words.index(["Exit"]) :]


@pytest.mark.parametrize("command_name", ["run", "serve", "conf"])
def test_every_example_of_the_help_is_a_valid_command_line(command_name: str) -> None:
    text = CliRunner().invoke(cli, [command_name, "--help"], prog_name="wsgiproof").output
    examples = [line.split() for line in text.splitlines() if line.startswith("    wsgiproof ")]
    assert len(examples) >= 3
    command = cli.commands[command_name]
    for _, name, *arguments in examples:
        assert name == command_name
        command.make_context(name, [word.strip("'") for word in arguments]).close()


def test_the_version_is_told(wsgiproof: Runner) -> None:
    ended = wsgiproof("--version")
    assert (ended.code, ended.stderr) == (0, "")
    assert ended.stdout.startswith("wsgiproof, version ")


# What is wrong with the command line: exit code 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--no-such-option"], "no-such-option"),
        (["run", "--mode", "sideways"], "sideways"),
        (["run", "--mpm", "spoon"], "spoon"),
        (["run", "-n", "many"], "many"),
        (["run", "--control", "nothing"], "nothing"),
        (["run", "surplus"], "surplus"),
        (["conf", "--port", "0"], "--port"),
        (["walk"], "walk"),
    ],
)
def test_a_wrong_option_is_one_line(arguments: list[str], words: str, wsgiproof: Runner) -> None:
    ended = wsgiproof(*arguments)
    assert ended.code == 2
    assert words in one_line(ended)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-n", "0"], "--requests 0: it has to be from 1 to 100,000,000"),
        (["-c", "100000"], "--connections 100000: it has to be from 1 to 10,000"),
        (["--sub-interpreters", "33"], "--sub-interpreters 33: it has to be from 1 to 32"),
        (["--app", "a.py", "--control", "leak-connection"], "exclude each other"),
        (["--app", "/no/such/app.py"], "--app /no/such/app.py: there is no such file"),
    ],
)
def test_a_value_that_makes_no_sense_is_one_line(
    arguments: list[str], words: str, wsgiproof: Runner
) -> None:
    ended = wsgiproof("run", *arguments)
    assert ended.code == 2
    assert words in one_line(ended)


def test_a_python_that_is_not_there(wsgiproof: Runner, tmp_path: Path) -> None:
    ended = wsgiproof("run", "--python", str(tmp_path / "python"))
    assert ended.code == 2
    assert one_line(ended) == f"there is no Python at {tmp_path / 'python'}"


def test_a_mongod_that_is_not_there(wsgiproof: Runner, python: str, tmp_path: Path) -> None:
    ended = wsgiproof("run", "--python", python, "--mongodb", str(tmp_path / "mongod"))
    assert ended.code == 2
    assert one_line(ended) == f"there is no mongod at {tmp_path / 'mongod'}"


def test_a_version_of_pymongo_that_does_not_exist(
    wsgiproof: Runner, python: str, output: Path
) -> None:
    where = ["--python", python, "--mongodb", str(answering_mongod(output.parent))]
    ended = wsgiproof("run", *where, "--pymongo", "0.0.1", "--output", str(output))
    assert ended.code == 2
    message = one_line(ended)
    assert "pymongo 0.0.1" in message
    assert "package index" in message
    assert not output.exists()


def answering_mongod(directory: Path) -> Path:
    """It tells its version and is never started here."""
    path = directory / "mongod"
    path.write_text("#!/bin/sh\necho 'db version v6.0.5'\n")
    path.chmod(0o755)
    return path


@pytest.mark.parametrize("wanted", ["newest", "4.x", ">=4"])
def test_what_is_no_version_of_pymongo(
    wanted: str, wsgiproof: Runner, python: str, tmp_path: Path
) -> None:
    where = ["--python", python, "--mongodb", str(answering_mongod(tmp_path))]
    ended = wsgiproof("run", *where, "--mod-wsgi", wanted, "--output", str(tmp_path / "out"))
    assert ended.code == 2
    assert f"'{wanted}' is not a version of mod-wsgi" in one_line(ended)


# What this machine can not do: exit code 3


def test_a_mongod_that_fails(wsgiproof: Runner, python: str, tmp_path: Path) -> None:
    mongod = tmp_path / "mongod"
    mongod.write_text("#!/bin/sh\necho 'illegal instruction, it says' >&2\nexit 1\n")
    mongod.chmod(0o755)
    ended = wsgiproof("run", "--python", python, "--mongodb", str(mongod))
    assert ended.code == 3
    assert one_line(ended) == f"{mongod} does not run: illegal instruction, it says"


def test_a_mongod_that_lacks_a_library_names_the_mend(
    wsgiproof: Runner, python: str, tmp_path: Path
) -> None:
    mongod = tmp_path / "mongod"
    mongod.write_text(
        "#!/bin/sh\necho 'mongod: error while loading shared libraries: libcurl.so.4: cannot open "
        "shared object file: No such file or directory' >&2\nexit 127\n"
    )
    mongod.chmod(0o755)
    ended = wsgiproof("run", "--python", python, "--mongodb", str(mongod))
    assert ended.code == 3
    assert "does not run without libcurl.so.4" in one_line(ended)
    assert "apt-get install libcurl4" in ended.stderr


def test_the_doctor_shows_what_is_missing_and_what_is_there(
    wsgiproof: Runner, python: str, tmp_path: Path
) -> None:
    ended = wsgiproof("doctor", "--python", python, "--mongodb", str(tmp_path / "mongod"))
    assert ended.code == 3
    lines = {line.split()[1]: line for line in ended.stdout.splitlines()}
    assert set(lines) == {
        "user",
        "limits",
        "python",
        "compiler",
        "apache",
        "cleanup",
        "mongod",
        "space",
        "stacks",
    }
    assert lines["mongod"].startswith("missing ")
    assert lines["python"].startswith("ok ")
    assert python in lines["python"]


def test_a_deployment_that_does_not_answer(dead_uri: Command, output: Path) -> None:
    ended, _ = dead_uri.end()
    assert ended.code == 3
    warning, message = ended.stderr.splitlines()
    assert warning.startswith("warning: every user of this machine can read the password")
    assert "use --mongodb env:NAME, file:PATH, or - " in warning
    assert "no deployment answers at 127.0.0.1:" in message
    assert "hunter2" not in ended.stdout + ended.stderr
    assert not output.exists()
