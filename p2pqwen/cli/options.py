"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

JsonFlag = Annotated[
    bool, typer.Option("--json", help="Print one JSON object on stdout; progress and messages go to stderr.")
]
QuietFlag = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print warnings and errors only, for cron: no result and no progress.")
]
