"""File names are UTF-8 wherever a snapshot is, whatever the locale says.

The names in a torrent are UTF-8, and libtorrent writes them so. Where Python reads names in another encoding it would
preserve what nobody called so, and look for files under names that they do not have. PEP 540 has a mode for that, which
must be chosen before Python starts; so the program starts again, once.
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
    """Start this program again with UTF-8 names; what is printed keeps the locale's encoding."""
    sys.stdout.flush()
    environment = {**os.environ, "PYTHONUTF8": "1"}
    environment.setdefault("PYTHONIOENCODING", f"{locale.getencoding()}:backslashreplace")
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], environment)  # noqa: S606 - ourselves
