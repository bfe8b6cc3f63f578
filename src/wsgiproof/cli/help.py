"""How the help of a command looks: options in groups, examples, and the command's exit codes.

A command with rarely used options has two helps. ``--help`` fits one screen: one line for each
common option. ``--help-all`` has every option with all that is to be said about it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click
import cloup

from wsgiproof.errors import ExitCode

SETTINGS = {"help_option_names": ["-h", "--help"]}
"""Of each command."""
_ALL = f"{__name__}.all"
_FEW_EXAMPLES = 3
RUN_CODES = {
    0: "every check passed, or found only what is known and accepted",
    1: "a finding: something is wrong with the subject; or a known one is gone",
    2: "the command line is wrong, or names something that does not exist",
    3: "at least one cell could not be decided or could not run",
}
"""Of a command that shows verdicts."""
_COMMON_CODES: dict[int, str] = {
    ExitCode.DEFECT: "a defect of wsgiproof: please report it with the file that it names",
    ExitCode.INTERRUPTED: "interrupted",
    ExitCode.CLOSED: "the program that read the output, such as head, has ended",
}


class Option(click.Option):
    """An option whose help begins with a line that says what it is for.

    ``rare`` keeps it out of the short help.
    """

    def __init__(self, *arguments: Any, rare: bool = False, **attributes: Any) -> None:
        super().__init__(*arguments, **attributes)
        self.rare = rare

    @property
    def summary(self) -> str:
        """The first line of the help."""
        return (self.help or "").partition("\n")[0]

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        """The names and the whole help, as one paragraph."""
        record = super().get_help_record(ctx)
        return record and (record[0], record[1].replace("\n[", "  [").replace("\n", " "))


class Command(cloup.Command):
    """A command with examples and its own exit codes."""

    def __init__(
        self,
        *arguments: Any,
        examples: Sequence[str] = (),
        codes: Mapping[int, str] | None = None,
        **attributes: Any,
    ) -> None:
        parameters = attributes.setdefault("params", [])
        # Only a command with groups of options has so many that it takes two helps.
        self.has_rare = any(
            getattr(one, "rare", False) and getattr(one, "group", None) is not None
            for one in parameters
        )
        if self.has_rare:
            parameters.append(_help_all())
        # Not only on the outermost group: click makes the help option of a command once, by the
        # context in which it is needed first, and completion makes one without its parents.
        attributes.setdefault("context_settings", SETTINGS)
        super().__init__(*arguments, **attributes)
        self.examples = examples
        self.codes = codes or {}
        self.epilog = "\n\n".join([_listed("Examples", examples), exit_codes(self.codes)])

    def format_params(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options: all of them, or in the short help a line for each common one."""
        if not self._is_short(ctx):
            super().format_params(ctx, formatter)
            return
        assert isinstance(formatter, cloup.HelpFormatter)
        others = self.get_default_option_group(ctx, not self.option_groups)
        groups = {
            group.title: [_line(one, ctx) for one in group if not getattr(one, "rare", False)]
            for group in (*self.option_groups, others)
        }
        lines = [line for group in groups.values() for line in group]
        width = formatter.compute_col1_width(lines, formatter.col1_max_width)
        formatter.write("\n")
        for title, group in groups.items():
            if group:
                formatter.write_heading(title)
                with formatter.indentation():
                    formatter.write_dl(group, col1_width=width)

    def format_help_text(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what the command does; in the short help the first paragraph."""
        if not self._is_short(ctx):
            super().format_help_text(ctx, formatter)
            return
        formatter.write_paragraph()
        with formatter.indentation():
            formatter.write_text(inspect.cleandoc(self.help or "").partition("\n\n")[0])

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples and the exit codes; in the short help, the first and the own ones."""
        if not self._is_short(ctx):
            super().format_epilog(ctx, formatter)
            return
        assert isinstance(formatter, cloup.HelpFormatter)
        formatter.write_paragraph()
        formatter.write_epilog(_listed("Examples", self.examples[:_FEW_EXAMPLES]))
        formatter.write_epilog(_listed("Exit codes", _codes(self.codes)))

    def _is_short(self, ctx: click.Context) -> bool:
        return self.has_rare and not ctx.meta.get(_ALL)


class Group(cloup.Group):
    """A group of commands, with examples and exit codes."""

    command_class = Command

    def __init__(
        self,
        *arguments: Any,
        examples: Sequence[str] = (),
        codes: Mapping[int, str] | None = None,
        **attributes: Any,
    ) -> None:
        attributes.setdefault("context_settings", SETTINGS)
        super().__init__(*arguments, **attributes)
        self.examples = examples
        parts = [_listed("Examples", examples)] if examples else []
        self.epilog = "\n\n".join([*parts, exit_codes(codes or {})])


def command(name: str, **attributes: Any) -> Callable[[Callable[..., Any]], Command]:
    """Make a :class:`Command` of a function."""
    return click.command(name, cls=Command, **attributes)


def option(*names: str, **attributes: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add an :class:`Option` to a function."""
    return click.option(*names, cls=Option, **attributes)


def exit_codes(special: Mapping[int, str]) -> str:
    """The end of a help text: what each exit code of a command means."""
    return _listed("Exit codes", _codes({**_COMMON_CODES, **special}))


def _codes(codes: Mapping[int, str]) -> list[str]:
    return [f"{code:<3}  {meaning}" for code, meaning in sorted(codes.items())]


def _listed(title: str, lines: Sequence[str]) -> str:
    """A paragraph that click does not wrap."""
    return "\n".join(["\b", f"{title}:", *(f"  {line}" for line in lines)])


def _line(one: click.Option, ctx: click.Context) -> tuple[str, str]:
    names, text = one.get_help_record(ctx) or ("", "")
    return names, one.summary if isinstance(one, Option) else text


def _help_all() -> click.Option:
    return click.Option(
        ["--help-all"],
        is_flag=True,
        is_eager=True,
        expose_value=False,
        callback=_show_all,
        help="Show every option, example and exit code.",
    )


def _show_all(ctx: click.Context, parameter: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        ctx.meta[_ALL] = True
        click.echo(ctx.get_help(), color=ctx.color)
        ctx.exit()
