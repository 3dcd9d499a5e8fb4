"""A click group whose commands load when called, and the one place where errors become exit statuses."""

from __future__ import annotations

import difflib
import importlib
import keyword
import os
import sys
from typing import Any

import click

from ponder.errors import PonderError, unknown


class Group(click.Group):
    """`commands_about` maps a command's name to its one-line help; its module is ponder.cli.NAME,
    with a _ where the name is a word of Python (import_)."""

    def __init__(self, *arguments: Any, commands_about: dict[str, str], **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._about = commands_about

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self._about)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in self._about:
            return None
        stem = name.replace("-", "_")
        module = importlib.import_module(f"ponder.cli.{stem}_" if keyword.iskeyword(stem) else f"ponder.cli.{stem}")
        return module.command  # type: ignore[no-any-return]

    def resolve_command(self, context: click.Context, arguments: list[str]) -> Any:
        if arguments and arguments[0] not in self._about and not arguments[0].startswith("-"):
            raise unknown("command", arguments[0], self._about)
        return super().resolve_command(context, arguments)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(self._about.items()))


def guarded(command: click.Command, arguments: list[str] | None = None) -> int:
    """Runs a command. Any refusal is one line on stderr: 2 for usage, else the error's own status; 130 after Ctrl-C,
    1 for a broken pipe."""
    try:
        status = command.main(args=arguments, prog_name="ponder", standalone_mode=False)
        return status if isinstance(status, int) else 0
    except click.NoSuchOption as error:
        known = {name for p in error.ctx.command.params for name in p.opts} if error.ctx else set()
        near = difflib.get_close_matches(error.option_name, known, n=1, cutoff=0.5)
        hint = (
            f"did you mean {near[0]}?" if near else f"see `{error.ctx.command_path if error.ctx else 'ponder'} --help`"
        )
        return _say(f"unknown flag {error.option_name}; {hint}", 2)
    except click.ClickException as error:
        path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "ponder"
        return _say(f"{error.format_message().rstrip('.')}; see `{path} --help`", 2)
    except PonderError as error:
        return _say(str(error), error.exit_status)
    except (KeyboardInterrupt, click.Abort):
        return 130
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains once more at exit
        return 1


def _say(message: str, status: int) -> int:
    click.echo(f"ponder: {' '.join(message.split())}" if "\n" not in message else message, err=True)
    return status
