"""The jobs, the environment and the error messages of the hf_xet process."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

STALL_SECONDS = 15.0
"""A transfer fails after this long without a byte."""
BUFFER = 200_000_000
"""The most bytes that one process holds until they are written; it takes about 30 MB beside them.

This is room for 3 answers of the store, of at most 64 MiB each: one is written while two are in flight. With room for
only one, the line was idle for a tenth of the time.
"""
# Kept from the process, which reaches one repository's store, by a token for that store only.
_SECRETS = re.compile(r"HF_TOKEN|HUGGING_FACE_HUB_TOKEN|P2PQWEN_PASSPHRASE|.*_(TOKEN|SECRET|PASSWORD|PASSPHRASE)")
_PREFIX = "HF_XET_"
_SETTINGS = {  # hf_xet's, without the prefix
    "TELEMETRY_ENABLED": "0",
    "RECONSTRUCTION_DOWNLOAD_BUFFER_SIZE": f"{BUFFER // 1_000_000}mb",
    "RECONSTRUCTION_DOWNLOAD_BUFFER_PERFILE_SIZE": "1mb",
    "RECONSTRUCTION_DOWNLOAD_BUFFER_LIMIT": f"{BUFFER // 1_000_000}mb",
    # hf_xet's defaults are minutes, but the file can come over plain HTTP.
    "CLIENT_CONNECT_TIMEOUT": "10s",
    "CLIENT_READ_TIMEOUT": "14s",
    "CLIENT_RETRY_MAX_ATTEMPTS": "3",
    "CLIENT_RETRY_BASE_DELAY": "500ms",
    "CLIENT_RETRY_MAX_DURATION": "5s",
    "LOG_DIR_MAX_SIZE": "4mb",
    "LOG_DIR_MIN_DELETION_AGE": "60s",
    "LOG_DIR_MAX_RETENTION_AGE": "3d",
}
_STATUS = re.compile(r"HTTP status \w+ error \((\d{3}) ?([^)]*)\).*?https?://([^/\s\"]+)(/[^\s\"]*)?")
_UNSENT = re.compile(r"error sending request for url \(https?://([^/\s)]+)")
_ENDED = re.compile(r"EOFError: (\d+ of \d+ bytes came)")
_ERRNO = re.compile(r"\(os error (\d+)\)")
_OF_DISK = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EFBIG, errno.EMFILE}
)


@dataclass(frozen=True, slots=True)
class XetAccess:
    """The store's URL, and a token for one repository in it, valid until `expires` (Unix time)."""

    cas: str
    token: str
    expires: int


@dataclass(frozen=True, slots=True)
class XetFile:
    """A file as the store knows it, and the path to write it to."""

    hash: str
    size: int
    target: Path


class XetFailedError(Exception):
    """Xet did not deliver a file. `cause` is a message for people; `refused`: the token was, or may be, refused."""

    def __init__(self, cause: str, *, refused: bool = False) -> None:
        super().__init__(cause)
        self.cause, self.refused = cause, refused


def environment_of(inherited: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the environment of hf_xet's process, which puts its logs and its cache in `folder`."""
    places = {"LOG_DEST": f"{folder / 'logs'}{os.sep}", "CACHE": str(folder / "cache")}
    ours = {f"{_PREFIX}{name}": value for name, value in (_SETTINGS | places).items()}
    kept = {name: value for name, value in inherited.items() if not _SECRETS.fullmatch(name)}
    return kept | ours | {"RUST_LOG": "warn"}


def failure(text: str, number: int | None = None) -> XetFailedError | OSError:
    """Translate hf_xet's error; an `OSError` is about our disk."""
    if (match := _STATUS.search(text)) is not None:
        status, reason, host, path = match.groups()
        refused = status in {"401", "403"} and "/reconstructions/" in (path or "")
        return XetFailedError(f"{host} answered {status} {reason}".rstrip(), refused=refused)
    if (match := _ENDED.search(text)) is not None:
        return XetFailedError(f"{match[1]}, without a reason", refused=True)  # possibly; a fresh token will tell
    if (match := _UNSENT.search(text)) is not None:
        return XetFailedError(f"no answer from {match[1]}")
    if (match := _ERRNO.search(text)) is not None:
        number = int(match[1])
    if number in _OF_DISK:
        return OSError(number, os.strerror(number))
    # The rest is about the received data: "…: Format error: chunk header version too high at 255".
    return XetFailedError(text.rpartition("rror: ")[2].partition("\n")[0][:200] or "no reason given")
