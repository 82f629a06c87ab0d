"""Each thing that huggingface_hub, the network or the disk may raise, and the error of ours it becomes."""

from __future__ import annotations

import errno
import json

import httpx2
import pytest
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

from p2pqwen.errors import (
    ClosedError,
    DisabledError,
    DiskError,
    NetworkError,
    NotFoundError,
    NotShownError,
    P2pqwenError,
    VerificationError,
)
from p2pqwen.hub import failures
from p2pqwen.hub.failures import translate, translated


def answered(kind, status):
    request = httpx2.Request("GET", "http://127.0.0.1/api/models/Qwen/X")
    return kind("it failed", response=httpx2.Response(status, request=request))


def caused(cause):
    error = LocalEntryNotFoundError("not in the cache either")
    error.__cause__ = cause
    return error


CASES = [
    ("unknown repository", answered(RepositoryNotFoundError, 404), NotShownError, None),
    ("unknown revision", answered(RevisionNotFoundError, 404), NotShownError, None),
    ("file gone", answered(RemoteEntryNotFoundError, 404), NotFoundError, None),
    ("disabled", answered(DisabledRepoError, 403), DisabledError, None),
    ("gated", answered(GatedRepoError, 403), ClosedError, "terms"),
    ("bad token", answered(HfHubHTTPError, 401), P2pqwenError, "HF_TOKEN"),
    ("forbidden", answered(HfHubHTTPError, 403), P2pqwenError, "HF_TOKEN"),
    ("gone", answered(HfHubHTTPError, 410), NotFoundError, None),
    ("somebody's 404", answered(HfHubHTTPError, 404), NotFoundError, None),
    ("busy", answered(HfHubHTTPError, 429), NetworkError, "minutes"),
    ("broken", answered(HfHubHTTPError, 500), NetworkError, None),
    ("range refused", answered(HfHubHTTPError, 416), NetworkError, None),
    ("offline", OfflineModeIsEnabled("HF_HUB_OFFLINE"), NetworkError, "HF_HUB_OFFLINE"),
    ("no connection", httpx2.ConnectError("refused"), NetworkError, None),
    ("silence", httpx2.ReadTimeout(""), NetworkError, None),
    ("loop", httpx2.TooManyRedirects("20"), NetworkError, None),
    ("bad address", httpx2.InvalidURL("no host"), NetworkError, None),
    ("cause of a cache miss", caused(httpx2.ConnectError("refused")), NetworkError, None),
    ("gated behind a cache miss", caused(answered(GatedRepoError, 401)), ClosedError, "terms"),
    ("not a Hub", FileMetadataError("missing the 'X-Repo-Commit' header"), NetworkError, None),
    ("a page, not JSON", json.JSONDecodeError("Expecting value", "<html>", 0), NetworkError, None),
    ("JSON of another kind", TypeError("unexpected keyword"), NetworkError, None),
    ("wrong length", OSError("Consistency check failed: file should be of size 1"), NetworkError, None),
    ("connection reset", ConnectionResetError(errno.ECONNRESET, "reset"), NetworkError, None),
    ("disk full", OSError(errno.ENOSPC, "No space left on device"), DiskError, None),
    ("read-only", OSError(errno.EROFS, "Read-only file system"), DiskError, None),
    ("larger than 50 GB", ValueError("The file is too large to be downloaded using"), P2pqwenError, None),
]


@pytest.mark.parametrize(("error", "kind", "hint"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_translation(error, kind, hint):
    with pytest.raises(P2pqwenError) as caught, translated("Qwen/X", endpoint="http://hub", with_token=True):
        raise error
    assert type(caught.value) is kind
    assert "Qwen/X" in caught.value.message
    assert "\n" not in caught.value.message
    assert hint is None or hint in (caught.value.hint or "")
    assert caught.value.__cause__ is error


@pytest.mark.parametrize(
    ("switched_off", "installed", "hint"),
    [
        (False, True, None),
        (True, True, "unset HF_HUB_DISABLE_XET, which switches Xet off"),
        (True, False, "unset HF_HUB_DISABLE_XET, which switches Xet off"),
        (False, False, "install hf_xet into the same environment: pip install hf_xet"),
    ],
)
def test_nobody_is_told_to_install_what_is_there(monkeypatch, switched_off, installed, hint):
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", switched_off)
    monkeypatch.setattr(failures, "is_xet_available", lambda: installed and not switched_off)
    error = ValueError("The file is too large to be downloaded using")
    assert translate(error, "Qwen/X", endpoint="http://hub", with_token=True).hint == hint


def test_strangers_are_told_about_tokens_and_that_it_may_not_exist():
    found = translate(answered(HfHubHTTPError, 401), "Qwen/X", endpoint="http://hub", with_token=False)
    assert type(found) is NotShownError
    assert found.message == "the Hub shows no Qwen/X: not found, or private"
    assert "HF_TOKEN" in (found.hint or "")


def test_our_own_errors_pass_unchanged():
    error = VerificationError("wrong")
    with pytest.raises(VerificationError) as caught, translated("Qwen/X", endpoint="http://hub", with_token=False):
        raise error
    assert caught.value is error
