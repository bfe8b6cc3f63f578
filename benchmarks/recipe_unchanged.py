"""PyMongo's own mod_wsgi test (the recipe), unchanged: its verdict and ours, side by side.

    python benchmarks/recipe_unchanged.py [--mod-wsgi 6.1.1] [--mode daemon] [--requests 2500]

The script, the configurations and the client are those of PyMongo's sdist, in which its C
extensions are built, as the recipe does in a checkout. The recipe's verdict is the exit code of its
client against an Apache that is started by hand. Ours is that of ``wsgiproof run --httpd-conf``.
The configuration for Fedora needs a directory /etc/httpd with the modules, and a user apache.
Both use the same mod_wsgi, the ports 8080 and 27017, and a mongod that is started here. A row of
the table in docs/recipe.md is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import pwd
import subprocess
import sys
import tempfile
import time
import urllib.request
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import recipe_files
from pymongo import MongoClient

from wsgiproof.process.account import database_account, server_account
from wsgiproof.process.leftovers import become_reaper
from wsgiproof.process.service import Service
from wsgiproof.records.cell import Mode
from wsgiproof.subjects.pymongo.mongod_binary import find_mongod

VERSION = "4.20.1"
CONFS = ("apache24ubuntu.conf", "httpd24fedora.conf")
OF_MODE = {Mode.DAEMON: "mod_wsgi_test.conf", Mode.EMBEDDED: "mod_wsgi_test_embedded.conf"}
PORT, MONGOD_PORT = 8080, 27017
START = 60.0


def main() -> None:
    """Run both, and print the row."""
    given = arguments()
    become_reaper()
    os.umask(0o022)
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        directory.chmod(0o755)
        recipe = recipe_files.fetch(VERSION, directory, given.sdist)
        tree = recipe.parent.parent
        account = server_account()
        build(tree, directory)
        os.chown(tree, *account.ids)  # Apache writes its logs there
        environment = {
            **os.environ,
            "PWD": str(tree),
            "PROJECT_DIRECTORY": str(tree),
            "MOD_WSGI_CONF": OF_MODE[given.mode],
        }
        urls = [f"http://localhost:{PORT}/interpreter{number}{tree}" for number in (1, 2)]
        stack.enter_context(mongod(directory))
        ready: MongoClient[dict[str, Any]] = MongoClient(
            port=MONGOD_PORT, serverSelectionTimeoutMS=int(START * 1000)
        )
        with ready:
            ready.admin.command("ping")
        output = directory / "out"
        mod_wsgi = ["--mod-wsgi", given.mod_wsgi, "-n", str(given.requests), *given.options]
        cell = ours(recipe / given.conf, urls, environment, output, mod_wsgi)
        environment["MOD_WSGI_SO"] = cell["toolchain"]["mod_wsgi"]
        environment["MOD_WSGI_PYTHON_HOME"] = cell["toolchain"]["environment"]
        remove_logs(tree)
        user = someone_at_home()
        if user is not None:
            os.chown(tree, *user)
        server = apache(
            cell["toolchain"]["httpd"], recipe / given.conf, environment, directory, user
        )
        with server:
            try:
                for url in urls:
                    await_answer(url)
            except OSError as error:
                logs = (directory / "httpd.log", tree / "error_log")
                said = [log.read_text() for log in logs if log.exists()]
                sys.exit("\n".join([*said, f"the recipe's Apache does not answer: {error}"]))
            theirs = client(recipe, urls, given.requests)
            server.stop(START)
    failed = [one["check"] for one in cell["checks"] if one["verdict"] == "fail"]
    verdict = f"{cell['verdict']}: {', '.join(failed)}" if failed else cell["verdict"]
    print(f"| {given.mod_wsgi} | {given.mode} | {theirs} | {verdict} |")


def arguments() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--mod-wsgi", default="6.1.1")
    parser.add_argument("--mode", type=Mode, default=Mode.DAEMON, choices=list(Mode))
    parser.add_argument("--conf", default=CONFS[0], choices=CONFS)
    parser.add_argument("--requests", type=int, default=2500)
    parser.add_argument("--sdist", type=Path, help="PyMongo's sdist, packed or not")
    parser.add_argument("options", nargs="*", help="more options of wsgiproof run, after --")
    return parser.parse_args()


def build(tree: Path, directory: Path) -> None:
    """Put the C extensions for this Python into the tree, beside the modules that load them, and
    remove what an earlier run left there."""
    remove_logs(tree)
    if list(tree.glob("bson/*.so")):
        return
    wheels = directory / "wheels"
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps"]
    subprocess.run(
        [*pip, "--wheel-dir", str(wheels), str(tree)],
        check=True,
        env={**os.environ, "PYMONGO_C_EXT_MUST_BUILD": "1"},
    )
    (wheel,) = wheels.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tree, [one for one in archive.namelist() if one.endswith(".so")])


def remove_logs(tree: Path) -> None:
    """Remove the logs of an Apache, whose user is not that of the next one."""
    for log in tree.glob("*_log"):
        log.unlink()


def mongod(directory: Path) -> Service:
    """Return a mongod on the default port, as the recipe expects it."""
    account = database_account()
    data = directory / "data"
    data.mkdir()
    os.chown(data, *account.ids)
    command = [str(find_mongod(None).path), "--bind_ip", "127.0.0.1", "--nounixsocket"]
    return Service(
        [*command, "--port", str(MONGOD_PORT), "--dbpath", str(data)],
        name="mongod",
        log=directory / "mongod.log",
        events=directory / "mongod.events",
        env={},
        user=(account.uid, account.gid) if account.dropped else None,
    )


def ours(
    conf: Path,
    urls: Sequence[str],
    environment: Mapping[str, str],
    output: Path,
    options: Sequence[str],
) -> dict[str, Any]:
    """Run our cell by its command, and return its record."""
    what = ["--httpd-conf", str(conf), *(word for url in urls for word in ("--url", url))]
    versions = ["--pymongo", VERSION, "--mongodb", f"mongodb://127.0.0.1:{MONGOD_PORT}/"]
    command = [sys.executable, "-m", "wsgiproof", "run", "--no-config", "--output", str(output)]
    subprocess.run(
        [*command, *what, *versions, *options], check=False, env=environment, stdout=sys.stderr
    )
    (record,) = output.glob("cells/*/cell.json")
    cell: dict[str, Any] = json.loads(record.read_text())
    return cell


def someone_at_home() -> tuple[int, int] | None:
    """Return the ids of a user to be in place of root; None for any other user.

    mod_wsgi changes to the home directory of a user that the configuration does not name, and that
    of Apache's user need not exist.
    """
    if os.geteuid() != 0:
        return None
    homes = ((one.pw_uid, one.pw_gid, Path(one.pw_dir)) for one in pwd.getpwall() if one.pw_uid)
    return next((uid, gid) for uid, gid, home in homes if home.is_dir())


def apache(
    httpd: str,
    conf: Path,
    environment: Mapping[str, str],
    directory: Path,
    user: tuple[int, int] | None,
) -> Service:
    """Return an Apache that is started as the recipe starts it, in the foreground."""
    return Service(
        [httpd, "-f", str(conf), "-DNO_DETACH"],
        name="httpd",
        log=directory / "httpd.log",
        events=directory / "httpd.events",
        env=environment,
        cwd=conf.parent.parent.parent,
        user=user,
    )


def await_answer(url: str) -> None:
    """Return once a URL is answered; raises OSError if it is not in time."""
    limit = time.monotonic() + START
    while True:
        try:
            with urllib.request.urlopen(url, timeout=START) as answer:
                answer.read()
                return
        except OSError:
            if time.monotonic() > limit:
                raise
        time.sleep(0.1)


def client(recipe: Path, urls: Sequence[str], requests: int) -> str:
    """Run the recipe's client, in parallel and in series, and return what its exit codes say."""
    command = [sys.executable, str(recipe_files.client(recipe)), "-q", "-n", str(requests)]
    modes = [["-t", "100", "parallel"], ["serial"]]
    codes = [
        subprocess.run([*command, *mode, *urls], check=False, stdout=sys.stderr).returncode
        for mode in modes
    ]
    return "pass" if not any(codes) else f"fail: exit codes {codes[0]} and {codes[1]}"


if __name__ == "__main__":
    main()
