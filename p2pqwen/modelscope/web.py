"""HTTP to one ModelScope: guards every request and redirect, sends the token only to its host, limits answers.

ModelScope's answers are JSON, refusals included: `{"Code": …, "Message": …, "Success": false}`. A 404 without that body
does not come from ModelScope and is no evidence that something is gone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cached_property
from http import HTTPStatus
from typing import Any

import httpx2

from p2pqwen.errors import ClosedError, FormatError, NetworkError, NotFoundError, NotShownError, P2pqwenError
from p2pqwen.net.httpx_guard import guarded_client
from p2pqwen.tls_error import check_authorities, tls_words
from p2pqwen.values.named_hosts import Guard, NamedHosts
from p2pqwen.values.printable_text import printable
from p2pqwen.values.rate_limit import retry_after

MAX_ANSWER = 64 << 20
"""The most bytes of one JSON answer: a listing has at most 3,000 rows of a few hundred bytes."""
ATTEMPTS = 4
LONGEST_WAIT = 60.0
WORTH_TELLING = 5.0
SILENCE_SECONDS = 30.0
ANSWER_SECONDS = 120.0
_TRANSIENT = frozenset({429, 500, 502, 503, 504})
_CLOSED = frozenset({401, 403})
_EXPIRED = frozenset({403, 410})  # what content delivery answers once a signed URL has expired
_MAX_REFUSAL = 64 << 10


class BusyError(NetworkError):
    """The server cannot answer now; `wait` is how many seconds it asks for, None if it does not say."""

    def __init__(self, what: str, *, got: object, wait: float | None) -> None:
        super().__init__(what, got=got)
        self.wait = wait


class ModelScopeWeb:
    """One ModelScope over HTTP; usable from several threads. Raises only our errors."""

    def __init__(self, endpoint: str, token: str | None, named: NamedHosts) -> None:
        self.endpoint = endpoint.rstrip("/")
        self.waits: Callable[[float], None] = lambda _: None
        self._token = token
        self._guard = Guard(named)

    @cached_property
    def _client(self) -> httpx2.Client:  # noqa: TID251 - as the guard makes it
        check_authorities()
        return guarded_client(lambda: self._guard, [self._before_request])

    def _before_request(self, request: httpx2.Request) -> None:
        if not self._is_own(request.url):
            request.headers.pop("authorization", None)

    def json(self, path: str, query: Mapping[str, str], what: str) -> Any:  # noqa: ANN401 - whatever they send
        """Return an answer's JSON, retrying while the server is busy; raises `FormatError` for anything else.

        Raises `NotShownError` if ModelScope says that it does not exist, `ClosedError` if it is not public.
        """
        for attempt in range(1, ATTEMPTS):
            try:
                return self._json(path, query, what)
            except BusyError as error:
                self.pause(error, attempt)
        return self._json(path, query, what)

    def pause(self, error: BusyError, attempt: int) -> None:
        """Wait as long as the server asks, or else longer with every attempt; raises the error if that is too long."""
        wait = 2.0 ** (attempt - 1) if error.wait is None else error.wait
        if wait > LONGEST_WAIT:
            raise error
        if wait >= WORTH_TELLING:
            self.waits(wait)
        time.sleep(wait)

    def _json(self, path: str, query: Mapping[str, str], what: str) -> Any:  # noqa: ANN401 - as above
        with self.answer(path, query, what) as answer:
            data = _body(answer, MAX_ANSWER, what)
        try:
            value = json.loads(data)
        except (ValueError, RecursionError) as error:
            raise FormatError(f"{self.endpoint} does not answer as ModelScope does for {what}") from error
        if isinstance(value, dict) and (value.get("Success") is False or value.get("success") is False):
            raise NetworkError(f"{self.endpoint} cannot answer for {what}", got=_said(value))
        return value

    @contextmanager
    def answer(
        self, path: str, query: Mapping[str, str], what: str, headers: Mapping[str, str] | None = None
    ) -> Iterator[httpx2.Response]:
        """Open a successful answer to a GET; raises the error that fits any other status.

        Failures while the block reads it raise `NetworkError` too.
        """
        self._guard.check_url(self.endpoint)
        sent = {"Accept-Encoding": "identity", **(headers or {})}
        if self._token is not None:
            sent["Authorization"] = f"Bearer {self._token}"
        try:
            with self._client.stream(
                "GET", f"{self.endpoint}{path}", params=query, headers=sent, timeout=SILENCE_SECONDS
            ) as answer:
                if not answer.is_success:
                    raise self._refusal(answer, what)
                if answer.headers.get("content-encoding", "identity") != "identity":
                    raise NetworkError(f"{self.endpoint} encodes {what}, which was not asked for")
                yield answer
        except httpx2.TransportError as error:
            words = tls_words(error) or str(error).partition("\n")[0][:200] or type(error).__name__
            raise NetworkError(f"no usable answer from {self.endpoint} for {what}", got=printable(words)) from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise NetworkError(f"no usable answer from {self.endpoint} for {what}", got=type(error).__name__) from error

    def _refusal(self, answer: httpx2.Response, what: str) -> P2pqwenError:
        status = answer.status_code
        own, said = self._own_words(answer, what)
        expired = status in _EXPIRED and not self._is_own(answer.url)
        if status in _TRANSIENT or expired:
            wait = retry_after(answer.headers, now=datetime.now(UTC))
            return BusyError(f"{self.endpoint} cannot serve {what} now", got=said, wait=wait)
        if status in _CLOSED:
            hint = None if self._token else "if you may read it, set MODELSCOPE_API_TOKEN to a token that can"
            return (
                ClosedError(f"{self.endpoint} does not serve {what} to everybody", got=said, hint=hint)
                if own
                else P2pqwenError(f"{self.endpoint} refuses {what}", got=said, hint=hint)
            )
        if status in {HTTPStatus.NOT_FOUND, HTTPStatus.GONE}:
            kind = NotShownError if own else NotFoundError
            return kind(f"ModelScope shows no {what}: not found, or private", got=said)
        return NetworkError(f"{self.endpoint} does not answer as ModelScope does for {what}", got=said)

    def _is_own(self, url: httpx2.URL) -> bool:
        return str(url).startswith(f"{self.endpoint}/")

    def _own_words(self, answer: httpx2.Response, what: str) -> tuple[bool, str]:
        """Return whether the refusal is ModelScope's own, and its message."""
        status = f"status {answer.status_code}"
        if not self._is_own(answer.url):
            return False, status
        try:
            value = json.loads(_body(answer, _MAX_REFUSAL, what))
        except (P2pqwenError, ValueError, RecursionError):
            return False, status
        if not isinstance(value, dict) or not {"Code", "code", "Success", "success"} & value.keys():
            return False, status
        return True, f"{status}, {_said(value)}"


def _body(answer: httpx2.Response, limit: int, what: str) -> bytes:
    body = bytearray()
    until = time.monotonic() + ANSWER_SECONDS
    for part in answer.iter_raw(1 << 16):
        body += part
        if len(body) > limit:
            raise FormatError(f"the answer for {what} is too large", expected=f"at most {limit} bytes")
        if time.monotonic() > until:
            raise NetworkError(f"the answer for {what} is too slow", expected=f"within {ANSWER_SECONDS:g} s")
    return bytes(body)


def _said(value: Mapping[str, Any]) -> str:
    """Quote its message, which is often Chinese: what it means here our own words say."""
    words = value.get("Message") or value.get("message")
    code = value.get("Code") or value.get("code")
    return (
        f"code {printable(str(code), limit=40)}" if not words else f'its message "{printable(str(words), limit=200)}"'
    )
