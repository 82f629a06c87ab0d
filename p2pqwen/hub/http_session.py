"""huggingface_hub made fit to live inside another program: silent, no telemetry, no endless waits, careful with tokens.

The library keeps one HTTP client for the process and reads its settings at import; both are put right here, once.
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
# In memory for each file that comes; a limit is kept by the chunk, and huggingface_hub's own is 10 MiB.
DOWNLOAD_CHUNK = 1024 * 1024
MAX_REQUESTS = 2000
"""For one question. The most files that a snapshot may have are listed in a hundred pages, and each page names the next
one: of such names there need be no end."""

quota = HubQuota()
"""How often the Hub lets this process ask."""

_trusted_origin: ContextVar[str | None] = ContextVar("p2pqwen_hub_origin", default=None)
_guard: ContextVar[Guard | None] = ContextVar("p2pqwen_hub_guard", default=None)
_numbers: ContextVar[Iterator[int] | None] = ContextVar("p2pqwen_hub_requests", default=None)


@contextmanager
def only_to(endpoint: str, named: NamedHosts, *, at_length: bool = False) -> Iterator[None]:
    """Within the block, this thread sends a token to the endpoint's scheme, host and port alone.

    It asks public hosts, and of others those that the user `named`. Raises `RefusedAddressError` for an endpoint that
    may not be asked. A block asks at most `MAX_REQUESTS` times, then `FormatError` is raised, unless `at_length`: a
    download goes on as often as it breaks off.

    Outside of such a block nobody here asks: huggingface_hub's client then serves other users of the library in this
    process as it always did.
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
    """Set the process up once. What goes wrong is raised, so the library's own log and bars are not wanted."""
    # Telemetry also asks the default endpoint for a list of known programs, whatever endpoint we were given.
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
        raise FormatError(f"the answer from {request.url.host} does not end", expected=f"at most {MAX_REQUESTS} pages")
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
    """Take the offer of Xet out of every answer to us: what huggingface_hub downloads comes over plain HTTP.

    It would use Xet in this process, where nothing can hold it back, and ask for tokens wherever the answer leads.
    `p2pqwen.hub.xet` goes to Xet by itself.
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
