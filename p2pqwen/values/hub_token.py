"""A token of the Hugging Face Hub: stripped of the blanks around it, and never shown."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from p2pqwen.errors import UsageError

MAX_TOKEN = 4096
_TOKEN = re.compile(r"[\x21-\x7e]+")  # what a header can hold; the Hub's tokens are letters, digits and `_`
_AROUND = " \t\r\n\v\f\0\ufeff"


@dataclass(frozen=True, slots=True)
class HubToken:
    """A token, or none; `raw` is the text in its `source`."""

    raw: str = field(default="", repr=False)
    source: str = "HF_TOKEN"

    @property
    def trimmed(self) -> str:
        """Return the text without surrounding blanks; raises nothing."""
        return self.raw.strip(_AROUND)

    def value(self) -> str | None:
        """Return the token, None if it is empty; raises `UsageError`, without showing it, for an invalid one."""
        token = self.trimmed
        if len(token) > MAX_TOKEN or (token and not _TOKEN.fullmatch(token)):
            raise UsageError(
                f"{self.source} holds no token",
                expected=f"printable ASCII without blanks, at most {MAX_TOKEN} characters",
                got=f"{len(token)} characters, not shown",
            )
        return token or None
