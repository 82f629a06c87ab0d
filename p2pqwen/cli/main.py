"""Join the commands; one `except`; exit."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Annotated

import typer
from typer.exceptions import TyperException
from typer.main import get_command

from p2pqwen import errors
from p2pqwen.cli import exit_codes
from p2pqwen.cli.command_group import Commands
from p2pqwen.cli.completion import answer, as_command, asked
from p2pqwen.cli.output import give_up_stdout, prepare_streams, print_error, print_interrupted, unwritten
from p2pqwen.cli.usage_error import asks_for_help, usage_error
from p2pqwen.cli.utf8 import names_are_utf8, start_again
from p2pqwen.cli.version import print_version
from p2pqwen.errors import UsageError

if TYPE_CHECKING:
    from typer._click.core import Command

_PURPOSE = "Keep open-weight models alive: signed torrents, a signed magnet index, peers that seed and fetch."

app = typer.Typer(
    name="p2pqwen",
    cls=Commands,
    help=_PURPOSE,
    epilog=f"{exit_codes.HELP}\n\nAn option whose value is shown with … may be given more than once.\n\n"
    "`p2pqwen COMMAND --help` explains a command, `p2pqwen help` opens the manual.",
    no_args_is_help=True,
    invoke_without_command=True,
    add_completion=True,  # its two options, which `completion` carries out, and its search for candidates
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# One module for each command or group of commands, by the panel of `--help` that shows it; each has `register(app)`.
PANELS = {
    "Get models": ("search", "fetch", "hub", "run", "verify", "list", "remove", "export", "trust", "index"),
    "Keep models alive": ("preserve", "seed", "pause", "priority", "pin", "limits", "adopt", "rebalance", "library"),
    "Publish": ("publish", "keys", "torrent", "webseed"),
    "Look after a node": (
        "status",
        "dashboard",
        "alerts",
        "health",
        "upstream",
        "doctor",
        "service",
        "demo",
        "completion",
        "help",
    ),
}


@app.callback()
def _common(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="With --version: print one JSON object.")] = False,
) -> None:
    """Keep open-weight models alive: signed torrents, a signed magnet index, peers that seed and fetch."""
    if version:
        print_version(as_json=json_output)
        raise typer.Exit
    if json_output:
        command = context.invoked_subcommand or "COMMAND"
        raise UsageError("--json belongs after the command", hint=f"p2pqwen {command} --json")
    if context.invoked_subcommand is None:
        raise UsageError("missing command", hint="see `p2pqwen --help`")


def _register() -> None:
    for panel, modules in PANELS.items():
        for module in modules:
            before = len(app.registered_commands), len(app.registered_groups)
            importlib.import_module(f"p2pqwen.cli.{module}").register(app)
            for command in app.registered_commands[before[0] :]:
                command.rich_help_panel = panel
            for group in app.registered_groups[before[1] :]:
                group.rich_help_panel = panel


_register()


@cache
def commands() -> Command:
    """Return what typer makes of the functions, made once: that takes longer than most commands do."""
    return get_command(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    if arguments is None:
        if not names_are_utf8():
            start_again()
        if (line := asked()) is not None:
            return answer(app, line)
    return _run(as_command(list(sys.argv[1:] if arguments is None else arguments)))


def _run(given: list[str]) -> int:
    """Run a command; the only place where errors become words and codes."""
    as_json = "--json" in given
    prepare_streams()
    try:
        code = commands()(given, prog_name="p2pqwen", standalone_mode=False)
    except errors.P2pqwenError as error:
        code = exit_codes.exit_code(error)
        print_error(error, code=code, as_json=as_json)
    except TyperException as error:
        code = exit_codes.USAGE
        if asks_for_help(error):
            typer.echo(error.format_message(), err=True)
        else:
            print_error(usage_error(error), code=code, as_json=as_json)
    except (KeyboardInterrupt, typer.Abort):
        code = exit_codes.INTERRUPTED
    except BrokenPipeError:
        # The reader of our stdout has gone (`| head`): nothing is left to say.
        give_up_stdout()
        return exit_codes.FAILED
    except OSError as error:
        if error.filename is not None:
            raise
        give_up_stdout()  # help and version, which typer prints
        code = exit_codes.exit_code(unwritten(error))
        print_error(unwritten(error), code=code, as_json=as_json)
    if code == exit_codes.INTERRUPTED:  # typer makes Ctrl-C this code, too
        print_interrupted(as_json=as_json)
        exit_codes.leave_at_once(code)
    return code if isinstance(code, int) else exit_codes.DONE
