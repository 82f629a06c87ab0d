"""Messages to people: webhooks, ntfy, e-mail and a hundred services, by apprise (used only here).

Messages go only to the addresses that the user configured: redirects are not followed, and no service is asked for
images. At most 64 KiB of an answer are read, and no service delays the others for more than a minute. Proxies come from
the environment. If there is one, anything that cannot go through it, such as e-mail, is not sent, unless no_proxy names
the host.

apprise is an optional dependency: it brings a second HTTP client, and few users need it.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import os
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

from p2pqwen.errors import UsageError
from p2pqwen.hidden import covered, hide
from p2pqwen.values.printable_text import printable
from p2pqwen.values.proxy import Proxies

if TYPE_CHECKING:
    from apprise import NotifyBase

SECONDS = 10.0
"""To connect to a service, and again for each piece of its answer."""
ALL_SECONDS = 60.0
"""For one service in all; `SECONDS` start again with each byte that comes."""
MAX_ANSWER = 64 << 10
_HERE = "localhost,127.0.0.1,::1"
_NO_PROXY = ("no_proxy", "NO_PROXY")
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, slots=True)
class NotSent:
    """An address that did not take a message, without its secrets, and the reason."""

    to: str
    reason: str


class Messages:
    """Sends to fixed addresses, each an apprise URL such as `ntfys://ntfy.sh/topic` or `mailtos://user:pass@host`."""

    def __init__(self, addresses: Sequence[str], source: str) -> None:
        """Read the addresses; raises `UsageError` that names `source` and shows no secret."""
        self._apprise = _apprise(source)
        self._proxies = Proxies.of(os.environ)
        for one in addresses:
            hide(one)
        with warnings.catch_warnings():  # this loads its plugins; one imports what Python 3.13 removed
            warnings.simplefilter("ignore", DeprecationWarning)
            self._services = [self._service(place, one, source) for place, one in enumerate(addresses, 1)]
        self._waiting: dict[int, threading.Thread] = {}

    @property
    def addresses(self) -> tuple[str, ...]:
        """The addresses it sends to, without secrets."""
        return tuple(map(_shown, self._services))

    def send(self, title: str, body: str, *, danger: bool) -> tuple[NotSent, ...]:
        """Send a message to all addresses, and return the failures. Raises nothing."""
        with _one_at_a_time, _loopback_direct():
            found = [
                (one, self._why_not(place, one, title, body, danger=danger)) for place, one in enumerate(self._services)
            ]
            return tuple(NotSent(_shown(one), why) for one, why in found if why is not None)

    def _service(self, place: int, address: str, source: str) -> NotifyBase:
        asset = self._apprise.AppriseAsset(
            storage_mode=self._apprise.PersistentStoreMode.MEMORY,
            secure_logging=True,
            allow_templates=False,
            app_id="p2pqwen",
            app_desc="p2pqwen",
            app_url="",
            image_url_mask=None,
            image_url_logo=None,
            http_redirects=False,
            async_mode=False,
            plugin_paths=[],
        )
        with _quiet():
            service = self._apprise.Apprise.instantiate(address, asset=asset, suppress_exceptions=True)
        if not service:
            hint = "see https://appriseit.com/services/ for how addresses are written"
            raise UsageError(f"{source}: address {place} is not one that apprise knows", hint=hint)
        for name in ("password", "user", "token", "apikey", "webhook_token"):
            if isinstance(secret := getattr(service, name, None), str):
                hide(secret)
        service.socket_connect_timeout = service.socket_read_timeout = SECONDS
        found: NotifyBase = service
        return found

    def _why_not(self, place: int, service: NotifyBase, title: str, body: str, *, danger: bool) -> str | None:
        """Send to one service; return why that failed, None if it did not."""
        if (before := self._waiting.get(place)) is not None and before.is_alive():
            return "it has not answered the last message yet"
        if not _speaks_http(service) and self._is_proxied(service):
            return "it is not a web service, and cannot go through the proxy; no_proxy may name its host"
        kinds = self._apprise.NotifyType
        kind = kinds.FAILURE if danger else kinds.WARNING
        answers: list[bool | str] = []

        def send() -> None:
            try:
                sent = service.notify(
                    body=body, title=title, notify_type=kind, body_format=self._apprise.NotifyFormat.TEXT
                )
            except Exception as error:  # noqa: BLE001 - one of a hundred plugins; the others must still be tried
                answers.append(f"{type(error).__name__}: {error}")
            else:
                answers.append(bool(sent))

        with _quiet() as said:
            thread = self._waiting[place] = threading.Thread(target=send, name="message", daemon=True)
            thread.start()
            thread.join(ALL_SECONDS)
            if not answers:
                return f"its answer did not end within {ALL_SECONDS:.0f} s"
            if isinstance(answers[0], str):
                return _covered(answers[0])
            if answers[0]:
                return None
            return _covered(said.getvalue().strip().rpartition("\n")[2] or "it was not accepted")

    def _is_proxied(self, service: NotifyBase) -> bool:
        host = getattr(service, "smtp_host", None) or getattr(service, "host", None) or "unknown.invalid"
        return self._proxies.choose(f"https://{host}/") is not None


def _covered(text: str) -> str:
    return printable(covered(text), limit=200)


def _shown(service: NotifyBase) -> str:
    """Return an address without its secrets and options."""
    url: Callable[..., str] = service.url
    return _covered(url(privacy=True).partition("?")[0])


def _speaks_http(service: NotifyBase) -> bool:
    """Whether its plugin uses requests, which follows the proxy variables."""
    return hasattr(sys.modules[type(service).__module__], "requests")


def _apprise(source: str) -> ModuleType:
    try:
        import apprise  # noqa: PLC0415 - optional, and 0.1 s
    except ImportError as error:
        hint = "install it: `pipx inject p2pqwen apprise`, or `pip install 'p2pqwen[alerts]'`"
        raise UsageError(f"{source} needs the package apprise", hint=hint) from error
    _tame()
    return apprise


@functools.cache
def _tame() -> None:
    """Keep apprise's log to ourselves, and make requests read at most `MAX_ANSWER` of an answer.

    Only apprise uses requests here, and it reads whole answers.
    """
    import requests  # noqa: PLC0415 - apprise brings it

    logging.getLogger("apprise").propagate = False  # we report what it logs, even if it comes too late
    logging.getLogger("apprise").addHandler(logging.NullHandler())

    class Bounded(requests.adapters.HTTPAdapter):
        def send(self, request: Any, *arguments: Any, **settings: Any) -> Any:  # noqa: ANN401 - theirs
            response = super().send(request, *arguments, **settings)
            try:
                response._content = response.raw.read(MAX_ANSWER, decode_content=True)  # noqa: SLF001 - no public way
            except Exception as error:
                raise requests.exceptions.ConnectionError(error, request=request) from error
            finally:
                response.raw.close()
            response._content_consumed = True  # noqa: SLF001
            return response

    requests.sessions.HTTPAdapter = Bounded  # type: ignore[attr-defined] # what each new session sends through


@contextlib.contextmanager
def _quiet() -> Iterator[io.StringIO]:
    """Catch what apprise logs, which we report ourselves."""
    said = io.StringIO()
    handler, log = logging.StreamHandler(said), logging.getLogger("apprise")
    handler.setLevel(logging.WARNING)
    log.addHandler(handler)
    try:
        yield said
    finally:
        log.removeHandler(handler)


@contextlib.contextmanager
def _loopback_direct() -> Iterator[None]:
    """Add this machine to no_proxy, as `values.proxy` does: requests would use a proxy for it."""
    before = {name: os.environ.get(name) for name in _NO_PROXY}
    given = before["no_proxy"] or before["NO_PROXY"]
    os.environ["no_proxy"] = f"{given},{_HERE}" if given else _HERE
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
