"""``wsgiproof init`` and ``wsgiproof schema``: the configuration file, begun and described."""

from __future__ import annotations

from pathlib import Path

import click

from wsgiproof.cli.options import print_json
from wsgiproof.cli.output import say
from wsgiproof.configfile import NAMES, schema, starter
from wsgiproof.errors import UsageError
from wsgiproof.files import write_output


@click.command("init")
@click.option("--force", is_flag=True, help="Write over a file that is there.")
def init_command(force: bool) -> None:
    """Write a wsgiproof.toml with every key, commented out, into the current directory."""
    path = Path.cwd() / NAMES[0]
    if path.exists() and not force:
        raise UsageError(f"{path} is there already: --force writes over it")
    write_output(starter().encode(), path, mode=None)
    say(f"{path} is written: take the # off what you want, then 'wsgiproof list'")


@click.command("schema")
def schema_command() -> None:
    """Print the JSON schema of wsgiproof.toml, for editors."""
    print_json(schema())
