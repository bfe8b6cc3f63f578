"""``wsgiproof cache``: what has been built is listed, checked and removed."""

from __future__ import annotations

import time

import click

from wsgiproof.cli.options import EXIT_CODES, make_console, print_json
from wsgiproof.errors import ExitCode
from wsgiproof.toolchain import Entry, State

_EXAMPLES = """\b
Examples:
  wsgiproof cache list
  wsgiproof cache prune --unused-for 7 --dry-run
  wsgiproof cache prune --kind environment --unused-for 0
  wsgiproof cache verify
"""


@click.group("cache", epilog=f"{_EXAMPLES}\n{EXIT_CODES}")
def cache_command() -> None:
    """What has been built: Pythons, Apache, mod_wsgi, and environments with PyMongo.

    It is in WSGIPROOF_CACHE, else in the platform's directory for caches; as root, in
    /var/cache/wsgiproof. All of it can be built again.
    """


@cache_command.command("list")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def list_entries(as_json: bool) -> None:
    """Show each entry: what it is for, how large, and when it was last used."""
    from wsgiproof.cache import Cache
    from wsgiproof.report.builds import show_entries

    cache = Cache()
    entries = cache.entries()
    if as_json:
        print_json(entries)
    else:
        show_entries(make_console(), entries, str(cache.root))


@cache_command.command("prune")
@click.option(
    "--unused-for",
    type=click.FloatRange(min=0),
    metavar="DAYS",
    default=30.0,
    show_default=True,
    help="Remove what no run has used for so long.",
)
@click.option("--kind", multiple=True, metavar="KIND", help="Of these kinds only, as 'list' says.")
@click.option("--dry-run", is_flag=True, help="Only say what would be removed.")
def prune(unused_for: float, kind: tuple[str, ...], dry_run: bool) -> None:
    """Remove what is old, what is damaged, and what a killed build has left.

    Refused while another wsgiproof uses the cache.
    """
    from wsgiproof.cache import Cache
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


@cache_command.command("verify")
@click.option("--json", "as_json", is_flag=True, help="As JSON.")
def verify(as_json: bool) -> None:
    """Read every file, and say what is not as it was built. Exit code 3 if anything is."""
    from wsgiproof.cache import Cache
    from wsgiproof.report.builds import show_verified

    entries = Cache().entries(thorough=True)
    if as_json:
        print_json(entries)
    else:
        show_verified(make_console(), entries)
    if any(one.state is not State.BUILT for one in entries):
        raise SystemExit(ExitCode.UNDECIDED)
