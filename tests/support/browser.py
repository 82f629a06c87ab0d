"""Debian's Chromium, driven by Playwright, and a plain web server for folders. Everything stays on this machine."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.addresses import served_by_thread

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

# The same engine without the browser around it, whose own pages cost 3 times what ours do.
CHROMIUM = shutil.which("chromium-headless-shell") or shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
WIDTHS = {"phone": (360, 740), "desktop": (1440, 900)}


class _Handler(SimpleHTTPRequestHandler):
    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")  # the browser must see what a test changes
        super().end_headers()

    def log_message(self, *_: Any) -> None:
        pass


class _PlainHandler(SimpleHTTPRequestHandler):
    """Sends no validators, so it can never answer that a file is unchanged."""

    def __init__(self, *given: Any, sent: list[str], max_age: int | None, **options: Any) -> None:
        self.sent, self.max_age = sent, max_age
        super().__init__(*given, **options)

    def send_header(self, keyword: str, value: str) -> None:
        if keyword != "Last-Modified":
            super().send_header(keyword, value)

    def end_headers(self) -> None:
        if self.max_age is not None and self.path.endswith(".css"):
            self.send_header("Cache-Control", f"max-age={self.max_age}")
        super().end_headers()

    def log_request(self, *_: Any) -> None:
        self.sent.append(self.path)

    def log_message(self, *_: Any) -> None:
        pass


@contextmanager
def plain_server(folder: Path, *, max_age: int | None = None) -> Iterator[tuple[str, list[str]]]:
    """Serve a folder from a server without validators; yields its address, and the path of each answer.

    `max_age`: seconds for which a browser may reuse its copy of a style sheet.
    """
    sent: list[str] = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_PlainHandler, directory=folder, sent=sent, max_age=max_age))
    with server, served_by_thread(server):
        yield f"http://127.0.0.1:{server.server_port}/", sent


@contextmanager
def web_server(folder: Path, *, port: int = 0) -> Iterator[str]:
    """Serve a folder; yields its address, with a slash at the end."""
    server = ThreadingHTTPServer(("127.0.0.1", port), partial(_Handler, directory=folder))
    with server, served_by_thread(server):
        yield f"http://127.0.0.1:{server.server_port}/"


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser, headless."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        quiet = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--no-first-run"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=quiet)
        try:
            yield browser
        finally:
            browser.close()


class Reader:
    """A separate browser context, and the errors of its pages."""

    def __init__(self, browser: Browser, *, wide: str = "desktop", dark: bool = False, **options: Any) -> None:
        width, height = WIDTHS[wide]
        self.context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light", **options
        )
        self.context.set_default_timeout(120_000)
        self.page: Page = self.context.new_page()
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self._heard(message.type, message.text))
        self.page.on("pageerror", lambda error: self.complaints.append(f"error: {error}"))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.on("dialog", lambda dialog: (self.complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))

    def _heard(self, kind: str, text: str) -> None:
        if kind == "error" or "Content Security Policy" in text or "Content-Security-Policy" in text:
            self.complaints.append(text)

    def open(self, url: str) -> Page:
        self.page.goto(url)
        return self.page

    def verdict(self, url: str) -> tuple[str, str]:
        """Open a page and wait for its own verdict: `yes` or `no`, and the reason."""
        self.open(url)
        return self.settled()

    def settled(self) -> tuple[str, str]:
        self.page.wait_for_selector("html:not([data-verified=pending])", state="attached")
        root = self.page.locator("html")
        return root.get_attribute("data-verified") or "", root.get_attribute("data-reason") or ""

    def overflows(self) -> bool:
        """Whether the page is wider than its window."""
        return bool(self.page.evaluate("document.documentElement.scrollWidth > innerWidth"))

    def close(self) -> None:
        self.context.close()
