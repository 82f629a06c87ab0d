"""Make file names UTF-8, whatever the locale says.

The names in a torrent are UTF-8, and libtorrent writes them so. In another encoding, Python would preserve files under
wrong names, and look for files under names that they do not have. PEP 540's UTF-8 mode prevents that, but must be
chosen before Python starts; so the program restarts itself once.
"""

from __future__ import annotations

import locale
import os
import sys
from typing import NoReturn

_UTF8 = frozenset({"utf-8", "utf8"})


def names_are_utf8() -> bool:
    """Tell whether file names are read and written as UTF-8 here."""
    return sys.getfilesystemencoding().lower() in _UTF8


def start_again() -> NoReturn:
    """Restart this program with UTF-8 names; output keeps the locale's encoding."""
    sys.stdout.flush()
    environment = {**os.environ, "PYTHONUTF8": "1"}
    environment.setdefault("PYTHONIOENCODING", f"{locale.getencoding()}:backslashreplace")
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606 - ourselves
