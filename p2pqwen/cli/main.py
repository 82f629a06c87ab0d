"""Join the commands; one `except`; exit."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from typing import Annotated

import typer
from typer.exceptions import TyperException

from p2pqwen import __version__, errors
from p2pqwen.cli import exit_codes
from p2pqwen.cli.output import give_up_stdout, prepare_streams, print_error, print_interrupted, unwritten
from p2pqwen.cli.usage_error import asks_for_help, usage_error
from p2pqwen.cli.utf8 import names_are_utf8, start_again

app = typer.Typer(
    name="p2pqwen",
    help="Keep open-weight models alive: signed torrents, a signed magnet index, peers that seed and fetch.",
    epilog=f"{exit_codes.HELP}\n\nAn option whose value is shown with … may be given more than once.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

# One module for each command group, in the order a newcomer meets them; each has `register(app)`.
_GROUPS = (
    "preserve", "keys", "publish", "trust", "index", "search", "fetch", "seed", "status", "health", "adopt",
    "rebalance", "verify", "torrent", "webseed", "list", "remove", "upstream", "library", "export", "pause",
    "priority", "pin", "limits", "service", "doctor", "demo", "help",
)  # fmt: skip


def _version(value: bool) -> None:
    if value:
        typer.echo(f"p2pqwen {__version__}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Keep open-weight models alive: signed torrents, a signed magnet index, peers that seed and fetch."""


for _group in _GROUPS:
    importlib.import_module(f"p2pqwen.cli.{_group}").register(app)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return its exit code; the only place where errors become words and codes."""
    if arguments is None and not names_are_utf8():
        start_again()
    given = list(sys.argv[1:] if arguments is None else arguments)
    as_json = "--json" in given
    prepare_streams()
    try:
        code = app(given, prog_name="p2pqwen", standalone_mode=False)
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
