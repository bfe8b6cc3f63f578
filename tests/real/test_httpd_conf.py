"""A user's own httpd.conf in real Apache: run unchanged, and judged with the probe beside it."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.real.command import started
from tests.real.test_cells import why
from tests.real.test_serve import MODULE, alive, told
from wsgiproof.process.account import server_account
from wsgiproof.provision.cache import Cache
from wsgiproof.provision.httpd import build_httpd, find_httpd
from wsgiproof.records.judgement import Verdict
from wsgiproof.records.reading import load_run
from wsgiproof.records.run import CellRecord

CONF = """
ServerRoot {root}
LoadModule mpm_prefork_module {modules}/mod_mpm_prefork.so
LoadModule authz_core_module {modules}/mod_authz_core.so
<IfModule !log_config_module>
    LoadModule log_config_module {modules}/mod_log_config.so
</IfModule>
LoadModule wsgi_module ${{MOD_WSGI_SO}}
Listen 127.0.0.1:${{WSGIPROOF_PORT}}
ServerName localhost
PidFile /nowhere/httpd.pid
ErrorLog /nowhere/error.log
StartServers 2
MinSpareServers 2
MaxSpareServers 3
ServerLimit 4
MaxRequestWorkers 4
<Directory "{root}">
    Require all granted
</Directory>
<VirtualHost *>
    {served}
</VirtualHost>
"""
EMBEDDED = """
    WSGIScriptAliasMatch ^/(one|two)$ {root}/shop.wsgi
"""
DAEMON = """
    WSGIDaemonProcess shop threads=5
    WSGIScriptAlias /one {root}/shop.wsgi process-group=shop application-group=one
    WSGIScriptAlias /two {root}/shop.wsgi process-group=shop application-group=two
"""
HEALTHY = """
import colorsys
import os
def application(environ, start_response):
    start_response("200 OK", [])
    return [b"hello"]
"""
LEAK = '    os.open("/dev/null", os.O_RDONLY)\n'
LEAKS = HEALTHY.replace("    start_response", f"{LEAK}    start_response")
IMPORTS_NOTHING = HEALTHY.replace("import colorsys\nimport os\n", "")


@pytest.fixture
def site() -> Iterator[Path]:
    """A directory that Apache's user can read."""
    with tempfile.TemporaryDirectory() as directory:
        Path(directory).chmod(0o755)
        site = Path(directory) / "site"
        site.mkdir()
        site.chmod(0o755)
        yield site


def write(site: Path, served: str, script: str) -> None:
    """The configuration and the script."""
    modules = (find_httpd() or build_httpd(Cache())).modules
    for name, text in (
        ("httpd.conf", CONF.format(root=site, modules=modules, served=served.format(root=site))),
        ("shop.wsgi", script),
    ):
        (site / name).write_text(text)
        (site / name).chmod(0o644)


def run(site: Path, served: str, script: str) -> CellRecord:
    write(site, served, script)
    before = [(path.name, path.read_bytes()) for path in sorted(site.iterdir())]
    output = site.parent / "out"
    what = ["--subject", "package", "--httpd-conf", str(site / "httpd.conf")]
    load = ["--url", "/one", "--url", "/two", "-n", "150", "--phases", "none"]
    command = [sys.executable, "-m", "wsgiproof", "run", "--no-config", "--mod-wsgi", "5.0.2"]
    subprocess.run(
        [*command, *what, *load, "--output", str(output)], check=False, env={**os.environ}
    )
    assert before == [(path.name, path.read_bytes()) for path in sorted(site.iterdir())]
    (record,) = load_run(output).cells
    return record


def test_a_healthy_application_passes_while_processes_come_and_go(site: Path) -> None:
    record = run(site, EMBEDDED, HEALTHY)
    assert record.verdict is Verdict.PASS, why(record)
    assert record.observed is not None
    groups = {one.application_group for one in record.observed.identities}
    assert {str(group).partition("|")[2] for group in groups} == {"/one", "/two"}, "by default"
    assert record.cell.min_processes == 2


def test_what_a_daemon_process_leaks_is_found(site: Path) -> None:
    record = run(site, DAEMON, LEAKS)
    assert record.verdict is Verdict.FAIL, why(record)
    assert {finding.check for finding in record.findings} == {"descriptors"}, why(record)


def test_one_that_leaks_nothing_passes_there(site: Path) -> None:
    record = run(site, DAEMON, HEALTHY)
    assert record.verdict is Verdict.PASS, why(record)


def test_a_script_beside_which_there_is_no_probe_is_an_error(site: Path) -> None:
    record = run(site, DAEMON, IMPORTS_NOTHING)
    assert record.verdict is Verdict.ERROR, why(record)
    assert "was answered without the probe" in record.reason


def test_it_is_served_to_look_at_until_ctrl_c(site: Path, open_tmp: Path) -> None:
    write(site, DAEMON, HEALTHY)
    what = ["--subject", "package", "--httpd-conf", str(site / "httpd.conf")]
    urls = ["--url", "/one", "--url", "http://shop.example/two"]
    command = [*MODULE, "serve", "--no-config", "--mod-wsgi", "5.0.2", *what, *urls, "--json"]
    with started(open_tmp, command=command, keep=True) as serve:
        served = told(serve)
        assert [*served["urls"].values()] == ["", ""], "the file says it"
        assert alive(served)["worker"] == 1
        for url in served["urls"]:
            where = urlsplit(url)
            here = where._replace(netloc=f"127.0.0.1:{where.port}").geturl()
            request = urllib.request.Request(here, headers={"Host": where.netloc})
            with urllib.request.urlopen(request, timeout=300) as response:
                assert response.read() == b"hello"
        serve.interrupt()
        assert serve.finish() == 0, serve.text
        assert not serve.left_behind()
        assert sum(alive(served).values()) == 0
    assert "caught SIGTERM, shutting down" in serve.text, "the error log was not shown"
    assert "Traceback" not in serve.text


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
def test_root_runs_nothing_of_it(site: Path) -> None:
    """A pipe is started by Apache's parent process."""
    told = site.parent / "told"
    told.mkdir()
    account = server_account()
    os.chown(told, account.uid, account.gid)
    pipe = f'CustomLog "|/bin/sh -c \'id -u > {told}/user; cat\'" "%h"\n'
    run(site, pipe + DAEMON, HEALTHY)
    assert (told / "user").read_text().strip() == str(account.uid)
