"""Feeds in a real reader: newsboat, which takes what it knows from the three forms as they are served."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import subprocess
from html import unescape
from pathlib import Path

import pytest

from tests.support.browser import web_server
from tests.support.catalogue import CatalogueSite, many

pytestmark = pytest.mark.skipif(shutil.which("newsboat") is None, reason="newsboat is not installed")


def read(url: str, folder: Path) -> list[tuple[str, str, str]]:
    """Let newsboat read a feed once; return what it keeps of each item: title, address, text.

    Of enclosures it keeps sound and pictures alone.
    """
    folder.mkdir()
    (folder / "urls").write_text(f"{url}\n")
    (folder / "config").write_text("max-items 0\n")
    store = folder / "cache.db"
    where = ["-u", folder / "urls", "-C", folder / "config", "-c", store, "-l", "4", "-d", folder / "log"]
    done = subprocess.run(
        ["newsboat", *where, "-x", "reload"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={"HOME": str(folder), "PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with contextlib.closing(sqlite3.connect(store)) as connection:
        return connection.execute("SELECT title, url, content FROM rss_item").fetchall()


@pytest.mark.parametrize("form", ["rss.xml", "atom.xml"])
def test_newsboat_reads_every_item(tmp_path, form):
    site = CatalogueSite(tmp_path)
    with web_server(site.out) as url:
        site.publish(many(12, scale=1e-6), mirrors=(url,))
        found = read(f"{url}p2pqwen--site/feeds/new.{form}", tmp_path / "reader")
    entries = {f"{url}{entry.id.repo.text}/index.html": entry for entry in site.accepted.document.entries}
    assert {address for _, address, _ in found} == set(entries)
    for title, address, text in found:
        assert title.startswith(f"{entries[address].id.repo.text} @ ")
        assert entries[address].magnet in unescape(text)


def test_newsboat_reads_magnets_where_there_is_no_mirror(tmp_path):
    site = CatalogueSite(tmp_path)
    site.publish(many(3, scale=1e-6))
    with web_server(site.out) as url:
        found = read(f"{url}p2pqwen--site/feeds/new.rss.xml", tmp_path / "reader")
    magnets = {one.magnet for one in site.accepted.document.entries}
    assert {next(one for one in magnets if one in unescape(text)) for *_, text in found} == magnets
