"""The dashboard in a real browser: what it shows of a running node, and what its buttons do."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulators.hub import HubSimulator
from tests.support.browser import Reader, needs_chromium
from tests.support.nodes import row, seeding
from tests.support.world import World

pytestmark = [pytest.mark.slow, needs_chromium]


@pytest.fixture(scope="module")
def node(tmp_path_factory) -> Iterator[tuple[World, str]]:
    with HubSimulator() as hub:
        world = World(tmp_path_factory.mktemp("world"), hub)
        with seeding(world.publisher, "--dashboard", "127.0.0.1:0") as (process, _):
            process.json_line(30, containing='"seeding"')
            yield world, world.publisher.ok("dashboard")["url"]


def test_it_shows_the_node_and_pauses_a_snapshot(node, reader):
    world, url = node
    page = reader.open(url)
    page.wait_for_selector("body[data-state=live] #rows tr")
    assert "Qwen/Tiny" in page.inner_text("#rows")
    assert "Nothing needs you." in page.inner_text("#alerts")
    assert "#" not in page.url
    page.click("button[aria-label^='Pause']")
    page.wait_for_selector("button[aria-label^='Resume']")
    assert row(world.publisher, world.commit)["state"] == "paused"
    page.click("button[aria-label^='Resume']")
    page.wait_for_selector("button[aria-label^='Pause']")
    page.fill("#upload", "7MB/s")
    page.click("#set-limits button")
    page.wait_for_selector("#upload[placeholder='7.00 MB']")
    assert world.publisher.ok("limits")["upload"] == 7_000_000
    page.reload()  # the token stays in this tab
    page.wait_for_selector("body[data-state=live] #rows tr")
    assert not reader.complaints


def test_removing_asks_first(node, reader):
    world, url = node
    page = reader.open(url)
    page.click("button[aria-label^='Remove']")
    assert "Delete Qwen/Tiny@" in page.inner_text("#sure")
    page.keyboard.press("Enter")  # what has the focus is to keep it
    page.wait_for_selector("#sure", state="hidden")
    assert row(world.publisher, world.commit)["state"] == "seeding"


def test_without_the_token_it_is_locked(node, reader):
    _, url = node
    address, _, token = url.partition("#")
    page = reader.open(address)
    page.wait_for_selector("body[data-state=locked] #token")
    assert "Qwen/Tiny" not in page.content()
    page.fill("#token", token)
    page.keyboard.press("Enter")
    page.wait_for_selector("body[data-state=live] #rows tr")


@pytest.mark.parametrize("wide", ["phone", "desktop"])
@pytest.mark.parametrize("dark", [False, True])
def test_it_fits_and_axe_finds_nothing(node, browser, wide, dark):
    from tests.browser.test_pages import violations

    reader = Reader(browser, wide=wide, dark=dark, bypass_csp=True)
    page = reader.open(node[1])
    page.wait_for_selector("body[data-state=live] #rows tr")
    assert not reader.overflows()
    assert not violations(reader)
    reader.close()
