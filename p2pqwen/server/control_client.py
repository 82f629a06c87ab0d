"""The client of the control API: one call, one answer of the requested type, errors as `server.problem` sends them."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from p2pqwen.errors import FormatError, NetworkError
from p2pqwen.server.address import connect_unix, read_loopback
from p2pqwen.server.problem import Refusal
from p2pqwen.values.json_value import from_json
from p2pqwen.values.strict_json import JsonValue

CALL_SECONDS = 60.0
MAX_LINE = 16 << 20
MAX_ANSWER = 64 << 20

Arguments = Mapping[str, JsonValue]
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Anything:
    """An answer whose content does not matter: any object."""


class ControlClient:
    """Speaks to the node of one home."""

    def __init__(self, home: Path) -> None:
        self._home = home

    @property
    def answers(self) -> bool:
        """Whether a node is there and answers."""
        try:
            self.call(_Anything, "GET", "/v1/node")
        except NetworkError:
            return False
        return True

    def call(self, kind: type[T], method: str, path: str, arguments: Arguments | None = None) -> T:
        """Make a call and read its answer as a `kind`.

        Raises what the node raised, and `NetworkError` if it does not answer, or not with a `kind`.
        """
        with closing(self._connect(CALL_SECONDS)) as connection:
            answer = self._ask(connection, method, path, arguments)
            return _parsed(kind, _read(answer))

    def stream(self, kind: type[T], method: str, path: str, arguments: Arguments | None = None) -> Iterator[T]:
        """Make a call and yield its lines as they come, each read as a `kind`; raises as `call` does."""
        with closing(self._connect(CALL_SECONDS)) as connection:
            answer = self._ask(connection, method, path, arguments)
            while True:
                try:
                    line = answer.readline(MAX_LINE)
                except (OSError, http.client.HTTPException) as error:
                    raise NetworkError("the node stopped answering", got=str(error)) from error
                if not line:
                    return
                yield _parsed(kind, line)

    def _ask(
        self, connection: http.client.HTTPConnection, method: str, path: str, arguments: Arguments | None
    ) -> http.client.HTTPResponse:
        headers = {"Host": "localhost", "Content-Type": "application/json"}
        loopback = read_loopback(self._home)
        if loopback is not None:
            headers["Authorization"] = f"Bearer {loopback.token}"
        try:
            connection.request(method, path, json.dumps(arguments or {}), headers)
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            raise NetworkError("the node does not answer", got=str(error) or type(error).__name__) from error
        if answer.status != http.client.OK:
            raise _parsed(Refusal, _read(answer)).error.error
        return answer

    def _connect(self, seconds: float) -> http.client.HTTPConnection:
        unix = connect_unix(self._home, seconds)
        if unix is not None:
            return _Over(unix)
        loopback = read_loopback(self._home)
        if loopback is None:
            raise NetworkError("no node of this home is running", hint="`p2pqwen seed` starts one")
        return http.client.HTTPConnection("127.0.0.1", loopback.port, timeout=seconds)


class _Over(http.client.HTTPConnection):
    """HTTP over a connected socket."""

    def __init__(self, connected: socket.socket) -> None:
        super().__init__("localhost")
        self.sock = connected


def _read(answer: http.client.HTTPResponse) -> bytes:
    """Read a whole answer; raises `NetworkError` if it breaks off."""
    try:
        return answer.read(MAX_ANSWER)
    except (OSError, http.client.HTTPException) as error:
        raise NetworkError("the node stopped answering", got=str(error)) from error


def _parsed(kind: type[T], data: bytes) -> T:
    try:
        return from_json(kind, json.loads(data))
    except (ValueError, RecursionError, FormatError) as error:
        hint = "is it of another version? stop it, and start it again with `p2pqwen seed`"
        raise NetworkError("the node's answer makes no sense", got=str(error), hint=hint) from error
