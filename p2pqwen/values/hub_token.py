"""A token of the Hugging Face Hub: what is around it in a file or a variable taken away, and never shown."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from p2pqwen.errors import UsageError

MAX_TOKEN = 4096
_TOKEN = re.compile(r"[\x21-\x7e]+")  # what a header can hold; the Hub's own are letters, digits and `_`
_AROUND = " \t\r\n\v\f\0\ufeff"


@dataclass(frozen=True, slots=True)
class HubToken:
    """A token, or none; `source` says where it comes from, and `raw` is what stood there."""

    raw: str = field(default="", repr=False)
    source: str = "HF_TOKEN"

    @property
    def trimmed(self) -> str:
        """Return it as it may stand in a header; raises nothing."""
        return self.raw.strip(_AROUND)

    def value(self) -> str | None:
        """Return the token, None where there is none; raises `UsageError` for what can be none, without showing it."""
        token = self.trimmed
        if len(token) > MAX_TOKEN or (token and not _TOKEN.fullmatch(token)):
            raise UsageError(
                f"{self.source} holds no token",
                expected=f"printable ASCII without blanks, at most {MAX_TOKEN} characters",
                got=f"{len(token)} characters, not shown",
            )
        return token or None
