"""Configure huggingface_hub for use inside another program: silent, no telemetry, with timeouts, careful with tokens.

The library has one HTTP client per process and reads its settings at import. Both are configured here, once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache
from itertools import count

import httpx2
from huggingface_hub import constants, set_client_factory
from huggingface_hub.utils._http import hf_request_event_hook

from p2pqwen.errors import FormatError
from p2pqwen.hub.quota import HubQuota
from p2pqwen.net.httpx_guard import guarded_client
from p2pqwen.tls_error import check_authorities
from p2pqwen.values.named_hosts import Guard, NamedHosts

# huggingface_hub lists a repository without any time limit; its downloads set their own.
REQUEST_TIMEOUT = 30.0
# Each download holds one chunk in memory, and rate limits act per chunk; huggingface_hub's default is 10 MiB.
DOWNLOAD_CHUNK = 1024 * 1024
MAX_REQUESTS = 2000
"""Per query. The largest snapshot's files fill 100 pages, but each page names the next, so a server could go on without
end."""

quota = HubQuota()
"""The Hub's rate limits for this process."""

_trusted_origin: ContextVar[str | None] = ContextVar("p2pqwen_hub_origin", default=None)
_guard: ContextVar[Guard | None] = ContextVar("p2pqwen_hub_guard", default=None)
_numbers: ContextVar[Iterator[int] | None] = ContextVar("p2pqwen_hub_requests", default=None)


@contextmanager
def only_to(endpoint: str, named: NamedHosts, *, at_length: bool = False) -> Iterator[None]:
    """Within the block, this thread sends a token only to the endpoint's scheme, host and port.

    It contacts public hosts and those that the user `named`. Raises `RefusedAddressError` for an endpoint that is
    neither. More than `MAX_REQUESTS` requests in one block raise `FormatError`, unless `at_length`: a download resumes
    as often as it breaks off.

    p2pqwen makes no request outside such a block. There, huggingface_hub's client serves other users of the library in
    this process unchanged.
    """
    configure()
    rule = Guard(named)
    rule.check_url(endpoint)
    origin, guard = _trusted_origin.set(_origin(httpx2.URL(endpoint))), _guard.set(rule)
    numbers = _numbers.set(None if at_length else count(1))
    try:
        yield
    finally:
        _numbers.reset(numbers)
        _guard.reset(guard)
        _trusted_origin.reset(origin)


@cache
def configure() -> None:
    """Set the process up once; errors are raised, so the library's own log is silenced."""
    # Telemetry also contacts the default endpoint, for a list of known programs, whatever our endpoint is.
    constants.HF_HUB_DISABLE_TELEMETRY = True
    constants.DOWNLOAD_CHUNK_SIZE = DOWNLOAD_CHUNK
    if not constants.HF_DEBUG:
        for name in ("huggingface_hub", "filelock"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    set_client_factory(_client)


def _client() -> httpx2.Client:  # noqa: TID251 - as the guard makes it
    check_authorities()
    client = guarded_client(_guard.get, [hf_request_event_hook, _before_request])
    client.event_hooks["response"].append(_after_answer)
    return client


def _before_request(request: httpx2.Request) -> None:
    trusted, numbers = _trusted_origin.get(), _numbers.get()
    if numbers is not None and next(numbers) > MAX_REQUESTS:
        raise FormatError(f"an answer of {request.url.host} has no end", expected=f"at most {MAX_REQUESTS} pages")
    if trusted is not None and _origin(request.url) != trusted:
        request.headers.pop("authorization", None)
    timeout = request.extensions.get("timeout") or {}
    if all(value is None for value in timeout.values()):
        request.extensions["timeout"] = httpx2.Timeout(REQUEST_TIMEOUT).as_dict()
    if trusted is not None and trusted == _origin(request.url):
        quota.before(trusted, request.url.path)


def _after_answer(response: httpx2.Response) -> None:
    _without_xet(response)
    if (origin := _origin(response.request.url)) == _trusted_origin.get():
        quota.after(origin, response.request.url.path, response.status_code, response.headers)


def _without_xet(response: httpx2.Response) -> None:
    """Remove the Xet headers from answers to us, so that huggingface_hub downloads over plain HTTP.

    It would run Xet in this process, where nothing can limit it, and request tokens from any URL that the answer names.
    `p2pqwen.hub.xet` uses Xet instead.
    """
    if _guard.get() is None:
        return
    for name in ("x-xet-hash", "x-xet-refresh-route"):
        response.headers.pop(name, None)
    if "xet-auth" in response.headers.get("link", ""):
        del response.headers["link"]


def _origin(url: httpx2.URL) -> str:
    port = url.port or {"http": 80, "https": 443}.get(url.scheme)
    return f"{url.scheme}://{url.host}:{port}"
