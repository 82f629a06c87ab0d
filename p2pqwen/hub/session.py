"""huggingface_hub made fit to live inside another program: silent, no telemetry, no endless waits, careful with tokens.

The library keeps one HTTP client for the process and reads its settings at import; both are put right here, once.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import cache

import httpx2
from huggingface_hub import constants, set_client_factory
from huggingface_hub.utils._http import default_client_factory

from p2pqwen.hub.pace import Pace
from p2pqwen.tls_error import check_authorities

# huggingface_hub lists a repository without any time limit; its downloads set their own.
REQUEST_TIMEOUT = 30.0

pace = Pace()
"""How often the Hub lets this process ask."""

_trusted_origin: ContextVar[str | None] = ContextVar("p2pqwen_hub_origin", default=None)


@contextmanager
def only_to(endpoint: str) -> Iterator[None]:
    """Within the block, a token leaves this thread for the endpoint's scheme, host and port alone."""
    configure()
    previous = _trusted_origin.set(_origin(httpx2.URL(endpoint)))
    try:
        yield
    finally:
        _trusted_origin.reset(previous)


@cache
def configure() -> None:
    """Set the process up once. What goes wrong is raised, so the library's own log and bars are not wanted."""
    # Telemetry also asks the default endpoint for a list of known programs, whatever endpoint we were given.
    constants.HF_HUB_DISABLE_TELEMETRY = True
    if not constants.HF_DEBUG:
        for name in ("huggingface_hub", "filelock"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
    set_client_factory(_client)


def _client() -> httpx2.Client:
    check_authorities()
    client = default_client_factory()
    client.event_hooks["request"].append(_before_request)
    client.event_hooks["response"].append(_after_answer)
    return client


def _before_request(request: httpx2.Request) -> None:
    trusted = _trusted_origin.get()
    if trusted is not None and _origin(request.url) != trusted:
        request.headers.pop("authorization", None)
    timeout = request.extensions.get("timeout") or {}
    if all(value is None for value in timeout.values()):
        request.extensions["timeout"] = httpx2.Timeout(REQUEST_TIMEOUT).as_dict()
    if trusted is not None and trusted == _origin(request.url):
        pace.before(trusted, request.url.path)


def _after_answer(response: httpx2.Response) -> None:
    if (origin := _origin(response.request.url)) == _trusted_origin.get():
        pace.after(origin, response.request.url.path, response.status_code, response.headers)


def _origin(url: httpx2.URL) -> str:
    port = url.port or {"http": 80, "https": 443}.get(url.scheme)
    return f"{url.scheme}://{url.host}:{port}"
