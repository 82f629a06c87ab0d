"""Typer's errors about a call that it does not understand, in the form of all other errors."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence

from typer.core import TyperGroup
from typer.exceptions import TyperException

from p2pqwen.cli.command_group import RUN
from p2pqwen.errors import UsageError

_ONE_AT_A_TIME = {
    "p2pqwen preserve": "one repository at a time; --watchlist FILE takes a list of several, and --org ORG a whole "
    "organisation's",
}
_UNIT_APART = re.compile(r"Got unexpected extra argument\(s\) \((?P<unit>[kMGTP]?i?B(?:/s)?)\)", re.IGNORECASE)
_SHOWN = 60  # characters
_GUESS = re.compile(r"\. Did you mean (?P<one>.+?)\??$| \(Possible options: (?P<several>.+)\)\.?$")
_NUMBER = re.compile(r"Input should be (a valid \w+)(, unable to parse .*)?")


def usage_error(error: TyperException, root: TyperGroup, given: Sequence[str]) -> UsageError:
    """Return the error to print: lower case, no full stop, and the help of that command as its hint.

    `root` is the group of all commands, `given` what was typed: an error of the parser does not name its command.
    """
    command = _command(root, given)
    hint = f"see `{command} --help`"
    what = _NUMBER.sub(r"expected \1", error.format_message().replace("Value error, ", ""))
    if what.startswith("Got unexpected extra argument") and command in _ONE_AT_A_TIME:
        hint = f"{_ONE_AT_A_TIME[command]}; {hint}"
    if (apart := _UNIT_APART.match(what)) is not None:
        hint = f"write the number and {apart['unit']} without a blank between them; {hint}"
    if (guess := _GUESS.search(what)) is not None:
        names = (guess["one"] or guess["several"]).split(", ")
        what, hint = what[: guess.start()], f"did you mean {' or '.join(names)}? {hint}"
    return UsageError(what[:1].lower() + what[1:].rstrip("."), hint=hint)


def _command(root: TyperGroup, given: Sequence[str]) -> str:
    """Return the command that was typed, with its groups, as far as it exists."""
    path, group = ["p2pqwen"], root
    for word in given:
        found = group.commands.get(RUN.get(word, word) if group is root else word)
        if found is None:
            break
        path.append(str(found.name))
        if not isinstance(found, TyperGroup):
            break
        group = found
    return " ".join(path)


def asks_for_help(error: TyperException) -> bool:
    """Tell whether only a group of commands was named, which prints its help."""
    return type(error).__name__ == "NoArgsIsHelpError"


def unusable_name(error: OSError) -> UsageError | None:
    """Return the error to print for a file name that no file system accepts; None for any other error.

    Every command may take what was typed for a file name.
    """
    if error.errno not in {errno.ENAMETOOLONG, errno.ELOOP}:
        return None
    name = os.fsdecode(error.filename)
    shown = name if len(name) <= _SHOWN else f"{name[:_SHOWN]}… ({len(name)} characters)"
    return UsageError(f"not a valid file name: {shown}", got=error.strerror)
