"""Join the commands; one `except`; exit."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache
from typing import Annotated

import typer
from typer.core import TyperGroup
from typer.exceptions import TyperException
from typer.main import get_group

from p2pqwen import errors
from p2pqwen.cli import exit_codes
from p2pqwen.cli.command_group import Commands
from p2pqwen.cli.output import give_up_stdout, prepare_streams, print_error, print_interrupted, unwritten
from p2pqwen.cli.typed import as_command, asked
from p2pqwen.cli.usage_error import asks_for_help, unusable_name, usage_error
from p2pqwen.cli.utf8 import names_are_utf8, start_again
from p2pqwen.errors import UsageError

_PURPOSE = "Keep open-weight models alive: signed torrents, a signed magnet index, peers that seed and fetch."

# Every command and group by the panel of `--help` that shows it, with its text there. The module of the same name has
# its `register(app)`, and is imported only when the command is used: `--help` imports none of them.
PANELS = {
    "Get models": {
        "search": "Search what the trusted publishers list.",
        "fetch": "Fetch a model from peers and web seeds, and verify it.",
        "hub": "Stand in the Hub's place for programs that follow HF_ENDPOINT.",
        "run": "Run a command that takes its models from here.",
        "verify": "Re-hash every file, and check manifest and signatures.",
        "list": "List the snapshots in the library.",
        "remove": "Delete a snapshot from the library.",
        "export": "Write a held model as plain files, for other programs.",
        "trust": "Choose which publishers to trust.",
        "index": "Verify, show, compare and update indexes.",
    },
    "Keep models alive": {
        "preserve": "Make a verified copy and a torrent of a model, or of many.",
        "seed": "Run the node: serve the library to others until stopped.",
        "pause": "Neither fetch nor serve a snapshot until `resume`.",
        "resume": "Resume a paused snapshot.",
        "priority": "Set which snapshots are fetched first.",
        "pin": "Keep a snapshot until `unpin`, whatever happens.",
        "unpin": "Let a pinned snapshot be given up or removed again.",
        "limits": "Show or change rates, hours and the monthly quota.",
        "adopt": "Fetch what the archive needs most, within a budget.",
        "rebalance": "Replace well-kept snapshots by endangered ones.",
        "library": "The snapshots on this disk: import, move, scrub.",
    },
    "Publish": {
        "publish": "Sign what the library holds as an index, and write the site.",
        "keys": "Make, show and hand over a publisher's keys.",
        "torrent": "Inspect .torrent files.",
        "webseed": "Check web seeds.",
    },
    "Look after a node": {
        "status": "Show the node, and the state of each snapshot.",
        "dashboard": "Open the page that shows the running node.",
        "alerts": "See what is wrong, and who is told.",
        "health": "Show how many copies of each snapshot others hold.",
        "doctor": "Diagnose problems, and say how to fix them.",
        "demo": "Watch a tiny model survive its host, on this machine only.",
        "completion": "Complete commands, options and model names with TAB.",
        "help": "Read the manual.",
        "upstream": "Check whether the Hub still has the snapshots.",
        "service": "Run the node as a systemd user service.",
    },
}


class _Root(Commands):
    panels = PANELS


app = typer.Typer(
    name="p2pqwen",
    cls=_Root,
    help=_PURPOSE,
    epilog=f"{exit_codes.HELP}\n\nAn option whose value is shown with … may be given more than once.\n\n"
    "`p2pqwen COMMAND --help` explains a command, `p2pqwen help` opens the manual.",
    no_args_is_help=True,
    invoke_without_command=True,
    add_completion=False,  # its two options are below: typer's own would make every command import pydantic
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def _common(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    json_output: Annotated[bool, typer.Option("--json", help="With --version: print one JSON object.")] = False,
    install_completion: Annotated[
        bool, typer.Option("--install-completion", help="Install completion for the current shell.")
    ] = False,
    show_completion: Annotated[
        bool,
        typer.Option(
            "--show-completion",
            help="Show completion for the current shell, to copy it or customize the installation.",
        ),
    ] = False,
) -> None:
    """Keep open-weight models alive: signed torrents, a signed magnet index, peers that seed and fetch."""
    if install_completion or show_completion:  # on its own it became `completion` (see `typed`)
        option = "--install-completion" if install_completion else "--show-completion"
        raise UsageError(f"{option} stands alone", hint="see `p2pqwen completion --help`")
    if version:
        from p2pqwen.cli.version import print_version

        print_version(as_json=json_output)
        raise typer.Exit
    if json_output:
        command = context.invoked_subcommand or "COMMAND"
        raise UsageError("--json belongs after the command", hint=f"p2pqwen {command} --json")
    if context.invoked_subcommand is None:
        raise UsageError("missing command", hint="see `p2pqwen --help`")


@cache
def commands() -> TyperGroup:
    """Return typer's group, made once: making it takes longer than most commands do."""
    return get_group(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code."""
    if arguments is None:
        if not names_are_utf8():
            start_again()
        if (line := asked()) is not None:
            from p2pqwen.cli.completion import answer

            return answer(app, line)
    return _run(as_command(list(sys.argv[1:] if arguments is None else arguments)))


def _run(given: list[str]) -> int:
    """Run a command; the only place where errors become messages and exit codes."""
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
            print_error(usage_error(error, commands(), given), code=code, as_json=as_json)
    except (KeyboardInterrupt, typer.Abort):
        code = exit_codes.INTERRUPTED
    except BrokenPipeError:
        # The reader of our stdout has gone (`| head`): there is nothing left to print.
        give_up_stdout()
        return exit_codes.FAILED
    except OSError as error:
        if error.filename is None:
            give_up_stdout()  # help and version, which typer prints
            said: errors.P2pqwenError = unwritten(error)
        elif (unusable := unusable_name(error)) is not None:
            said = unusable
        else:
            raise
        code = exit_codes.exit_code(said)
        print_error(said, code=code, as_json=as_json)
    if code == exit_codes.INTERRUPTED:  # typer turns Ctrl-C into this code too
        print_interrupted(as_json=as_json)
        exit_codes.leave_at_once(code)
    return code if isinstance(code, int) else exit_codes.DONE
