"""The command line: what it says, and its exit codes."""

from __future__ import annotations

import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

import wsgiproof as wsgiproof_package
from wsgiproof.cli import cli, commands, main
from wsgiproof.config.axes import ALL_AXES
from wsgiproof.config.model import Config
from wsgiproof.process.account import server_account
from wsgiproof.provision.cache import KINDS
from wsgiproof.provision.python import choose


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
        stdout, stderr = self._process.communicate(timeout=300)
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

COMMAND_BY_NAME = commands()
RUN = COMMAND_BY_NAME["run"]


def every_command(
    below: Mapping[str, click.Command] = COMMAND_BY_NAME, above: tuple[str, ...] = ()
) -> Iterator[tuple[str, ...]]:
    """The words that name each command, groups included."""
    for name, one in below.items():
        yield (*above, name)
        if isinstance(one, click.Group):
            yield from every_command(one.commands, (*above, name))


def command_of(words: Sequence[str]) -> tuple[click.Command, list[str]]:
    """The command that these words name, and those that are its arguments."""
    name, *rest = words
    at = COMMAND_BY_NAME[name]
    while isinstance(at, click.Group) and rest and rest[0] in at.commands:
        at = at.commands[rest.pop(0)]
    return at, rest


def helped(*words: str) -> str:
    ended = CliRunner().invoke(cli, words, prog_name="wsgiproof", terminal_width=80)
    assert ended.exit_code == 0
    return ended.output


COMMANDS = pytest.mark.parametrize("words", list(every_command()), ids=" ".join)


@COMMANDS
def test_every_command_has_examples_and_exit_codes_within_80_columns(
    words: tuple[str, ...],
) -> None:
    text = helped(*words, "-h")
    assert text == helped(*words, "--help")
    whole = helped(*words, "--help-all") if "--help-all" in text else text
    for one in (text, whole):
        lines = one.splitlines()
        assert lines[lines.index("Examples:") + 1].startswith("  wsgiproof ")
        codes = [line.split()[0] for line in lines[lines.index("Exit codes:") + 1 :]]
        assert codes[0] == "0"
        assert codes == sorted(codes, key=int)
        assert "\x1b" not in one
        examples = lines[lines.index("Examples:") : lines.index("Exit codes:")]
        assert [line for line in lines if len(line) > 80 and line not in examples] == []
    assert codes[-3:] == ["70", "130", "141"]


def test_no_summary_is_cut_off() -> None:
    for words in ((), ("build",), ("cache",)):
        text = helped(*words, "--help")
        assert "..." not in text.replace("[ARGS]...", "")
    names = {line.split()[0] for line in helped("--help").splitlines() if line.startswith("  ")}
    assert set(cli.commands) <= names


def test_the_list_of_commands_has_the_summary_of_each_and_imports_none() -> None:
    told = {name: one.get_short_help_str(200) for name, one in cli.commands.items()}
    assert told == {name: one.get_short_help_str(200) for name, one in COMMAND_BY_NAME.items()}
    script = (
        "import sys\n"
        "from wsgiproof.__main__ import main\n"
        "sys.argv = ['wsgiproof', '--help']\n"
        "try: main()\n"
        "finally: print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    help_text, _, last = done.stdout.rstrip("\n").rpartition("\n")
    assert "Read results:" in help_text
    imported = set(last.split())
    assert "wsgiproof.cli" in imported
    slow = {"pymongo", "rich", "jinja2", "msgspec", "psutil", "asyncio", "wsgiproof.cli.options"}
    assert imported & slow == set()


def test_the_help_of_run_fits_one_screen_with_a_line_for_each_common_option() -> None:
    lines = helped("run", "--help").splitlines()
    assert 24 <= len(lines) <= 40
    groups = ["What to test:", "Load:", "Phases:", "Execution:", "Output:", "Configuration:"]
    assert [line for line in lines if line in groups] == groups
    options = lines[lines.index(groups[0]) : lines.index("Examples:")]
    assert all(line in groups or re.match("  -|Other options:|$", line) for line in options)
    for name in ("--python", "--pymongo", "--app", "--mongodb", "--profile", "--jobs", "--set"):
        assert any(line.startswith(f"  {name} ") for line in options), name


def test_help_all_has_every_option_of_run_in_the_same_groups() -> None:
    short, whole = helped("run", "--help"), helped("run", "--help-all")
    names = [max(one.opts, key=len) for one in RUN.params if isinstance(one, click.Option)]
    assert len(names) > 35
    assert [name for name in names if f" {name}" not in whole] == []
    assert "--fault-seconds" not in short
    assert whole.count("Configuration:") == short.count("Configuration:") == 1


def shell_words(line: str) -> list[str]:
    """The arguments of wsgiproof in an example, without what its shell does beside it."""
    line = line.partition(" > ")[0].partition(" < ")[0]
    if "$(" in line:
        line = line.partition("$(")[2].partition(")")[0]
    return shlex.split(line)


@COMMANDS
def test_every_example_of_the_help_is_a_valid_command_line(words: tuple[str, ...]) -> None:
    examples = command_of(words)[0].examples  # type: ignore[attr-defined]
    assert examples
    for example in examples:
        name, *arguments = shell_words(example)
        assert name == "wsgiproof"
        at, rest = command_of(arguments)
        at.make_context("wsgiproof", rest).close()


# Options and the keys of a file

WITHOUT_KEY = {
    *("config", "no-config", "set", "plan", "resume"),
    *("junit", "summary", "json", "help-all"),
}
"""Options of one command line alone."""
WITHOUT_OPTION = {"include", "exclude", "overrides", "known", "only"}
"""Tables of a file; and the cells, which are arguments."""


@pytest.mark.parametrize(
    "words", [("run",), ("list",), ("serve",), ("build", "cells"), ("doctor",)]
)
def test_an_option_has_the_name_of_its_key(words: tuple[str, ...]) -> None:
    command, _ = command_of(words)
    names = {
        one.name: max(one.opts, key=len)
        for one in command.params
        if isinstance(one, click.Option) and one.name in {*ALL_AXES, *Config.__struct_fields__}
    }
    assert names == {key: "--" + key.replace("_", "-") for key in names}


def test_every_option_of_run_has_a_key_and_every_key_an_option() -> None:
    options = {
        max(one.opts, key=len).removeprefix("--")
        for one in RUN.params
        if isinstance(one, click.Option)
    }
    names = {*ALL_AXES, *Config.__struct_fields__} - {"axes", "names"}
    keys = {key.replace("_", "-") for key in names if key not in WITHOUT_OPTION}
    assert options - WITHOUT_KEY == keys


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
        (["serve", "--print-config", "--port", "0"], "--port"),
        (["walk"], "walk"),
    ],
)
def test_a_wrong_option_is_one_line(arguments: list[str], words: str, wsgiproof: Runner) -> None:
    ended = wsgiproof(*arguments)
    assert ended.code == 2
    assert words in one_line(ended)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (
            "run --control leak-conection",
            "Invalid value for '--control': 'leak-conection' does not exist; did you mean "
            "'leak-connection'? 'wsgiproof selftest --list' lists them all.",
        ),
        (
            "selftest --only zzz",
            "no control of pymongo matches 'zzz'. --list shows their names",
        ),
        (
            "selftest --subject package --only leak-cursor --list",
            "no control of package matches 'leak-cursor'; did you mean 'leak-memory'? --list shows "
            "their names",
        ),
        (
            "run --no-config --subject package --control leak-connection",
            "package has no control 'leak-connection'; did you mean 'leak-object'? 'wsgiproof "
            "selftest --subject package --list' lists them all.",
        ),
        (
            "selftest --only leak-thread --together",
            "--only chooses controls by name, so it can't be used with --together",
        ),
        (
            "run --control xyzzy",
            "Invalid value for '--control': 'xyzzy' does not exist. 'wsgiproof selftest --list' "
            "lists them all.",
        ),
        (
            "run --restarts many",
            "Invalid value for '--restarts': 'many' is not a valid integer. See 'wsgiproof run "
            "--help-all'.",
        ),
        (
            "run --mode deamon",
            "Invalid value for '--mode': 'deamon' is not one of daemon, embedded; did you mean "
            "'daemon'?",
        ),
        (
            "run --phases restart,relod",
            "Invalid value for '--phases': 'relod' is not one of restart, reload, failover, "
            "trials, idle, all, none; did you mean 'reload'?",
        ),
        (
            "cache prune --kind foo",
            f"Invalid value for '--kind': 'foo' is not one of {', '.join(KINDS)}.",
        ),
        ("report x --figure recovry", "did you mean 'recovery'?"),
        ("run --jbos 2", "No such option '--jbos'. (Did you mean one of: '--jobs', '--json'?)"),
        ("shwo x", "No such command 'shwo'. Did you mean 'show'?"),
        ("doctor --json", "--json needs --pythons"),
        ("init --schema --force", "--schema writes no file: leave --force out"),
        ("serve --port 8080", "--port needs --print-config: a server gets a port that is free"),
        (
            "serve --print-config --json",
            "--print-config prints Apache's configuration: leave --json out",
        ),
        (
            "show x --rejudge --json",
            "--rejudge shows its result in the terminal: leave --json, --junit and --summary out",
        ),
    ],
)
def test_a_mistake_is_met_with_what_may_have_been_meant(
    line: str, message: str, wsgiproof: Runner
) -> None:
    ended = wsgiproof(*line.split())
    assert ended.code == 2
    assert message in one_line(ended)
    assert len(one_line(ended)) < 250


def test_every_kind_of_the_cache_can_be_named() -> None:
    sources = Path(str(wsgiproof_package.__file__)).parent.joinpath("provision").glob("*.py")
    text = "\n".join(path.read_text() for path in sources)
    named = re.findall(r'\bkind="([^"]+)"|cache\.entry\(\s*"([^"]+)"', text)
    named += re.findall(r'^(?:BUILT|_KIND, _FILE) = "([^"]+)"()', text, re.M)
    assert {first or second for first, second in named} == set(KINDS)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-n", "0"], "--requests 0: it has to be from 1 to 100,000,000"),
        (["-c", "100000"], "--connections 100000: it has to be from 1 to 10,000"),
        (["--sub-interpreters", "33"], "--sub-interpreters 33: it has to be from 1 to 32"),
        (["--app", "a.py", "--control", "leak-connection"], "exclude each other"),
        (["--app", "/"], "--app /: it is a directory: name the WSGI script in it, such as wsgi.py"),
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
