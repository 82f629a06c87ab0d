"""The other end of the control API: one call, one answer, in the words of `server.problem`."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from p2pqwen.errors import NetworkError
from p2pqwen.server import problem
from p2pqwen.server.address import connect_unix, read_loopback

CALL_SECONDS = 60.0
MAX_LINE = 16 << 20
MAX_ANSWER = 64 << 20

Json = dict[str, Any]


class ControlClient:
    """Speaks to the node of one home."""

    def __init__(self, home: Path) -> None:
        self._home = home

    @property
    def answers(self) -> bool:
        """Whether a node is there and answers."""
        try:
            self.call("GET", "/v1/node")
        except NetworkError:
            return False
        return True

    def call(self, method: str, path: str, arguments: Mapping[str, Any] | None = None) -> Json:
        """Make a call; raises what the node raised, `NetworkError` when it does not answer."""
        with closing(self._connect(CALL_SECONDS)) as connection:
            answer = self._ask(connection, method, path, arguments)
            return _object(answer.read(MAX_ANSWER))

    def stream(self, method: str, path: str, arguments: Mapping[str, Any] | None = None) -> Iterator[Json]:
        """Make a call and yield its objects as they come; raises as `call` does."""
        with closing(self._connect(CALL_SECONDS)) as connection:
            answer = self._ask(connection, method, path, arguments)
            while True:
                try:
                    line = answer.readline(MAX_LINE)
                except (OSError, http.client.HTTPException) as error:
                    raise NetworkError("the node stopped answering", got=str(error)) from error
                if not line:
                    return
                yield _object(line)

    def _ask(
        self, connection: http.client.HTTPConnection, method: str, path: str, arguments: Mapping[str, Any] | None
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
            raise problem.from_json(_object(answer.read(MAX_ANSWER)).get("error", {}))
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
    """HTTP over a socket that is connected already."""

    def __init__(self, connected: socket.socket) -> None:
        super().__init__("localhost")
        self.sock = connected


def _object(data: bytes) -> Json:
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise NetworkError("the node's answer makes no sense", got=str(error)) from error
    return value if isinstance(value, dict) else {}
