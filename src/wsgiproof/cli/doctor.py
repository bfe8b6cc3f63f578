"""``wsgiproof doctor``: what a run needs, and the Pythons of this machine."""

from __future__ import annotations

from typing import Any

from wsgiproof.cli.help import command, option
from wsgiproof.cli.options import configure, machine_options, make_console, print_json
from wsgiproof.errors import ExitCode, UsageError
from wsgiproof.subjects.registry import DEFAULT

_EXAMPLES = (
    "wsgiproof doctor",
    *DEFAULT.examples.get("doctor", ()),
    "wsgiproof doctor --pythons",
)
_CODES = {
    0: "nothing is missing; with --pythons: mod_wsgi can embed at least one",
    2: "the command line is wrong",
    3: "something is missing; with --pythons: see 'wsgiproof build python --help'",
}


@command("doctor", examples=_EXAMPLES, codes=_CODES)
@machine_options
@option(
    "--pythons",
    is_flag=True,
    help="List the Pythons of this machine.\n"
    "With whether mod_wsgi can embed them, and why not. They are looked for on PATH, in pyenv, uv, "
    "conda, /usr/bin, /usr/local and /opt/python, and among those that wsgiproof has built, and "
    "preferred in that order.",
)
@option("--json", "as_json", is_flag=True, help="With --pythons: print them as JSON.")
def doctor_command(pythons: bool, as_json: bool, **options: Any) -> None:
    """Check what a run needs, and say how to get what is missing."""
    from wsgiproof.provision.cache import Cache
    from wsgiproof.report.prerequisites import show_prerequisites
    from wsgiproof.run.preflight import Preflight

    if pythons:
        _list_pythons(as_json=as_json)
        return
    if as_json:
        raise UsageError("--json needs --pythons")
    console = make_console()
    config, _ = configure(options)
    preflight = Preflight(config, Cache())
    show_prerequisites(console, preflight.prerequisites)
    if any(one.problem for one in preflight.prerequisites):
        raise SystemExit(ExitCode.UNDECIDED)


def _list_pythons(*, as_json: bool) -> None:
    from wsgiproof.process.account import server_account
    from wsgiproof.provision.python import found_pythons
    from wsgiproof.report.pythons import as_rows, show_pythons

    found = found_pythons(server_account())
    if as_json:
        print_json(as_rows(found))
    else:
        show_pythons(make_console(), found)
    if all(one.problem for one in found):
        raise SystemExit(ExitCode.UNDECIDED)
