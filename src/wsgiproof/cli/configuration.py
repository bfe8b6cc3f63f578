"""``wsgiproof init``: a configuration file to begin with, or the JSON schema of one."""

from __future__ import annotations

from pathlib import Path

from wsgiproof.cli.help import command, option
from wsgiproof.cli.options import print_json
from wsgiproof.cli.output import say
from wsgiproof.config.file import NAMES, schema, starter
from wsgiproof.errors import UsageError
from wsgiproof.files import write_output

_EXAMPLES = ("wsgiproof init", "wsgiproof init --schema > wsgiproof.schema.json")
_CODES = {
    0: "the file is written, or the schema is printed",
    2: "the command line is wrong, or the file exists",
    3: "the file can't be written",
}


@command("init", examples=_EXAMPLES, codes=_CODES)
@option("--force", is_flag=True, help="Overwrite an existing file.")
@option("--schema", "only_schema", is_flag=True, help="Print the JSON schema; write no file.")
def init_command(force: bool, only_schema: bool) -> None:
    """Write a wsgiproof.toml to begin with.

    It goes to the current directory and has every key, commented out. The JSON schema lets an
    editor check and complete the file.
    """
    if only_schema:
        if force:
            raise UsageError("--schema writes no file: leave --force out")
        print_json(schema())
        return
    path = Path.cwd() / NAMES[0]
    if path.exists() and not force:
        raise UsageError(f"{path} exists: --force overwrites it")
    write_output(starter().encode(), path, mode=None)
    say(f"{path} is written: remove the # from the keys you need, then run 'wsgiproof list'")
