"""Receivers of alerts on loopback: a web server that keeps what is posted to it, and a mail server."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from email import message_from_bytes, policy
from email.message import EmailMessage
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, cast

from tests.support.addresses import served_by_thread


@dataclass(frozen=True, slots=True)
class Posted:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Inbox(ThreadingHTTPServer):
    """Answers every request with `status`, and `location` if that is set, and keeps the request."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.posted: list[Posted] = []
        self.status = 200
        self.location = ""

    @property
    def port(self) -> int:
        return int(self.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        inbox = cast("Inbox", self.server)
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        inbox.posted.append(Posted(self.path, dict(self.headers), body))
        self.send_response(inbox.status)
        if inbox.location:
            self.send_header("Location", inbox.location)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    do_GET = do_PUT = do_POST  # noqa: N815 - http.server's

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def inbox() -> Iterator[Inbox]:
    server = Inbox()
    with server, served_by_thread(server):
        yield server


@dataclass(slots=True)
class MailBox:
    """A mail server without TLS that lets `ann` log in with a password, and keeps the mails and the logins."""

    port: int = 0
    mails: list[EmailMessage] = field(default_factory=list)
    logins: list[tuple[bytes, bytes]] = field(default_factory=list)

    async def handle_DATA(self, _server: object, _session: object, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's
        self.mails.append(cast("EmailMessage", message_from_bytes(envelope.content, policy=policy.default)))
        return "250 OK"


@contextlib.contextmanager
def mail_box(word: str) -> Iterator[MailBox]:
    from aiosmtpd.controller import Controller
    from aiosmtpd.smtp import AuthResult, LoginPassword

    box = MailBox()

    def judge(_server: object, _session: object, _envelope: object, _way: str, given: Any) -> AuthResult:
        assert isinstance(given, LoginPassword)
        box.logins.append((given.login, given.password))
        return AuthResult(success=given == LoginPassword(b"ann", word.encode()))

    class OnFreePort(Controller):
        def _trigger_server(self) -> None:  # it connects to its own port, which is known now
            self.port = box.port = self.server.sockets[0].getsockname()[1]
            super()._trigger_server()

    options = {"authenticator": judge, "auth_require_tls": False}
    controller = OnFreePort(box, hostname="127.0.0.1", port=0, ready_timeout=60, **options)
    controller.start()
    try:
        yield box
    finally:
        controller.stop()
