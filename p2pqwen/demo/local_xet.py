"""The Xet part of the local Hub: tokens, the reconstruction API (v2 and v1) and signed ranges of xorbs.

Sources: huggingface.co/docs/xet, draft-denis-xet, and the requests of hf_xet 1.8. As on the real Hub, tokens come from
the Hub's host, the reconstruction from a second host, and xorbs from a third.
"""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping

from aiohttp import web

from p2pqwen.demo.hub_call import Call
from p2pqwen.demo.hub_repository import StoredFile
from p2pqwen.demo.url_signer import UrlSigner
from p2pqwen.demo.xet_layout import Term, Xorb, terms, xet_hashes
from p2pqwen.values.byte_range import parse_range

TOKEN_SECONDS = 3600
_RECONSTRUCTION = re.compile(r"/(v[12])/reconstructions/([0-9a-f]{64})")
_XORB = re.compile(r"/xorbs/default/([0-9a-f]{64})")
_KNOWN: dict[str, str] = {}  # Xet hashes by SHA-256: computing them takes a process
_TELEMETRY = re.compile(r"/v[0-9]+/telemetry")


class LocalXet:
    """The store: its files, its tokens, and the addresses of its 2 hosts.

    `served`: whether the Hub offers Xet, as huggingface.co does. `versions`: the served versions of the reconstruction
    API.
    """

    def __init__(self, files: Callable[[], Iterable[StoredFile]]) -> None:
        self._files = files
        self.served = True
        self.versions = {"v1", "v2"}
        self.cas = self.storage = ""
        self.hashes: dict[str, str] = {}  # by SHA-256, to override files' real hashes
        self.token_seconds = TOKEN_SECONDS
        self._tokens: dict[str, float] = {}
        self.signer = UrlSigner(TOKEN_SECONDS)

    def hash_of(self, file: StoredFile) -> str:
        """Return the file's Xet hash, its name in the store."""
        sha256 = str(file.sha256)
        if sha256 not in self.hashes and sha256 not in _KNOWN:
            _KNOWN.update(xet_hashes(one for one in self._files() if str(one.sha256) not in _KNOWN))
        return self.hashes.get(sha256) or _KNOWN[sha256]

    def headers(self, file: StoredFile, token_route: str) -> Mapping[str, str]:
        """Return the headers that `resolve` adds for a file in the store, none if Xet is not served."""
        if not self.served:
            return {}
        return {
            "X-Xet-Hash": self.hash_of(file),
            "X-Xet-Refresh-Route": token_route,
            "Link": f'<{token_route}>; rel="xet-auth", '
            f'<{self.cas}/v1/reconstructions/{self.hash_of(file)}>; rel="xet-reconstruction-info"',
        }

    def answer_token(self) -> web.Response:
        """Answer the token route; clients read the headers or the body."""
        token, expires = f"xet_{secrets.token_hex(8)}", int(time.time()) + self.token_seconds
        self._tokens[token] = expires
        headers = {"X-Xet-Cas-Url": self.cas, "X-Xet-Access-Token": token, "X-Xet-Token-Expiration": str(expires)}
        return web.json_response({"casUrl": self.cas, "exp": expires, "accessToken": token}, headers=headers)

    def sort(self, call: Call) -> None:
        """Fill in the kind and the file of a request to one of the 2 hosts."""
        path = call.url.split("?")[0]
        if match := _RECONSTRUCTION.fullmatch(path):
            file = next((one for one in self._files() if self.hash_of(one) == match[2]), None)
            call.path = file.path if file else ""
        elif match := _XORB.fullmatch(path):
            xorb = self._xorb(match[1])
            call.path = xorb.file.path if xorb else ""
        elif _TELEMETRY.fullmatch(path):
            call.kind = "xet-telemetry"

    def answer_cas(self, request: web.BaseRequest, call: Call) -> web.Response:
        """Answer a reconstruction query."""
        if call.kind == "xet-telemetry":
            return web.Response(status=204)
        match = _RECONSTRUCTION.fullmatch(request.rel_url.path)
        if match is None or match[1] not in self.versions:
            return web.Response(status=404, text="not found")
        token = (call.authorization or "").removeprefix("Bearer ")
        if self._tokens.get(token, 0) < time.time():
            return web.Response(status=401, text="unauthorized")
        file = next((one for one in self._files() if self.hash_of(one) == match[2]), None)
        if file is None:
            return web.Response(status=404, text="no such file")
        wanted = parse_range(call.range, file.size)
        if wanted is None:
            return web.Response(status=416, text="beyond the end")
        offset, parts = terms(file, wanted.start, wanted.stop)
        body = {
            "offset_into_first_range": offset,
            "terms": [
                {"hash": one.xorb.hash, "unpacked_length": one.length, "range": {"start": one.start, "end": one.stop}}
                for one in parts
            ],
        }
        body |= {"xorbs": self._fetches(parts)} if match[1] == "v2" else {"fetch_info": self._fetch_info(parts)}
        return web.json_response(body)

    def xorb_file(self, request: web.BaseRequest) -> StoredFile | web.Response:
        """Return the xorb behind a signed URL, as a file, or else the refusal."""
        match = _XORB.fullmatch(request.rel_url.path)
        xorb = self._xorb(match[1]) if match else None
        if xorb is None:
            return _refusal(404, "NoSuchKey")
        signed = f"{request.rel_url.path}?{request.query.get('X-Xet-Signed-Range', '')}"
        if request.headers.get("Range") != request.query.get("X-Xet-Signed-Range"):
            return _refusal(403, "AccessDenied")
        if not self.signer.holds(signed, request.query):
            return _refusal(403, "AccessDenied")
        return StoredFile(xorb.file.path, xorb.size, "", None, b"", xorb, 0o100644)

    def _xorb(self, name: str) -> Xorb | None:
        for file in self._files():
            _, parts = terms(file, 0, file.size)
            if (found := next((one.xorb for one in parts if one.xorb.hash == name), None)) is not None:
                return found
        return None

    def _url(self, part: Term) -> str:
        path = f"/xorbs/default/{part.xorb.hash}"
        start, last = part.stored
        signed = f"bytes={start}-{last}"
        return f"{self.storage}{path}?X-Xet-Signed-Range={signed}&{self.signer.query(f'{path}?{signed}', 'xorb')}"

    def _fetches(self, parts: list[Term]) -> dict[str, list[dict[str, object]]]:
        return {
            one.xorb.hash: [{"url": self._url(one), "ranges": [{"chunks": _chunks(one), "bytes": _bytes(one)}]}]
            for one in parts
        }

    def _fetch_info(self, parts: list[Term]) -> dict[str, list[dict[str, object]]]:
        return {
            one.xorb.hash: [{"url": self._url(one), "url_range": _bytes(one), "range": _chunks(one)}] for one in parts
        }


def _chunks(part: Term) -> dict[str, int]:
    return {"start": part.start, "end": part.stop}


def _bytes(part: Term) -> dict[str, int]:
    start, last = part.stored
    return {"start": start, "end": last}


def _refusal(status: int, code: str) -> web.Response:
    return web.Response(status=status, text=f"<Error><Code>{code}</Code></Error>", content_type="application/xml")
