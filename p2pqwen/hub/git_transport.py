"""Fetch the objects of one commit over smart HTTP with dulwich, into memory, within limits of size and time."""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from io import BytesIO
from typing import TYPE_CHECKING

import urllib3
from dulwich.client import HTTPUnauthorized, Urllib3HttpGitClient, default_user_agent_string
from dulwich.errors import GitProtocolError, NotGitRepository
from dulwich.object_store import MemoryObjectStore
from dulwich.objects import ObjectID
from dulwich.refs import Ref
from dulwich.repo import MemoryRepo

from p2pqwen.errors import NetworkError, NotFoundError, P2pqwenError
from p2pqwen.hub.pack_limits import check_pack
from p2pqwen.net.urllib3_guard import guarded_manager
from p2pqwen.tls_error import tls_words
from p2pqwen.values.digest import CommitId
from p2pqwen.values.named_hosts import Guard, NamedHosts

if TYPE_CHECKING:
    from dulwich.client import HTTPResponse

# A shallow tree of a model repository is pointers and text: megabytes. The Hub accepts no plain file above 10 MB.
MAX_ANSWER_BYTES = 128 * 1024 * 1024
MAX_SECONDS = 120.0
SILENCE_SECONDS = 30.0
_RETRIES = urllib3.Retry(
    total=4,
    connect=1,
    read=1,  # a silent server has already used its time
    redirect=4,
    status_forcelist=(429, 500, 502, 503, 504),
    allowed_methods=None,  # asking for a pack changes nothing on the server
    backoff_factor=0.5,
    raise_on_status=False,
)
_ERROR_PACKET = re.compile(rb"[0-9a-f]{4}ERR ([^\n]+)")
_REMEMBERED = 1000
_USER = "p2pqwen"  # the Hub checks only the password


@dataclass
class Budget:
    """What one query may cost over all its requests."""

    bytes_left: int = field(default_factory=lambda: MAX_ANSWER_BYTES)
    deadline: float = field(default_factory=lambda: time.monotonic() + MAX_SECONDS)

    def spend(self, count: int) -> None:
        """Count bytes received; raises `NetworkError` when the budget is used up."""
        self.bytes_left -= count
        if self.bytes_left < 0:
            raise NetworkError("the git server sends too much", expected=f"at most {MAX_ANSWER_BYTES} bytes")
        if time.monotonic() > self.deadline:
            raise NetworkError("the git server is too slow", expected=f"an answer in {MAX_SECONDS:g} s")


class FilterRefusedError(NetworkError):
    """The server did not answer a filtered request; it may answer one without a filter."""


def fetch_commit(
    url: str, commit: CommitId, *, object_filter: bytes | None, token: str | None, named: NamedHosts, budget: Budget
) -> MemoryObjectStore:
    """Fetch one commit without its history, from a public host or one that the user `named`, redirects included.

    The token is sent as a password, only to the URL's own scheme, host and port. Raises `NotFoundError`,
    `NetworkError`, and `FilterRefusedError` if the server failed a request with a filter.
    """
    _silence()
    pack = BytesIO()
    client = _Client(url, token, Guard(named), budget)
    try:
        client.fetch_pack(
            "",
            lambda _refs, depth=None: [ObjectID(str(commit).encode())],  # noqa: ARG005 - dulwich names it
            MemoryRepo().get_graph_walker(),
            lambda data: _append(pack, data),
            depth=1,
            filter_spec=object_filter,
        )
        return _unpack(pack.getvalue())
    except P2pqwenError:
        raise
    except NotGitRepository as error:
        raise NotFoundError(f"no git repository at {url}") from error
    except HTTPUnauthorized as error:
        raise NotFoundError(f"no readable git repository at {url}", hint="is HF_TOKEN needed?") from error
    except Exception as error:  # dulwich parses with assertions, KeyError and ValueError as well as errors of its own
        raise _broken(client.refusal or error, url, commit, filtered=object_filter is not None) from error
    finally:
        client.pool_manager.clear()


def fetch_tip(url: str, name: str, *, named: NamedHosts, budget: Budget) -> CommitId:
    """Return the commit that a branch, or else a tag, of this name points at; raises as `fetch_commit` does."""
    _silence()
    client = _Client(url, None, Guard(named), budget)
    places = [f"refs/heads/{name}".encode(), f"refs/tags/{name}^{{}}".encode(), f"refs/tags/{name}".encode()]
    try:
        refs = client.get_refs("", ref_prefix=[places[0], places[2]]).refs
    except P2pqwenError:
        raise
    except (NotGitRepository, HTTPUnauthorized) as error:
        raise NotFoundError(f"no git repository at {url}") from error
    except Exception as error:  # dulwich's own, as above
        raise NetworkError(f"no usable git answer from {url}", got=client.refusal or _said(error)) from error
    finally:
        client.pool_manager.clear()
    found = next((refs[Ref(one)] for one in places if refs.get(Ref(one))), None)
    if found is None:
        raise NotFoundError(f"the git repository at {url} has no branch or tag {name}")
    return CommitId.parse(found.decode())


def _broken(error: Exception | str, url: str, commit: CommitId, *, filtered: bool) -> P2pqwenError:
    said = error if isinstance(error, str) else _said(error)
    if "not our ref" in said:
        return NotFoundError(f"the git repository at {url} does not have commit {commit}", got=said)
    answered = isinstance(error, str) or not isinstance(error.__cause__, urllib3.exceptions.MaxRetryError)
    if filtered and answered:
        return FilterRefusedError(f"the git server refuses a filtered fetch of {url}", got=said)
    return NetworkError(f"no usable git answer from {url}", got=said)


def _said(error: Exception) -> str:
    if (said := tls_words(error)) is not None:
        return said
    cause = error.__cause__
    if isinstance(cause, urllib3.exceptions.MaxRetryError):
        return str(cause.reason).rpartition(": ")[2]  # without urllib3's repr of its objects
    return str(error).strip().partition("\n")[0][:200] or type(error).__name__


def _append(pack: BytesIO, data: bytes) -> int:
    return pack.write(data)


def _unpack(pack: bytes) -> MemoryObjectStore:
    store = MemoryObjectStore()
    if pack:
        check_pack(pack)
        file, finish, _ = store.add_pack()
        file.write(pack)
        finish()
    return store


class _Client(Urllib3HttpGitClient):
    """dulwich's client with a budget; it rejects servers that are not git servers."""

    def __init__(self, url: str, token: str | None, guard: Guard, budget: Budget) -> None:
        # dulwich's own choice would use the http proxy for https, and does not support SOCKS.
        headers = {"User-agent": default_user_agent_string()}
        manager = guarded_manager(
            guard, url, headers=headers, cert_reqs="CERT_REQUIRED", timeout=SILENCE_SECONDS, retries=_RETRIES
        )
        super().__init__(
            url,
            pool_manager=manager,
            username=_USER if token else None,
            password=token,
            timeout=SILENCE_SECONDS,
            thin_packs=False,
            quiet=True,
        )
        self._budget = budget
        self._heard = b""

    @property
    def refusal(self) -> str | None:
        """The message of the server's error packet, which dulwich takes for a lost connection."""
        match = _ERROR_PACKET.search(self._heard)
        return match[1].decode(errors="replace").strip()[:200] if match else None

    def _http_request(
        self,
        url: str,
        headers: dict[str, str] | None = None,
        data: bytes | Iterator[bytes] | None = None,
        raise_for_status: bool = True,  # noqa: FBT001, FBT002 - dulwich's signature
    ) -> tuple[HTTPResponse, Callable[[int], bytes]]:
        self._heard = b""
        response, _ = super()._http_request(url, headers, data, raise_for_status)
        kind = response.content_type or ""
        if not kind.startswith("application/x-git-"):
            response.close()
            raise GitProtocolError(f"{url} answers {kind or 'something'}, which a git server would not")
        return response, lambda size: self._read(response, size)

    def _read(self, response: HTTPResponse, size: int) -> bytes:
        parts = []
        while size > 0:
            try:
                part: bytes = response.read1(size)  # type: ignore[attr-defined] # urllib3's; returns what has arrived, so the deadline is checked
            except urllib3.exceptions.HTTPError as error:
                raise GitProtocolError(str(error)) from error
            if not part:
                break
            self._budget.spend(len(part))
            self._heard = (self._heard + part)[-_REMEMBERED:]
            parts.append(part)
            size -= len(part)
        return b"".join(parts)


@cache
def _silence() -> None:
    # dulwich warns of a server without filters, which is expected here.
    logging.getLogger("dulwich").setLevel(logging.CRITICAL)
    logging.getLogger("urllib3").setLevel(logging.CRITICAL)
