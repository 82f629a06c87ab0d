"""A server that forwards requests and prints them.

    python -m tests.support.recorder TARGET

Its first line is its address, and each further line a request: METHOD path, {commit} for a commit or a digest, `range`
if the client sent one. It is a program so that it can run in the network namespace of a client.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

from tests.support.alone import Within
from tests.support.processes import running

SECONDS = 240


@contextmanager
def recording(target: str, within: Within = ()) -> Iterator[tuple[str, set[str]]]:
    """Yield the address of a recorder, and a set that has the requests once the block has ended."""
    asked: set[str] = set()
    with running([*within, sys.executable, "-m", "tests.support.recorder", target]) as recorder:
        yield recorder.line(SECONDS).strip(), asked
    asked.update(line.strip() for line in recorder.lines[1:])


def main(target: str) -> None:
    parts = urlsplit(target)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            path = urlsplit(self.path).path
            path = re.sub(r"[0-9a-f]{40,}", "{commit}", path)
            path = re.sub(r"(/resolve/[^/]+/).*", r"\1*", path)
            # In one write, since several threads print.
            sys.stdout.write(f"{self.command} {path}{' range' if 'Range' in self.headers else ''}\n")
            sys.stdout.flush()
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
            connection = HTTPConnection(parts.hostname or "", parts.port, timeout=SECONDS)
            connection.request(self.command, self.path, body=body, headers=dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
            self.send_response(answer.status)
            for header, value in answer.headers.items():
                if header.lower() not in {"transfer-encoding", "connection", "date", "server"}:
                    self.send_header(header, value)
            if answer.headers.get("Transfer-Encoding"):
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            connection.close()

        do_GET = do_HEAD = do_POST = pass_on  # noqa: N815 - as http.server names them

        def log_message(self, *arguments: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        print(f"http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main(*sys.argv[1:])
