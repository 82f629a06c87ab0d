"""The pages as people use them: without JavaScript, by keyboard, on a phone, in the dark; and hostile model cards."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from p2pqwen.catalogue import pages
from p2pqwen.index.document import Withdrawal
from p2pqwen.index.upstream import Upstream
from tests.browser.conftest import some_models
from tests.support.browser import WIDTHS, Reader, needs_chromium, web_server
from tests.support.catalogue import CatalogueSite, Model, many
from tests.support.hostile_cards import CARDS
from tests.support.publishing import Publisher, Rules, make_entry, make_root, sign_root

pytestmark = [pytest.mark.slow, needs_chromium]

PAGE = "Qwen/Qwen3.0-0.6B/index.html"
LOOKS = list(itertools.product(WIDTHS, (False, True)))


@pytest.mark.parametrize(("count", "rows"), [(0, 150), (1, 150), (500, 150), (501, 150), (110, 15)])
def test_every_model_and_magnet_is_listed_without_javascript(tmp_path, browser, monkeypatch, count, rows):
    if rows != pages.ROWS:  # eight pages: each model costs one of its own, too
        monkeypatch.setattr(pages, "ROWS", rows)
        monkeypatch.setattr(pages, "ALL_ON_ONE", 50)
    site = CatalogueSite(tmp_path)
    site.publish(many(count, scale=1e-6))
    reader = Reader(browser, java_script_enabled=False)
    names, magnets = [], []
    with web_server(site.out) as url:
        page = reader.open(url)
        while True:
            assert page.locator("html").get_attribute("data-verified") == "pending"
            names += page.locator("[data-row] .name").all_text_contents()
            magnets += page.locator("[data-row] a[data-f=magnet]").evaluate_all("all => all.map(a => a.href)")
            if not page.locator("a[rel=next]").count():
                break
            with page.expect_navigation():
                page.locator("a[rel=next]").press("Enter")  # a busy machine lays out the page under a click
    entries = site.accepted.document.entries
    assert names == [entry.id.repo.text for entry in entries]
    assert magnets == [entry.magnet for entry in entries]
    first = (site.out / "index.html").read_text()
    assert first.count('<li class="row"') == (count if count <= pages.ALL_ON_ONE else rows)
    reader.close()


@pytest.mark.parametrize(("wide", "dark"), LOOKS)
def test_no_page_is_wider_than_its_window(site, browser, wide, dark):
    reader = Reader(browser, wide=wide, dark=dark)
    with web_server(site.out) as url:
        for place in ("", PAGE):
            reader.verdict(url + place)
            assert not reader.overflows(), place
    assert not reader.complaints
    reader.close()


def test_on_paper_every_part_of_a_row_has_the_width_of_the_page(site, browser):
    reader = Reader(browser)
    reader.page.emulate_media(media="print")
    reader.page.set_viewport_size({"width": 700, "height": 1000})
    with web_server(site.out) as url:
        for place in ("", PAGE):
            reader.verdict(url + place)
            parts = reader.page.locator("[data-row] > *")
            widths = parts.evaluate_all("all => all.map((one) => one.getBoundingClientRect().width)")
            assert min(widths) > 600, place
            assert not reader.overflows(), place
    reader.close()


def violations(reader: Reader) -> list[tuple[str, list[str]]]:
    """What axe-core objects to, and the first elements of each kind."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(reader.page).response
    assert len(found["passes"]) > 10, "it looked at the page"
    return [(one["id"], [node["html"] for node in one["nodes"]][:3]) for one in found["violations"]]


@pytest.mark.parametrize(("wide", "dark"), LOOKS)
def test_axe_finds_nothing_to_object_to(site, browser, wide, dark):
    reader = Reader(browser, wide=wide, dark=dark, bypass_csp=True)
    with web_server(site.out) as url:
        for place in ("", PAGE):
            reader.verdict(url + place)
            assert not violations(reader), place
        (site.out / "index.html").write_text((site.out / "index.html").read_text().replace("1.20 GB", "1.21 GB"))
        assert reader.verdict(url)[0] == "no"
        reader.page.fill("#q", "base")
        reader.page.wait_for_selector("#results .row")
        assert not violations(reader)
    reader.close()


def test_search_filters_and_order(tmp_path, reader):
    site = CatalogueSite(tmp_path)
    models = many(320)
    site.publish(models)
    page = reader.page

    def found() -> set[str]:
        page.wait_for_selector("#results:not([hidden])")
        while page.locator("#more").is_visible():
            page.click("#more")
        return set(page.locator("#results .name").all_text_contents())

    with web_server(site.out) as url:
        reader.verdict(url)
        page.fill("#q", "AWQ 32b")
        assert found() == {one.repo for one in models if "AWQ" in one.repo and "32B" in one.repo}
        page.fill("#q", "")
        for choice, value, right in (
            ("org", "unsloth", lambda one: one.repo.startswith("unsloth/")),
            ("license", "mit", lambda one: one.license == "mit"),
            ("format", "gguf", lambda one: any(name.endswith(".gguf") for name in one.sizes)),
            ("quant", "Q4_K_M", lambda one: any("Q4_K_M" in name for name in one.sizes)),
            ("provenance", "unproven", lambda one: not one.proven),
            ("health", "gone", lambda one: one.upstream is Upstream.GONE),
            ("health", "few", lambda one: one.seeds is not None and one.seeds < 3),
            ("health", "unseen", lambda one: one.seeds is None),
            ("class", "large", lambda one: 20e9 < sum(one.sizes.values()) + len(one.readme) <= 200e9),
        ):
            page.select_option(f"#{choice}", value)
            assert found() == {one.repo for one in models if right(one)}, choice
            page.select_option(f"#{choice}", "")
        page.wait_for_selector("#results", state="hidden")
        page.select_option("#sort", "large")
        page.wait_for_selector("#results .name")
        largest = max(models, key=lambda one: sum(one.sizes.values()))
        assert sum(largest.sizes.values()) == max(
            sum(one.sizes.values()) for one in models if one.repo == page.locator("#results .name").first.text_content()
        )
        magnet = page.locator("#results a[data-f=magnet]").first.get_attribute("href")
        assert magnet in {entry.magnet for entry in site.accepted.document.entries}
    assert not reader.complaints


@pytest.mark.timeout(900)
def test_ten_thousand_snapshots_are_searched_within_a_tenth_of_a_second_a_key(tmp_path, reader, monkeypatch):
    monkeypatch.setattr(pages, "render_model", lambda *_: b"")  # nobody opens the page of a model here
    site = CatalogueSite(tmp_path)
    models = many(500, scale=1e-6)
    site.publish([replace(one, message=str(number)) for number in range(20) for one in models])
    with web_server(site.out) as url:
        page = reader.open(url)
        sent = page.evaluate(
            "performance.getEntriesByType('resource').concat(performance.getEntriesByType('navigation'))"
            ".filter(one => !/json|SHA256SUMS/.test(one.name)).reduce((sum, one) => sum + one.encodedBodySize, 0)"
        )
        assert sent < 300_000, "the page, its script and its style, before anything is searched or checked"
        page.focus("#q")
        page.wait_for_selector("#org option:nth-child(2)", state="attached")
        page.wait_for_selector("html[data-verified=yes]", state="attached")
        session = reader.context.new_cdp_session(page)
        session.send("Performance.enable", {"timeDomain": "threadTicks"})  # CPU time: the machine does other things too

        def worked() -> float:
            found = session.send("Performance.getMetrics")["metrics"]
            return next(1000 * one["value"] for one in found if one["name"] == "TaskDuration")

        def key(word: str) -> float:
            before = worked()
            page.evaluate(
                """async (word) => {
                    const box = document.getElementById("q");
                    box.value = word;
                    box.dispatchEvent(new InputEvent("input", {bubbles: true}));
                    await new Promise((go) => setTimeout(go));
                    document.body.offsetHeight;
                }""",
                word,
            )
            return worked() - before

        words = ("q", "qw", "qwen", "qwen3.1", "qwen3.1 gguf", "qwen3.1 gguf 8")
        took = {word: min(key(word) for _ in range(3)) for word in words}
        assert 0 < max(took.values()) < 100, took  # milliseconds
        assert page.locator("#results .row").count() > 0


def test_by_keyboard_alone(site, reader):
    with web_server(site.out) as url:
        reader.verdict(url)
        page = reader.page

        def press_until(selector: str, most: int = 40) -> None:
            for _ in range(most):
                page.keyboard.press("Tab")
                if page.evaluate("selector => document.activeElement.matches(selector)", selector):
                    return
            raise AssertionError(f"Tab never reaches {selector}")

        press_until(".skip", 1)
        page.keyboard.press("Enter")
        assert page.url.endswith("#main")
        press_until("#q")
        page.keyboard.type("base")
        page.wait_for_selector("#results:not([hidden])")
        press_until("#sort")
        press_until("#results a.name")
        name = page.evaluate("document.activeElement.textContent")
        page.keyboard.press("Enter")
        page.wait_for_url(f"**/{name}/index.html")
        assert reader.settled() == ("yes", "")


def test_no_hostile_card_runs_asks_or_breaks_anything(tmp_path, browser):
    site = CatalogueSite(tmp_path)
    models = [Model(f"Cards/Card-{number}", readme=card) for number, card in enumerate(CARDS.values())]
    site.publish(models)
    reader = Reader(browser)
    with web_server(site.out) as url:
        for model, name in zip(models, CARDS, strict=True):
            assert reader.verdict(f"{url}{model.repo}/index.html") == ("yes", ""), name
            assert not reader.complaints, name
            assert not reader.overflows(), name
            assert reader.page.locator("h1").inner_text() == model.repo
            assert reader.page.locator(".check").count() == 1
        assert all(one.startswith((url, "data:")) for one in reader.asked)
    reader.close()


EVIL = "</title><script>alert(1)</script>\"'><img src=x onerror=alert(1)>\u202egnp.exe\x1b[31m"


def test_hostile_names_and_reasons_are_shown_as_text(tmp_path, reader):
    root = make_root(Rules(), name=EVIL)
    publisher = Publisher((sign_root(root, ["root"]),))
    site = CatalogueSite(tmp_path, publisher)
    gone = make_entry(7, "Qwen/Gone").id
    models = [replace(some_models()[0], license=None), *some_models()[1:5]]
    site.publish(models, withdrawn=(Withdrawal(gone, EVIL),))
    with web_server(site.out) as url:
        for place in ("", PAGE):
            assert reader.verdict(url + place) == ("yes", "")
        reader.verdict(url)
        assert "<script>alert(1)</script>" in reader.page.inner_text("header.top")
        assert "<script>alert(1)</script>" in reader.page.inner_text("#verdict")
        assert "\\u202egnp.exe\\x1b" in reader.page.inner_text("section[aria-labelledby=withdrawn-title]")
    assert not reader.complaints


def test_what_stands_on_a_models_page(site, browser):
    reader = Reader(browser, java_script_enabled=False)
    with web_server(site.out) as url:
        page = reader.open(url + PAGE)
        newest, older = sorted(
            (one for one in site.accepted.document.entries if one.id.repo.text == "Qwen/Qwen3.0-0.6B"),
            key=lambda one: one.added,
            reverse=True,
        )
        text = page.inner_text("main")
        for said in (
            f"p2pqwen fetch Qwen/Qwen3.0-0.6B@{newest.id.commit}",
            str(newest.infohash.v1),
            str(newest.infohash.v2),
            "permits redistribution when its notice is kept",
            "changed: config.json, model.safetensors",
            str(older.id.commit)[:8],
            "[image: a curve]",
            "Arithmetic",
        ):
            assert said in text
        links = page.locator("main a").evaluate_all("all => all.map(a => a.getAttribute('href'))")
        assert newest.magnet in links
        assert older.magnet in links
        v1 = next(one for one in links if one.startswith("magnet:") and "btmh" not in one)
        assert f"urn:btih:{newest.infohash.v1}" in v1
        assert page.locator("svg.qr").is_visible()
        assert page.locator("#files tbody tr").count() == newest.files
    reader.close()


def addresses(text: str) -> list[str]:
    return [unescape(one) for one in re.findall(r'(?:src|href|content|action)="((?:https?:)?//[^"]*)"', text)]


def test_pages_name_no_other_host_but_in_cards(site):
    for path in site.out.rglob("*.html"):
        text = re.sub(r'<div class="card".*?</div>', "", Path(path).read_text(), flags=re.DOTALL)
        assert not addresses(text), path
