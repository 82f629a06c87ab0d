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
    assert "Nothing needs attention." in page.inner_text("#alerts")
    heads = page.locator("table:has(#rows) th[scope=col]").all_inner_texts()
    cells = dict(zip(heads[1:], page.locator("#rows td").all_inner_texts(), strict=True))
    assert (cells["Health"], cells["Danger"]) == ("good", "unknown"), "nobody has looked for other copies yet"
    assert page.inner_text("#peers-now") == "· 0 TCP, 0 uTP, 0 WebRTC"
    assert page.inner_text("#scrubs-now") == "· 0 today, 1 in 30 days", "it was verified when it came"
    assert "#" not in page.url
    page.click("button[aria-label^='Pause']")
    page.wait_for_selector("button[aria-label^='Resume']")
    assert row(world.publisher, world.commit)["state"] == "paused"
    page.click("button[aria-label^='Resume']")
    page.wait_for_selector("button[aria-label^='Pause']")
    page.fill("#upload", "7MB/s")
    page.click("#set-limits button")
    page.wait_for_selector("#upload[placeholder='7.00 MB/s']")
    assert world.publisher.ok("limits")["upload"] == 7_000_000
    page.reload()  # the token stays in this tab
    page.wait_for_selector("body[data-state=live] #rows tr")
    assert not reader.complaints


def test_the_page_that_the_command_opens_leads_in_once(node, reader, monkeypatch):
    world, _ = node
    given = []
    monkeypatch.setattr("webbrowser.open", given.append)
    world.publisher.run("dashboard")
    page = reader.page
    page.goto(given[0])
    page.wait_for_selector("body[data-state=live] #rows tr")
    assert "ticket" not in page.url
    assert "#" not in page.url
    reader.context.clear_cookies()
    page.evaluate("sessionStorage.clear()")
    page.goto(given[0])
    page.wait_for_selector("body[data-state=locked] #token")
    assert "used before" in page.inner_text("#node")
    assert "p2pqwen dashboard" in page.inner_text("#key")


def test_pinning_is_shown_and_taken_back(node, reader):
    world, url = node
    page = reader.open(url)
    page.click("button[aria-label^='Pin']")
    page.wait_for_selector("button[aria-label^='Unpin']")
    assert page.evaluate("document.activeElement.ariaLabel").startswith("Unpin"), "the row is drawn in place"
    assert row(world.publisher, world.commit)["pinned"]
    page.click("button[aria-label^='Unpin']")
    page.wait_for_selector("button[aria-label^='Pin']")
    assert not row(world.publisher, world.commit)["pinned"]


def test_a_plan_is_shown_before_anything_is_fetched(node, reader):
    world, _ = node
    adopter = world.trusting("adopter")
    with seeding(adopter, "--dashboard", "127.0.0.1:0") as (process, _):
        process.json_line(30, containing='"dashboard"')
        page = reader.open(adopter.ok("dashboard")["url"])
        page.wait_for_selector("body[data-state=live]")
        page.fill("#budget", "much")
        page.keyboard.press("Enter")
        page.wait_for_selector("#answer:text('Plan:')")
        page.fill("#budget", "1GB")
        page.keyboard.press("Enter")
        page.wait_for_selector("#plan-rows tr")
        assert "Qwen/Tiny" in page.inner_text("#plan-rows")
        assert "1 chosen" in page.inner_text("#plan-sum")
        page.click("#plan-go")
        page.wait_for_selector("#sure[open]")
        page.keyboard.press("Enter")  # what has the focus is not to
        page.wait_for_selector("#sure", state="hidden")
        assert adopter.ok("status")["snapshots"] == []
        page.click("#plan-go")
        page.click("#sure-yes")
        page.wait_for_selector("#answer:text-is('Adopt: done.')")
        assert all("status of 400" in one for one in reader.complaints), "but for the plan that was none"


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
