"""A published site's place: an index file, the folder that holds it, or a web address of either."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from p2pqwen.errors import FormatError, UsageError
from p2pqwen.index.document import INDEX_FILE
from p2pqwen.user_path import user_path
from p2pqwen.values.web_url import check_web_url

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://", re.ASCII)


@dataclass(frozen=True, slots=True)
class Location:
    """One place; `text` is a web address or an absolute path."""

    text: str

    @classmethod
    def of_user(cls, text: str) -> Location:
        """Read what a user typed: a URL, or a path relative to here; raises `UsageError`."""
        if not text:
            raise UsageError("no place is named", expected="a file, a folder or a URL")
        if _SCHEME.match(text):
            try:
                return cls(check_web_url(text))
            except FormatError as error:
                raise UsageError(error.what, expected="a file, a folder or a plain URL", got=error.got) from error
        return cls(str(user_path(text, "the index's place").absolute()))

    @property
    def index(self) -> str:
        """The URL or path of the index file."""
        if is_web(self.text):
            return self.text if self.text.endswith(".json") else self.text.rstrip("/") + "/" + INDEX_FILE
        path = Path(self.text)
        return str(path / INDEX_FILE if path.is_dir() else path)

    def beside(self, relative: str) -> str:
        """Return the URL or path of a file that is named relative to the index."""
        return self.index.rpartition("/")[0] + "/" + relative


def is_web(text: str) -> bool:
    """Tell a web address from a path."""
    return text.lower().startswith(("http://", "https://"))
