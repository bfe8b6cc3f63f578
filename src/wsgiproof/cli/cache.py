"""``wsgiproof cache``: what has been built is listed, checked and removed."""

from __future__ import annotations

import time

import click

from wsgiproof.cli.choices import Choices
from wsgiproof.cli.help import Group, command, option
from wsgiproof.cli.options import make_console, print_json
from wsgiproof.errors import ExitCode
from wsgiproof.provision.cache import KINDS
from wsgiproof.provision.toolchain import Entry, State

_LIST_EXAMPLES = ("wsgiproof cache list", "wsgiproof cache list --json")
_PRUNE_EXAMPLES = (
    "wsgiproof cache prune --unused-for 7 --dry-run",
    "wsgiproof cache prune --kind environment --unused-for 0",
)
_VERIFY_EXAMPLES = ("wsgiproof cache verify",)
_LIST_CODES = {
    0: "the entries are shown",
    2: "the command line is wrong",
    3: "the cache can't be read, or is not safe to use",
}
_PRUNE_CODES = {
    0: "what was to be removed is removed, or shown",
    2: "the command line is wrong",
    3: "another wsgiproof uses the cache, or it can't be changed",
}
_VERIFY_CODES = {
    0: "every file is as it was built",
    2: "the command line is wrong",
    3: "something is damaged or unfinished: the next use builds it again",
}


@click.group(
    "cache",
    cls=Group,
    examples=(*_LIST_EXAMPLES, *_PRUNE_EXAMPLES, *_VERIFY_EXAMPLES),
    codes={0: "done", 2: "the command line is wrong", 3: "see the help of each command"},
)
def cache_command() -> None:
    """List, check and remove what has been built.

    That is Pythons, Apache, mod_wsgi, and environments of subjects, in WSGIPROOF_CACHE, else in
    the platform's directory for caches; as root, in /var/cache/wsgiproof. All of it can be built
    again.
    """


@command("list", examples=_LIST_EXAMPLES, codes=_LIST_CODES)
@option("--json", "as_json", is_flag=True, help="Print the entries as JSON.")
def list_entries(as_json: bool) -> None:
    """Show each entry, its size and its last use."""
    from wsgiproof.provision.cache import Cache
    from wsgiproof.report.builds import show_entries

    cache = Cache()
    entries = cache.entries()
    if as_json:
        print_json(entries)
    else:
        show_entries(make_console(), entries, str(cache.root))


@command("prune", examples=_PRUNE_EXAMPLES, codes=_PRUNE_CODES)
@option(
    "--unused-for",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    default=30.0,
    show_default=True,
    help="Remove what no run has used for this time.",
)
@option(
    "--kind",
    multiple=True,
    type=Choices(KINDS),
    metavar="KIND",
    help=f"Remove these kinds only.\nOf {', '.join(KINDS)}.",
)
@option("--dry-run", is_flag=True, help="Show what would be removed, and remove nothing.")
def prune(unused_for: float, kind: tuple[str, ...], dry_run: bool) -> None:
    """Remove what is old, damaged or unfinished.

    It is refused while another wsgiproof uses the cache.
    """
    from wsgiproof.provision.cache import Cache
    from wsgiproof.report.builds import show_removed

    cache = Cache()
    oldest = time.time() - unused_for * 86400

    def goes(entry: Entry) -> bool:
        of_kind = not kind or entry.kind in kind
        return of_kind and (entry.state is not State.BUILT or entry.used <= oldest)

    with cache.exclusive():
        entries = cache.entries(thorough=True)
        removed = [one for one in entries if goes(one) and (dry_run or cache.remove(one))]
    show_removed(make_console(), removed, len(entries) - len(removed), really=not dry_run)


@command("verify", examples=_VERIFY_EXAMPLES, codes=_VERIFY_CODES)
@option("--json", "as_json", is_flag=True, help="Print the entries as JSON.")
def verify(as_json: bool) -> None:
    """Check that every file is still what was built."""
    from wsgiproof.provision.cache import Cache
    from wsgiproof.report.builds import show_verified

    entries = Cache().entries(thorough=True)
    if as_json:
        print_json(entries)
    else:
        show_verified(make_console(), entries)
    if any(one.state is not State.BUILT for one in entries):
        raise SystemExit(ExitCode.UNDECIDED)


for _command in (list_entries, prune, verify):
    cache_command.add_command(_command)
