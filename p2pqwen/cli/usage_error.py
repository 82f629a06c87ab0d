"""What typer says of a call it does not understand, in the words and the form of every other error."""

from __future__ import annotations

from typer.exceptions import TyperException

from p2pqwen.errors import UsageError

_ONE_AT_A_TIME = {
    "preserve": "one repository at a time; several go into a list, --watchlist FILE, and --org ORG takes a whole one's",
}


def usage_error(error: TyperException) -> UsageError:
    """Return the error to print: lower case, no full stop, and the help of the very command as its hint."""
    context = getattr(error, "ctx", None)
    hint = f"see `{'p2pqwen' if context is None else context.command_path} --help`"
    what, _, guess = error.format_message().replace("Value error, ", "").partition(". Did you mean ")
    if what.startswith("Got unexpected extra argument") and context is not None and context.info_name is not None:
        hint = f"{_ONE_AT_A_TIME[context.info_name]}; {hint}" if context.info_name in _ONE_AT_A_TIME else hint
    if guess:
        hint = f"did you mean {guess.rstrip('?')}? {hint}"
    return UsageError(what[:1].lower() + what[1:].rstrip("."), hint=hint)


def asks_for_help(error: TyperException) -> bool:
    """Whether a group of commands was named alone, which is answered with its help."""
    return type(error).__name__ == "NoArgsIsHelpError"
