"""The pages check themselves: the honest site turns green, and whatever was changed turns red with the reason."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.browser.conftest import some_models
from tests.support.browser import Reader, needs_chromium, plain_server, web_server
from tests.support.catalogue import CatalogueSite, Model, many
from tests.support.publishing import Publisher, Rules, chain, sign_index

pytestmark = [pytest.mark.slow, needs_chromium]

MODEL = "Qwen/Qwen3.0-0.6B"
PAGE = f"{MODEL}/index.html"


def test_the_honest_site_turns_green_and_asks_no_other_host(site, reader):
    with web_server(site.out) as url:
        for page in ("", "index.html", PAGE, f"{MODEL}/"):
            assert reader.verdict(url + page) == ("yes", ""), page
            root = reader.page.locator("html")
            assert root.get_attribute("data-publisher") == str(site.publisher.id)
            assert "Test Keep signed index 0.1 on 2026-11-23" in reader.page.inner_text("#verdict")
        assert not reader.complaints
        assert all(one.startswith((url, "data:")) for one in reader.asked)


def test_a_thousand_models_are_checked_in_ten_seconds(tmp_path, reader):
    site = CatalogueSite(tmp_path)
    site.publish(many(1000, scale=1e-6))
    with web_server(site.out) as url:
        reader.open(url)
        reader.page.wait_for_selector("html[data-verified=yes]", state="attached", timeout=10_000)
        reader.page.click("nav.pages a[rel=next]")
        assert reader.settled() == ("yes", "")


@pytest.mark.parametrize("page", ["index.html", PAGE])
def test_a_server_without_validators_sends_page_script_and_style_once(site, reader, page):
    with plain_server(site.out) as (url, sent):
        assert reader.verdict(url + page) == ("yes", "")
        assert "are the bytes that were signed" in (reader.page.text_content("#verdict-more") or "")
        loaded = ("/" + page, "/p2pqwen--site/page.js", "/p2pqwen--site/style.css")
        assert {place: sent.count(place) for place in loaded} == dict.fromkeys(loaded, 1)


def test_where_the_browser_kept_a_style_of_an_earlier_version_the_server_is_asked(site, reader):
    style = site.out / "p2pqwen--site/style.css"
    signed = style.read_bytes()
    with plain_server(site.out, max_age=3600) as (url, sent):
        style.write_bytes(signed + b"/* earlier */")
        assert reader.verdict(url + PAGE) == ("no", "p2pqwen--site/style.css is not the file that was signed")
        style.write_bytes(signed)
        sent.clear()
        assert reader.verdict(f"{url}index.html") == ("yes", "")
        assert sent.count("/p2pqwen--site/style.css") <= 1  # by the check alone: the page itself had the kept one


def test_a_site_whose_magnets_name_a_mirror_turns_green(tmp_path, reader):
    site = CatalogueSite(tmp_path)
    site.publish([Model(MODEL)], mirrors=("https://mirror.example/",))
    assert site.accepted.document.entries[0].magnet.endswith(".torrent")
    with web_server(site.out) as url:
        for page in ("", PAGE):
            assert reader.verdict(url + page) == ("yes", ""), page


def test_what_is_no_model_of_the_hub_has_its_place_and_turns_green(tmp_path, reader):
    site = CatalogueSite(tmp_path)
    names = ["Qwen/One", "datasets/Qwen/One", "modelscope:Qwen/One", "modelscope:datasets/Qwen/One"]
    site.publish([Model(name) for name in names])
    with web_server(site.out) as url:
        assert reader.verdict(url) == ("yes", "")
        assert sorted(reader.page.locator("[data-row] .name").all_text_contents()) == sorted(names)
        upstreams = reader.page.locator("#all [data-f=upstream]").all_text_contents()
        assert sorted(upstreams) == ["on ModelScope", "on ModelScope", "on the Hub", "on the Hub"]
        assert reader.page.inner_text("h1") == "2 models and 2 datasets, kept alive by Test Keep"
        reader.page.fill("#q", "one")
        reader.page.wait_for_selector("#results .name")
        links = reader.page.locator("#results .name").evaluate_all("all => all.map(a => a.href)")
        for link in links:
            assert reader.verdict(link) == ("yes", ""), link
    assert len(links) == 4


def change(place: str, before: str, after: str) -> Callable[[Path], None]:
    """Replace the first of a text in a file of the site by another."""

    def do(out: Path) -> None:
        text = (out / place).read_text()
        assert before in text
        (out / place).write_text(text.replace(before, after, 1))

    return do


def stranger_signs(out: Path) -> None:
    outer = json.loads((out / "index.json").read_text())
    outer["signatures"] = sign_index(outer["signed"], ["stranger"])
    (out / "index.json").write_text(json.dumps(outer))


def of_a_stranger(out: Path) -> None:
    other = Publisher(chain(Rules(root=("stranger",), index=("stranger",))))
    (out / "index.json").write_bytes(other.publish(signers=("stranger",)))


def without_a_row(out: Path) -> None:
    page = out / "index.html"
    page.write_text(re.sub(r'<li class="row".*?</li>\n', "", page.read_text(), count=1, flags=re.DOTALL))


def another_torrent(out: Path) -> None:
    newest = re.search(r'data-torrent="(.*?)"', (out / PAGE).read_text())[1]
    older = next(one for one in (out / MODEL).glob("*.torrent") if one.name not in newest)
    shutil.copy(older, out / newest)


def without(place: str) -> Callable[[Path], None]:
    return lambda out: (out / place).unlink()


ROW = "the row of Qwen/Qwen3.0-0.6B "
TAMPERED = {
    "index.json: a byte of an entry": (change("index.json", '"files": 3', '"files": 4'), "", "not enough index keys"),
    "index.json: a byte of a signature": (change("index.json", '"sig": "', '"sig": "A'), "", "root 1 is not signed"),
    "index.json: not JSON": (change("index.json", '"signed"', '"signed'), "", "an open end in a text"),
    "index.json: gone": (without("index.json"), "", "HTTP 404"),
    "index.json: a stranger's signature": (stranger_signs, "", "not enough index keys"),
    "index.json: a stranger's": (of_a_stranger, "", "it is of another publisher"),
    "a row: magnet": (change("index.html", "xt=urn:btih:", "xt=urn:btih:0"), "", f"{ROW}has another magnet"),
    "a row: size": (change("index.html", ">1.20 GB<", ">1.21 GB<"), "", f"{ROW}says another size"),
    "a row: license": (change("index.html", ">apache-2.0<", ">mit<"), "", f"{ROW}says another license"),
    "a row: provenance": (
        change("index.html", '"provenance">unproven<', '"provenance">proven<'),
        "",
        "says another provenance",
    ),
    "a row: words beside": (
        change("index.html", "<code data-f=", "safe <code data-f="),
        "",
        "says more than the index",
    ),
    "a row: torrent": (change("index.html", ".torrent", "0.torrent"), "", "is not in the index"),
    "a row: left out": (without_a_row, "", "leaves out or moves rows"),
    "the list: made of another index": (
        change("index.html", 'data-position="0.1"', 'data-position="0.2"'),
        "",
        "made of index 0.2",
    ),
    "a page: hash of a file": (
        change(PAGE, "<tr><td>config.json</td><td", "<tr><td>config.jsom</td><td"),
        PAGE,
        "config.json",
    ),
    "a page: the card": (change(PAGE, "It speaks.", "It speaks!"), PAGE, f"{PAGE} is not the file that was signed"),
    "a page: command": (change(PAGE, "p2pqwen fetch ", "p2pqwen  fetch "), PAGE, "is not the file that was signed"),
    "a page: an old magnet": (
        change(PAGE, 'href="magnet:?xt=urn:btih:', 'href="magnet:?xt=urn:btih:1'),
        PAGE,
        "magnet",
    ),
    "a torrent: another one": (another_torrent, PAGE, "is the torrent of another snapshot"),
    "the script": (change("p2pqwen--site/page.js", '"use strict"', '"use strict" '), "", "page.js is not the file"),
    "the sums": (change("SHA256SUMS", "index.html", "index.htm1"), "", "SHA256SUMS is not the one that was signed"),
    "the sums: signature gone": (without("SHA256SUMS.sig"), "", "SHA256SUMS.sig cannot be read"),
}


@pytest.mark.parametrize("case", TAMPERED)
def test_what_was_changed_turns_red_with_the_reason(site, reader, case):
    tamper, page, reason = TAMPERED[case]
    tamper(site.out)
    with web_server(site.out) as url:
        word, said = reader.verdict(url + page)
    assert word == "no", case
    assert reason in said
    assert said in reader.page.inner_text("#verdict")


def test_a_changed_byte_of_the_search_data_turns_red(site, reader):
    change("p2pqwen--site/data-0.json", "apache-2.0", "apache-2.1")(site.out)
    with web_server(site.out) as url:
        assert reader.verdict(url)[0] == "yes"  # it is read when somebody searches
        reader.page.fill("#q", "qwen")
        reader.page.wait_for_selector("html[data-verified=no]", state="attached")
        assert "data-0.json" in reader.settled()[1]


def test_search_data_that_nobody_signed_is_compared_with_the_index(tmp_path, reader):
    site = CatalogueSite(tmp_path)
    site.publish(some_models(), signed=False)
    with web_server(site.out) as url:
        assert reader.verdict(url)[0] == "yes"
        assert "not signed" in reader.page.locator("#verdict").text_content()
        change("p2pqwen--site/data-0.json", "apache-2.0", "apache-2.1")(site.out)
        reader.page.fill("#q", "qwen")
        reader.page.wait_for_selector("html[data-verified=no]", state="attached")
        assert "search data and the index disagree" in reader.settled()[1]


def test_a_site_that_was_rolled_back_turns_red_for_who_saw_the_newer_one(tmp_path, reader):
    site, old = CatalogueSite(tmp_path), tmp_path / "old"
    models = some_models()
    site.publish(models[:-1])
    shutil.copytree(site.out, old)
    site.publish(models)
    with web_server(site.out) as url:
        assert reader.verdict(url)[0] == "yes"
        shutil.rmtree(site.out)
        shutil.copytree(old, site.out)
        assert reader.verdict(url) == ("no", "index 0.1 is older than 0.2, accepted before")


def test_an_index_that_was_rolled_back_alone_turns_red_for_everybody(tmp_path, reader):
    site = CatalogueSite(tmp_path)
    site.publish(some_models())
    old = (site.out / "index.json").read_bytes()
    site.publish(some_models())
    (site.out / "index.json").write_bytes(old)
    with web_server(site.out) as url:
        assert reader.verdict(url) == ("no", "this page was made of index 0.2, and index.json is 0.1")
        word, reason = reader.verdict(url + PAGE)  # made before, and not made again
        assert (word, reason) == ("no", "SHA256SUMS is of index 0.2, index.json is 0.1")


def test_two_indexes_of_one_version_are_told_apart(tmp_path, reader):
    site, other = CatalogueSite(tmp_path / "one"), CatalogueSite(tmp_path / "other")
    site.publish(some_models())
    other.publish(some_models()[:-1])
    with web_server(site.out) as url:
        assert reader.verdict(url)[0] == "yes"
        shutil.rmtree(site.out)
        shutil.copytree(other.out, site.out)
        assert "signed two different indexes 0.1" in reader.verdict(url)[1]


def test_a_publisher_id_is_compared_and_remembered(site, reader):
    with web_server(site.out) as url:
        reader.verdict(url)
        reader.page.fill("#pin-id", "ab" * 32)
        reader.page.click("#pin button[type=submit]")
        reader.page.wait_for_selector("html[data-verified=no]", state="attached")
        assert "you compare it with " + "ab" * 32 in reader.verdict(url + PAGE)[1]
        reader.page.fill("#pin-id", str(site.publisher.id).upper())
        reader.page.click("#pin button[type=submit]")
        reader.page.wait_for_selector("html[data-verified=yes]", state="attached")
        assert reader.verdict(url)[0] == "yes"
        assert reader.page.input_value("#pin-id") == str(site.publisher.id)
        assert "that you compare with" in reader.page.locator("#verdict").text_content()
        reader.page.click("#pin-forget")
        assert reader.page.input_value("#pin-id") == ""


def test_a_dropped_torrent_is_checked(site, reader, tmp_path):
    torrent = next((site.out / MODEL).glob("*.torrent"))
    changed = tmp_path / "changed.torrent"
    data = torrent.read_bytes()
    at = data.index(b"6:pieces") + 20
    changed.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    with web_server(site.out) as url:
        reader.verdict(url)
        reader.page.set_input_files("#drop-file", torrent)
        reader.page.wait_for_selector("#drop-answer.good")
        assert f"It is {MODEL} at commit {torrent.stem}" in reader.page.inner_text("#drop-answer")
        reader.page.set_input_files("#drop-file", changed)
        reader.page.wait_for_selector("#drop-answer.bad")
        assert "lists no torrent" in reader.page.inner_text("#drop-answer")
        assert reader.settled() == ("yes", "")


def colour(reader: Reader) -> str:
    return reader.page.evaluate("getComputedStyle(document.getElementById('verdict')).color")


def colour_of(reader: Reader, name: str) -> str:
    """What a colour of the style is called when it is computed."""
    return reader.page.evaluate(
        """name => {
            const one = document.body.appendChild(document.createElement("i"));
            one.style.color = `var(${name})`;
            const found = getComputedStyle(one).color;
            one.remove();
            return found;
        }""",
        name,
    )


def test_a_page_opened_from_a_disk_says_what_it_cannot_do_and_checks_a_dropped_index(site, reader):
    word, reason = reader.verdict((site.out / "index.html").as_uri())
    assert (word, reason) == ("no", "not checked: opened from a disk")
    assert "python3 -m http.server" in reader.page.inner_text("#verdict")
    assert "nothing is known to be wrong" in reader.page.inner_text("#verdict-text")
    assert colour(reader) == colour_of(reader, "--wait"), "it is no alarm"
    assert reader.page.locator("[data-row]").count() == 13
    reader.page.set_input_files("#drop-file", site.out / "index.json")
    reader.page.wait_for_selector("html[data-verified=yes]", state="attached")
    change("index.html", ">1.20 GB<", ">1.21 GB<")(site.out)
    reader.verdict((site.out / "index.html").as_uri())
    reader.page.set_input_files("#drop-file", site.out / "index.json")
    reader.page.wait_for_selector("html[data-reason*='another size']", state="attached")
    assert colour(reader) == colour_of(reader, "--bad"), "and this is one"


def test_without_webcrypto_the_vendored_library_checks(site, browser):
    """As on a page that came over plain http from another machine."""
    reader = Reader(browser)
    reader.context.add_init_script("Object.defineProperty(globalThis, 'crypto', {value: undefined})")
    with web_server(site.out) as url:
        assert reader.verdict(url) == ("yes", "")
        assert reader.verdict(url + PAGE) == ("yes", "")
        stranger_signs(site.out)
        assert "not enough index keys" in reader.verdict(url)[1]
    assert any("noble/fallback.js" in one for one in reader.asked)
    reader.close()
