#!/usr/bin/env python3
"""Take the pictures of the manual: the catalogue, a row that was tampered with, the dashboard of a node.

    scripts/take_pictures.py [FOLDER]       default: .github/images

Models and sizes are invented, and everything runs on this machine. It needs chromium.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from p2pqwen.library.home import Home  # noqa: E402 - the project's root must be found first
from tests.support.browser import Reader, chromium, web_server  # noqa: E402
from tests.support.catalogue import CatalogueSite, many  # noqa: E402
from tests.support.command import CommandLine  # noqa: E402
from tests.support.nodes import quiet_config, seeding  # noqa: E402
from tests.support.snapshots import hold  # noqa: E402

WINDOW = {"width": 1100, "height": 900}
NAMES = ("Qwen3-0.6B", "Qwen3-1.7B", "Qwen3-4B", "Qwen3-8B-GGUF", "Qwen3-Embedding-0.6B", "Qwen3-Reranker-0.6B")


def catalogue(browser, folder: Path, to: Path) -> None:  # noqa: ANN001 - playwright's
    site = CatalogueSite(folder)
    site.publish(many(320))
    with web_server(site.out) as url:
        reader = Reader(browser)
        reader.page.set_viewport_size(WINDOW)
        assert reader.verdict(url)[0] == "yes"
        reader.page.fill("#q", "gguf 8b")
        reader.page.wait_for_selector("#results .row")
        reader.page.screenshot(path=to / "catalogue.png")
        page = site.out / "index.html"
        page.write_text(page.read_text().replace(">apache-2.0<", ">mit<", 1))
        assert reader.verdict(url)[0] == "no"
        reader.page.screenshot(path=to / "catalogue_changed.png")
        reader.close()


def dashboard(browser, folder: Path, to: Path) -> None:  # noqa: ANN001 - playwright's
    user = CommandLine(folder / "node")
    quiet_config(user)
    for number, name in enumerate(NAMES):
        files = {"config.json": b"{}\n", "model.safetensors": bytes([number]) * 3_000_000}
        hold(Home(user.home), files, f"Qwen/{name}", message=name)
    user.ok("limits", "--monthly-upload", "500GB", "--upload", "5MB/s")
    user.ok("pin", f"Qwen/{NAMES[0]}")
    with seeding(user, "--dashboard", "127.0.0.1:0") as (node, _):
        node.json_line(60, containing='"dashboard"')
        reader = Reader(browser)
        reader.page.set_viewport_size(WINDOW)
        page = reader.open(user.ok("dashboard")["url"])
        page.wait_for_selector(f"body[data-state=live] #rows tr:nth-child({len(NAMES)})")
        page.screenshot(path=to / "dashboard.png", full_page=True)
        reader.close()


def main() -> None:
    to = Path(sys.argv[1]) if sys.argv[1:] else ROOT / ".github" / "images"
    with tempfile.TemporaryDirectory() as name, chromium() as browser:
        catalogue(browser, Path(name), to)
        dashboard(browser, Path(name), to)


if __name__ == "__main__":
    main()
