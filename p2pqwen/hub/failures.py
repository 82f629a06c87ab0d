"""Translate errors of huggingface_hub and the network into ours, which say what the user can do."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterator
from contextlib import contextmanager

import httpx2
from huggingface_hub import constants
from huggingface_hub.errors import (
    DisabledRepoError,
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)
from huggingface_hub.utils._runtime import is_xet_available

from p2pqwen.errors import (
    ClosedError,
    DisabledError,
    DiskError,
    NetworkError,
    NotFoundError,
    NotShownError,
    P2pqwenError,
)
from p2pqwen.tls_error import tls_words

_HINT_TOKEN = "if it is private or gated, set HF_TOKEN to a token that can read it"  # noqa: S105 - a hint, no secret
_HINT_NAME = f"check the name; {_HINT_TOKEN}"
_HINT_TERMS = "accept its terms on the Hub, then set HF_TOKEN to a token of that account"
_ERRNO = re.compile(r"\[Errno -?\d+\] ?")
_NETWORK_ERRNOS = frozenset(
    {errno.ECONNREFUSED, errno.ECONNRESET, errno.EPIPE, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH}
)


@contextmanager
def translated(what: str, *, endpoint: str, with_token: bool) -> Iterator[None]:
    """Translate the block's errors; `what` names the thing asked for, such as `Qwen/Qwen3-0.6B`."""
    try:
        yield
    except P2pqwenError:
        raise
    except Exception as error:
        raise translate(error, what, endpoint=endpoint, with_token=with_token) from error


def translate(error: BaseException, what: str, *, endpoint: str, with_token: bool) -> P2pqwenError:
    """Return our error for this one."""
    if isinstance(error, LocalEntryNotFoundError) and error.__cause__ is not None:
        # "not in the cache either": the cause says why the Hub did not answer
        return translate(error.__cause__, what, endpoint=endpoint, with_token=with_token)
    if isinstance(error, OfflineModeIsEnabled):
        return NetworkError(f"cannot ask {endpoint} for {what}: offline mode", hint="unset HF_HUB_OFFLINE")
    if (said := tls_words(error)) is not None:
        return NetworkError(f"no secure connection to {endpoint} for {what}", got=said)
    if isinstance(error, HfHubHTTPError):
        return _of_answer(error, what, with_token=with_token)
    if isinstance(error, (httpx2.HTTPError, httpx2.InvalidURL, FileMetadataError, LocalEntryNotFoundError)):
        return NetworkError(
            f"no usable answer from {endpoint} for {what}", got=_one_line(error) or type(error).__name__
        )
    if isinstance(error, OSError):
        return _of_system(error, what, endpoint)
    if isinstance(error, ValueError) and "too large to be downloaded" in str(error):
        return P2pqwenError(
            f"{what} is more than 50 GB, which the Hub serves through Xet only",
            hint=_xet_hint(),
        )
    return NetworkError(f"{endpoint} does not answer as a Hub does for {what}", got=_one_line(error))


def _xet_hint() -> str | None:
    if constants.HF_HUB_DISABLE_XET:
        return "unset HF_HUB_DISABLE_XET, which switches Xet off"
    if is_xet_available():
        return None
    return "install hf_xet into the same environment: pip install hf_xet"


def is_of_disk(error: BaseException) -> bool:
    """Tell whether the disk is to blame: then another way to the bytes would not help."""
    if not isinstance(error, OSError) or isinstance(error, (ConnectionError, TimeoutError)):
        return False
    return error.errno is not None and error.errno not in _NETWORK_ERRNOS


def _of_answer(error: HfHubHTTPError, what: str, *, with_token: bool) -> P2pqwenError:
    status = error.response.status_code
    said = error.server_message or error.response.headers.get("X-Error-Message") or f"status {status}"
    if isinstance(error, GatedRepoError):
        return ClosedError(f"{what} is gated", got=_one_line(said), hint=_HINT_TERMS)
    if isinstance(error, RevisionNotFoundError):
        return NotShownError(f"the Hub has no such revision of {what}", got=_one_line(said))
    if isinstance(error, DisabledRepoError):
        return DisabledError(f"{what} is disabled: the Hub no longer serves it", got=_one_line(said))
    if isinstance(error, RemoteEntryNotFoundError):
        return NotFoundError(f"the Hub no longer serves {what}", got=_one_line(said))
    if isinstance(error, RepositoryNotFoundError) or (status == 401 and not with_token):
        # Without a token, the Hub answers 401 both for what does not exist and for what is private. Its message,
        # "Invalid username or password", fits neither.
        hint = None if with_token else _HINT_NAME
        return NotShownError(f"the Hub shows no {what}: not found, or private", hint=hint)
    if status in {401, 403}:
        refused = "check that HF_TOKEN is valid and can read it" if with_token else _HINT_TOKEN
        return P2pqwenError(f"the Hub refuses {what}", got=_one_line(said), hint=refused)
    if status in {404, 410}:
        return NotFoundError(f"the Hub no longer serves {what}", got=_one_line(said))
    hint = "the Hub's rate limit is reached; try again in a few minutes" if status == 429 else None
    return NetworkError(f"the Hub cannot serve {what} now", got=f"status {status}, {_one_line(said)}", hint=hint)


def _of_system(error: OSError, what: str, endpoint: str) -> P2pqwenError:
    if isinstance(error, (ConnectionError, TimeoutError)) or error.errno in _NETWORK_ERRNOS:
        return NetworkError(f"no usable answer from {endpoint} for {what}", got=_one_line(error))
    if error.errno is None:  # huggingface_hub's own: the body was shorter or longer than announced
        return NetworkError(f"the download of {what} is corrupt", got=_one_line(error))
    return DiskError(f"cannot store {what}", got=error.strerror or str(error))


def _one_line(value: object) -> str:
    """Return the first line of another library's message, without `[Errno N]`."""
    return _ERRNO.sub("", str(value).strip().partition("\n")[0])[:200]
