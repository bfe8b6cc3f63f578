"""Pages of the documentation that are made from the code or from files at the top: for MkDocs.

MkDocs calls ``on_files`` before it reads any page. What is made here can't go stale.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import cloup

from wsgiproof import cli
from wsgiproof.cli.help import SETTINGS
from wsgiproof.config.file import starter

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

ROOT = Path(__file__).resolve().parent.parent
TOP = {
    "index.md": "README.md",
    "contributing.md": "CONTRIBUTING.md",
    "security.md": "SECURITY.md",
    "changelog.md": "CHANGELOG.md",
}
"""Pages that stand at the top of the repository, where people and hosts look for them."""
COMPLETION = """`--help` shows the common options of a command, `--help-all` all of them.

A shell completes commands, options, and values such as cells, sets, phases and Pythons once its
start file has one of these lines:

```sh
eval "$(_WSGIPROOF_COMPLETE=bash_source wsgiproof)"       # bash 4.4 or newer, in ~/.bashrc
eval "$(_WSGIPROOF_COMPLETE=zsh_source wsgiproof)"        # zsh, in ~/.zshrc
_WSGIPROOF_COMPLETE=fish_source wsgiproof | source        # fish, in ~/.config/fish/config.fish
```
"""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    from mkdocs.structure.files import File

    for path, text in pages().items():
        files.append(File.generated(config, path, content=text))
    for example in sorted((ROOT / "examples").iterdir()):
        files.append(File.generated(config, f"examples/{example.name}", abs_src_path=str(example)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """Find the examples, which are beside ``docs/`` in the repository, and below it on the site."""
    return markdown.replace("](../examples/", "](examples/")


def pages() -> dict[str, str]:
    """Each generated page by its path below ``docs/``."""
    made = {path: of_top((ROOT / name).read_text()) for path, name in TOP.items()}
    made["reference/commands.md"] = "\n".join(commands())
    made["reference/configuration.md"] = configuration()
    return made


def of_top(text: str) -> str:
    """A page of the top, with its links seen from ``docs/``."""
    text = re.sub(r"\]\(docs/", "](", text)
    for path, name in TOP.items():
        text = text.replace(f"]({name}", f"]({path}")
    return text


def commands() -> Iterator[str]:
    """Every command with its help, its options, its examples and its exit codes."""
    yield "# Commands\n"
    yield COMPLETION
    for name, command in sorted(cli.commands().items()):
        yield from one_command(name, command, level=2)


def one_command(name: str, command: click.Command, level: int) -> Iterator[str]:
    """A command, and those below it."""
    settings: dict[str, Any] = {**SETTINGS}
    context = cloup.Context(command, info_name=f"wsgiproof {name}", **settings)
    yield f"{'#' * level} wsgiproof {name}\n"
    usage = " ".join(command.collect_usage_pieces(context))
    yield f"```text\nwsgiproof {name} {usage}\n```\n"
    yield f"{escaped(plain(command.help))}\n"
    assert isinstance(command, cloup.Command)
    others = command.get_default_option_group(context, not command.option_groups)
    for group in (*command.option_groups, others):
        yield f"| {group.title} | meaning |\n|---|---|"
        for option, text in group.get_help_records(context):
            yield f"| `{option.replace('|', chr(92) + '|')}` | {cell(text)} |"
        yield ""
    if command.epilog:
        yield f"```text\n{plain(command.epilog)}\n```\n"
    if isinstance(command, click.Group):
        for below, one in sorted(command.commands.items()):
            yield from one_command(f"{name} {below}", one, level + 1)


def plain(text: str | None) -> str:
    """Help without click's marks for text that is not to be wrapped."""
    return inspect.cleandoc(text or "").replace("\b\n", "").replace("\b", "").strip()


def cell(text: str) -> str:
    """Text in a cell of a table."""
    return escaped(" ".join(text.split())).replace("|", "\\|")


def escaped(text: str) -> str:
    """Text in which nothing is markup."""
    return re.sub(r"([*_<>\[\]`{}])", r"\\\1", text)


def configuration() -> str:
    """The file for a beginner, which has every key with what it does."""
    return f"""# Configuration

`wsgiproof init` writes this file, with every key commented out. It is called `wsgiproof.toml`; the
same keys may stand in `[tool.wsgiproof]` of a `pyproject.toml`. An option of the command line has
the name of its key. The command line wins over a set, and a set over the rest of the file.
`wsgiproof init --schema` prints the [JSON schema](../wsgiproof.schema.json).

```toml
{starter().rstrip()}
```
"""
