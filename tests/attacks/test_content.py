"""Attacks 36 and 50 to 57: on what an index lists. (51, 53 and 54 are the torrent's and the swarm's: see README.md.)"""

from __future__ import annotations

import shutil
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from p2pqwen.errors import NetworkError, VerificationError
from p2pqwen.hub.hub_site import HubSite
from p2pqwen.index.root import SignedRoot
from p2pqwen.library.home import Home
from p2pqwen.library.key_store import KeyStore
from p2pqwen.library.snapshots import Library
from p2pqwen.library.trust_store import TrustStore
from p2pqwen.mirrors.location import Location
from p2pqwen.operations.indexes.found import Found
from p2pqwen.operations.indexes.lookup import check_torrent, find_entries, load_torrent
from p2pqwen.operations.indexes.trust import add_publisher
from p2pqwen.operations.publish.keys import init_keys
from p2pqwen.operations.publish.plan import Plan
from p2pqwen.operations.publish.publish import publish
from p2pqwen.operations.publish.rotate import write_roots
from p2pqwen.torrent.metainfo import parse_metainfo
from p2pqwen.values.snapshot_id import RepoId
from tests.attacks.victim import NOW, SIGNERS, Victim
from tests.support.command import CommandLine
from tests.support.publishing import (
    Rules,
    chain,
    digest,
    key,
    make_document,
    make_entry,
    make_index,
    make_root,
    sign_root,
    withdrawal,
)
from tests.support.snapshots import hold, make_snapshot, sign_torrent

BIDI = "\u202egnp.exe"
ESCAPE = "\x1b[2J\x1b]0;owned\x07"


def listed(victim: Victim, **changes: Any) -> bytes:
    """The honest next version whose first entry is changed, and then signed by enough keys: the publisher lies."""
    rows = victim.next()["entries"]
    return victim.next_file(entries=[{**rows[0], **changes}, rows[1]])


ENTRIES: dict[str, dict[str, Any]] = {
    "50-repo-climbs": {"repo": "../../etc"},
    "50-repo-absolute": {"repo": "/etc/passwd"},
    "50-repo-three-parts": {"repo": "a/b/c"},
    "50-repo-dots": {"repo": "Qwen/.."},
    "50-repo-backslash": {"repo": "Qwen\\Tiny"},
    "50-repo-nul": {"repo": "Qwen/Ti\0ny"},
    "50-repo-bidi": {"repo": "Qwen/" + BIDI},
    "50-repo-long": {"repo": "Qwen/" + "x" * 4096},
    "50-commit-branch": {"commit": "main"},
    "50-commit-upper-case": {"commit": "A" * 40},
    "50-commit-short": {"commit": "abcdef0"},
    "50-commit-newline": {"commit": "a" * 40 + "\n"},
    "50-torrent-climbs": {"torrent": "../../../x.torrent"},
    "50-torrent-absolute": {"torrent": "/etc/passwd"},
    "50-torrent-url": {"torrent": "https://evil.example/x.torrent"},
    "50-torrent-of-another": {"torrent": f"Qwen/Tiny/{'0' * 40}.torrent"},
    "52-infohash-v1-not-the-magnets": {"infohash_v1": "1" * 40},
    "52-infohash-v2-not-the-magnets": {"infohash_v2": "1" * 64},
    "52-size-not-the-magnets": {"size": 999_999},
    "52-web-seeds-not-the-magnets": {"web_seeds": ["https://mirror.example/"]},
    "52-magnet-of-another": {"magnet": make_entry(3).magnet},
    "52-magnet-with-a-peer": {"magnet": make_entry(1).magnet + "&x.pe=10.0.0.1%3A22"},
    "52-magnet-with-a-second-hash": {"magnet": make_entry(1).magnet + "&xt=urn:btih:" + "1" * 40},
    "52-magnet-with-another-seed": {"magnet": make_entry(1).magnet + "&ws=http%3A%2F%2Fevil.example%2F"},
    "52-magnet-is-none": {"magnet": "https://example.org"},
    "52-magnet-huge": {"magnet": make_entry(1).magnet + "&tr=x" * 10_000},
    "54-recipe-0": {"recipe": 0},
    "54-recipe-in-words": {"recipe": "1"},
    "54-piece-length": {"piece_length": 16384},
    "54-size-negative": {"size": -1},
    "54-size-2^53": {"size": 2**53 - 1},
    "54-no-files": {"files": 0},
    "56-license-a-number": {"license": 7},
    "56-license-long": {"license": "x" * 10_000},
    "56-added-in-words": {"added": "yesterday"},
    "57-provenance-trust-me": {"provenance": "verified"},
    "57-upstream-unheard-of": {"upstream": "fine"},
    "57-repo-type-a-number": {"repo_type": 1},
    "57-repo-type-blank": {"repo_type": ""},
    "57-repo-type-escape": {"repo_type": ESCAPE},
    "57-repo-type-long": {"repo_type": "x" * 301},
}


@pytest.mark.parametrize("changes", ENTRIES.values(), ids=ENTRIES.keys())
def test_entries_that_contradict_themselves(victim: Victim, changes):
    victim.refuses(listed(victim, **changes), step=7)


URLS = {
    "55-file": "file:///etc/passwd",
    "55-ftp": "ftp://example.org/",
    "55-credentials": "https://user:password@example.org/",
    "55-user": "https://user@example.org/",
    "55-idna": "https://xn--80ak6aa92e.com/",
    "55-unicode-host": "https://\u0430pple.com/",
    "55-no-host": "https:///x",
    "55-query": "http://127.0.0.1/api?delete=all",
    "55-fragment": "https://example.org/#x",
    "55-backslash": "https://example.org\\@evil.example/",
    "55-blank": "https://example.org/a b",
    "55-newline": "https://example.org/\nHost: evil",
    "55-dots": "https://example.org/a/../../b/",
    "56-escape": f"https://example.org/{ESCAPE}",
    "56-shell": "https://example.org/`reboot`",
    "56-bidi": f"https://example.org/{BIDI}",
    "55-long": "https://example.org/" + "x" * 5000,
    "55-javascript": "javascript:alert(1)",
}


@pytest.mark.parametrize("url", URLS.values(), ids=URLS.keys())
def test_addresses_nobody_should_follow(victim: Victim, url):
    victim.refuses(listed(victim, web_seeds=[url]), step=7)
    victim.refuses(victim.next_file(mirrors=[url]), step=7)


LISTS: dict[str, Callable[[list[Any]], list[Any]]] = {
    "38-out-of-order": lambda rows: rows[::-1],
    "38-listed-twice": lambda rows: [rows[0], rows[0], rows[1]],
    "38-listed-twice-differently": lambda rows: [rows[0], {**rows[0], "license": "mit"}, rows[1]],
    "38-not-an-object": lambda rows: [None, *rows],
}


@pytest.mark.parametrize("change", LISTS.values(), ids=LISTS.keys())
def test_lists_that_are_no_lists(victim: Victim, change):
    victim.refuses(victim.next_file(entries=change(victim.next()["entries"])), step=7)


def test_38_listed_and_withdrawn_at_once(victim: Victim):
    row = {"repo": victim.entry.id.repo.text, "commit": str(victim.entry.id.commit), "reason": "why not"}
    victim.refuses(victim.next_file(withdrawn=[row]), step=7)
    victim.refuses(victim.next_file(withdrawn=[{**row, "commit": "0" * 40}] * 2), step=7)


def test_37_withdrawn_entries_leave_the_list_and_nothing_else(victim: Victim, tmp_path: Path):
    held = hold(victim.home)
    document = make_document(victim.roots, 7, [], withdrawn=(withdrawal(victim.entry, "license"),))
    victim.accepts(make_index(victim.roots, document, SIGNERS))
    assert held.torrent_path.is_file()
    assert (held.folder / "model.safetensors").read_bytes() == b"w" * 70_000


@pytest.fixture
def site(tmp_path: Path) -> tuple[Found, Path]:
    """A published site with two snapshots, trusted by a second home; the entry of the first."""
    publisher, reader = Home(tmp_path / "publisher"), Home(tmp_path / "reader")
    keys = KeyStore(publisher)
    identity = init_keys(keys, "Test Keep", None).publisher
    hold(publisher)
    hold(publisher, {"other.bin": b"o" * 5000}, repo="Qwen/Tiny", message="two")
    folder = tmp_path / "site"
    plan = Plan(out=folder, site=HubSite("https://huggingface.co"))
    publish(Library(publisher), keys, plan, passphrase=lambda _: "", now=NOW, check=None)
    trusted = add_publisher(TrustStore(reader), identity, Location(str(folder)), now=NOW)
    wanted = str(make_snapshot().commit)
    found = [one for one in find_entries([trusted], RepoId("Qwen/Tiny")) if str(one.entry.id.commit) == wanted]
    return found[0], folder


def test_the_right_torrent_is_taken(site):
    found, _ = site
    assert load_torrent(found).infohash == found.entry.infohash


def other(found: Found, folder: Path) -> Path:
    return next(path for path in folder.rglob("*.torrent") if path != folder / found.entry.torrent)


def swapped(found: Found, folder: Path) -> bytes:
    return other(found, folder).read_bytes()


def manifest_swapped(found: Found, folder: Path) -> bytes:
    mine, theirs = parse_metainfo((folder / found.entry.torrent).read_bytes()), parse_metainfo(swapped(found, folder))
    return replace(mine, manifest=theirs.manifest).encode()


def manifest_of_other_bytes(found: Found, folder: Path) -> bytes:
    """The same commit described without its proof: another manifest than the index names."""
    mine = parse_metainfo((folder / found.entry.torrent).read_bytes())
    unproven = make_snapshot(proven=False)
    return replace(mine, manifest=unproven.manifest).encode()


def manifest_dropped(found: Found, folder: Path) -> bytes:
    return replace(parse_metainfo((folder / found.entry.torrent).read_bytes()), manifest=None).encode()


def unsigned(found: Found, folder: Path) -> bytes:
    return replace(parse_metainfo((folder / found.entry.torrent).read_bytes()), signatures={}).encode()


def signed_by_a_stranger(found: Found, folder: Path) -> bytes:
    mine = replace(parse_metainfo((folder / found.entry.torrent).read_bytes()), signatures={})
    return sign_torrent(mine, key("stranger"), "Test Keep index key").encode()


@pytest.mark.parametrize(
    ("forge", "problem"),
    [
        pytest.param(swapped, "another one than the index names", id="36-52-torrent-of-another-snapshot"),
        pytest.param(manifest_swapped, "manifest of", id="36-manifest-of-another-snapshot"),
        pytest.param(manifest_of_other_bytes, "manifest of", id="36-manifest-of-another-version"),
        pytest.param(manifest_dropped, "manifest of", id="36-no-manifest"),
        pytest.param(unsigned, "no valid signature", id="01-unsigned-torrent"),
        pytest.param(signed_by_a_stranger, "no valid signature", id="02-torrent-signed-by-a-stranger"),
        pytest.param(lambda *_: b"<html>", "a web page, not a .torrent", id="19-html"),
    ],
)
def test_torrents_that_are_not_the_entrys(site, tmp_path: Path, forge, problem):
    found, folder = site
    data = forge(found, folder)
    before = everything(tmp_path / "reader")
    with pytest.raises(VerificationError, match=problem):
        check_torrent(found, data)
    (folder / found.entry.torrent).write_bytes(data)
    with pytest.raises(VerificationError, match=problem):
        load_torrent(found)
    assert everything(tmp_path / "reader") == before


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_39_a_mirror_with_the_right_torrent_makes_up_for_one_with_a_wrong_one(site, tmp_path: Path):
    found, folder = site
    good = tmp_path / "good"
    shutil.copytree(folder, good)
    (folder / found.entry.torrent).write_bytes(swapped(found, folder))
    locations = (*found.torrent_locations, str(good / found.entry.torrent))
    assert (
        load_torrent(replace(found, torrent_locations=locations)).metainfo.encode()
        == (good / found.entry.torrent).read_bytes()
    )


def test_41_no_mirror_at_all(site):
    found, folder = site
    shutil.rmtree(folder)
    with pytest.raises(NetworkError, match="no mirror returned the torrent"):
        load_torrent(found)


def printed_safely(text: str) -> bool:
    return all(character == "\n" or unicodedata.category(character) not in {"Cc", "Cf", "Cs"} for character in text)


def test_56_nothing_an_index_says_reaches_the_terminal_as_a_command(tmp_path: Path):
    nasty = f"Evil{ESCAPE}{BIDI}\u0085\x7f\u200b"
    root = make_root(Rules(), name=nasty)
    document = {**root.document, "keys": {name: {**row, "label": nasty} for name, row in root.document["keys"].items()}}
    roots = (sign_root(make_root(Rules(), **document), ["root"]),)
    gone = withdrawal(make_entry(2), nasty)
    listing = make_document(roots, 1, [make_entry(1, license=nasty)], withdrawn=(gone,), extra={nasty: nasty})
    changed = make_document(
        roots, 2, [make_entry(1, license=nasty + "2")], mirrors=("https://example.org/x",), previous=digest(listing)
    )
    old, new = tmp_path / "old.json", tmp_path / "new.json"
    old.write_bytes(make_index(roots, listing))
    new.write_bytes(make_index(roots, changed))
    user = CommandLine(tmp_path / "user")
    for name in ("root", "index"):
        KeyStore(Home(user.home)).add_key(key(name), None)
    draft = tmp_path / "draft.json"
    second = make_root(Rules(), roots[0].root, name=nasty + "2", keys=document["keys"])
    write_roots(draft, (*roots, SignedRoot(second, [])))
    identity = str(roots[0].root.digest)
    commands: list[tuple[str, ...]] = [
        ("index", "verify", str(old)),
        ("index", "show", str(old)),
        ("index", "diff", str(old), str(new)),
        ("trust", "add", identity, "--index", str(old)),
        ("trust", "list"),
        ("trust", "show", identity),
        ("search",),
        ("index", "update"),
        ("keys", "accept", str(old), "--publisher", identity),
        ("keys", "show"),
        ("keys", "sign", str(draft)),
        ("index", "sign", str(new), "--yes"),
    ]
    for command in commands:
        for flags in ((), ("--json",)):
            ended = user.run(*command, *flags)
            assert ended.code == 0, ended
            assert "Evil" in ended.stdout + ended.stderr or "update" in command
            assert printed_safely(ended.stdout), command
            assert printed_safely(ended.stderr), command


def test_56_a_bad_name_in_a_refusal_is_shown_harmlessly(tmp_path: Path):
    roots = chain(Rules())
    signed = make_document(roots).to_json()
    signed["entries"][0]["repo"] = f"Evil/{ESCAPE}{BIDI}"
    path = tmp_path / "index.json"
    path.write_bytes(make_index(roots, signed))
    for flags in ((), ("--json",)):
        ended = CommandLine(tmp_path / "user").run("index", "verify", path, *flags)
        assert ended.code == 3
        assert printed_safely(ended.stdout)
        assert printed_safely(ended.stderr)
