"""What hf_xet 1.8.0 says, word for word, and what a person is told."""

from __future__ import annotations

import errno

import pytest

from p2pqwen.hub.xet_job import XetFailedError, failure

BEFORE = "RuntimeError: Task error: File reconstruction error: CAS Client Error: "
HASH = "4f638ee03edada117db6e6a249edb98c424b16b47ccd4eae4824de210226bc0a"
CASES = [
    (
        f"Request error: HTTP status client error (401 Unauthorized), domain: http://cas.example:8/v2/reconstructions/{HASH}",
        "cas.example:8 answered 401 Unauthorized",
        True,
    ),
    (
        f"Request error: HTTP status client error (403 Forbidden), domain: https://cas.example/v1/reconstructions/{HASH}",
        "cas.example answered 403 Forbidden",
        True,
    ),
    (
        f"Request error: HTTP status client error (403 Forbidden), domain: https://s3.example/xorbs/default/{HASH}",
        "s3.example answered 403 Forbidden",
        False,
    ),
    (
        f"Request error: HTTP status server error (503 Service Unavailable), domain: https://s3.example/xorbs/{HASH}",
        "s3.example answered 503 Service Unavailable",
        False,
    ),
    (
        f"Request middleware error: error sending request for url (https://cas.example/v2/reconstructions/{HASH})",
        "no answer from cas.example",
        False,
    ),
    (
        "Format error: Malformed data: chunk header version too high at 255, current version is 0",
        "Malformed data: chunk header version too high at 255, current version is 0",
        False,
    ),
    ("Format error: I/O error: unexpected end of file", "unexpected end of file", False),
    ("Request error: error decoding response body, domain: no-url", "error decoding response body", False),
]


@pytest.mark.parametrize(("said", "told", "refused"), CASES)
def test_words(said, told, refused):
    found = failure(BEFORE + said)
    assert isinstance(found, XetFailedError)
    assert found.cause.startswith(told)
    assert found.refused is refused
    assert "Task error" not in found.cause


def test_an_end_without_a_reason_may_be_a_refused_token():
    found = failure("EOFError: 0 of 2097152 bytes came")
    assert isinstance(found, XetFailedError)
    assert found.refused


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("RuntimeError: I/O error: No space left on device (os error 28)", None),
        ("OSError: [Errno 28] No space left on device", errno.ENOSPC),
    ],
)
def test_a_full_disk(said, number):
    found = failure(said, number)
    assert isinstance(found, OSError)
    assert found.errno == errno.ENOSPC
