"""Attacks 45 to 49: on the files of a home: crashes, full disks, damage, two processes, old backups."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from p2pqwen.errors import NotFoundError
from p2pqwen.events import Notice
from p2pqwen.hub.hub_site import HubSite
from p2pqwen.index.acceptance import TrustedState, accept
from p2pqwen.library.home import Home
from p2pqwen.library.key_store import KeyStore
from p2pqwen.library.snapshots import Library
from p2pqwen.library.trust_store import TrustStore
from p2pqwen.operations.indexes.updated import SourceState
from p2pqwen.operations.publish.keys import init_keys
from p2pqwen.operations.publish.plan import Plan
from p2pqwen.operations.publish.publish import publish
from tests.attacks.faults import rotate_work, trust_work
from tests.attacks.victim import NOW, SIGNERS, TRUSTED_VERSION, Victim
from tests.support.processes import ROOT
from tests.support.publishing import digest, make_document, make_index
from tests.support.snapshots import hold

ERRNOS = ("ENOSPC", "EIO", "EROFS")
KILLED = -9


def struck(work: str, fault: str, template: Path, scratch: Path) -> Iterator[tuple[int, Path]]:
    """How each child ended that was struck at one step, and the folder it left."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.attacks.faults", work, fault, template, scratch],
        capture_output=True, text=True, cwd=ROOT, timeout=150, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(rows) > 10, "the faults hit nothing"
    assert rows[-1]["code"] == 0
    for row in rows[:-1]:
        # 13: our own error; 10: the step was not needed for success
        assert row["code"] in ({KILLED} if fault == "kill" else {13, 10}), (row, done.stderr)
        yield row["code"], Path(row["root"])


@pytest.fixture
def waiting_update(tmp_path: Path) -> tuple[Victim, Path]:
    """A home at version 5 whose mirror has version 6."""
    template = tmp_path / "template"
    victim = Victim(template)
    victim.source.write_bytes(victim.next_file())
    (template / "publisher").write_text(str(victim.publisher))
    return victim, template


@pytest.mark.parametrize("fault", ["kill", *ERRNOS], ids=lambda fault: f"{'45' if fault == 'kill' else '46'}-{fault}")
def test_an_update_struck_at_every_write_step(waiting_update, tmp_path: Path, fault):
    victim, template = waiting_update
    versions = set()
    for _, root in struck("update", fault, template, tmp_path):
        store = TrustStore(Home(root / "home"))
        notices: list[str] = []
        held = store.get(victim.publisher, now=NOW, report=lambda event, seen=notices: seen.append(str(event)))
        assert held.document is not None
        assert held.document.version in {TRUSTED_VERSION, TRUSTED_VERSION + 1}
        assert notices == []
        versions.add(held.document.version)
        victim.store, victim.home = store, store._home
        assert victim.update().ok
        assert victim.version() == (0, TRUSTED_VERSION + 1)
    assert versions == {TRUSTED_VERSION, TRUSTED_VERSION + 1}


@pytest.fixture
def waiting_publisher(tmp_path: Path) -> Path:
    """A home that published one snapshot and now holds two."""
    template = tmp_path / "publisher"
    home = Home(template / "home")
    init_keys(KeyStore(home), "Test Keep", None)
    hold(home)
    plan = Plan(out=template / "site", site=HubSite("https://huggingface.co"))
    publish(Library(home), KeyStore(home), plan, passphrase=lambda _: "", now=NOW, check=None)
    hold(home, repo="Qwen/Other")
    return template


@pytest.mark.parametrize("fault", ["kill", "ENOSPC"], ids=["45-kill", "46-ENOSPC"])
def test_a_publishing_struck_at_every_write_step(waiting_publisher: Path, tmp_path: Path, fault):
    seen = set()
    publisher = KeyStore(Home(waiting_publisher / "home")).publisher()
    for _, root in struck("publish", fault, waiting_publisher, tmp_path):
        home = Home(root / "home")
        trusted = TrustedState(publisher)
        there = accept((root / "site" / "index.json").read_bytes(), trusted, NOW)
        seen.add(there.document.version)
        for entry in there.document.entries:
            assert (root / "site" / entry.torrent).is_file()
        plan = Plan(out=root / "site", site=HubSite("https://huggingface.co"))
        done = publish(Library(home), KeyStore(home), plan, passphrase=lambda _: "", now=NOW, check=None)
        assert done.accepted.document.version > there.document.version
        accept((root / "site" / "index.json").read_bytes(), there.state, NOW)  # readers of the crashed site follow
    assert seen == {1, 2}


@pytest.mark.parametrize("fault", ["kill", "ENOSPC"], ids=["45-kill", "46-ENOSPC"])
def test_a_rotation_struck_at_every_write_step(waiting_publisher: Path, tmp_path: Path, fault):
    """The new private key is on the disk before a root names it."""
    versions = set()
    before = KeyStore(Home(waiting_publisher / "home")).publisher()
    for _, root in struck("rotate", fault, waiting_publisher, tmp_path):
        home = Home(root / "home")
        keys = KeyStore(home)
        assert keys.publisher() == before
        versions.add(keys.root().version)
        assert all(keys.has_key(keyid) for keyid in keys.root().keys)
        if keys.root().version == 1:
            rotate_work(root)
        assert (keys.root().version, keys.root().index_epoch) == (2, 1)
        plan = Plan(out=root / "site", site=HubSite("https://huggingface.co"))
        assert (
            publish(Library(home), keys, plan, passphrase=lambda _: "", now=NOW, check=None).accepted.document.epoch
            == 1
        )
    assert versions == {1, 2}


@pytest.mark.parametrize("fault", ["kill", "ENOSPC"], ids=["45-kill", "46-ENOSPC"])
def test_a_first_trust_struck_at_every_write_step(waiting_publisher: Path, tmp_path: Path, fault):
    template = tmp_path / "template"
    shutil.copytree(waiting_publisher / "site", template / "site")
    publisher = KeyStore(Home(waiting_publisher / "home")).publisher()
    (template / "publisher").write_text(str(publisher))
    for _, root in struck("trust", fault, template, tmp_path):
        store = TrustStore(Home(root / "home"))
        assert store.ids() in ([], [publisher])
        trust_work(root)
        document = store.get(publisher, now=NOW).document
        assert document is not None
        assert len(document.entries) == 1


def told(victim: Victim) -> list[str]:
    """What is said when the publisher is read from the disk."""
    notices: list[str] = []
    victim.store.get(victim.publisher, now=NOW, report=lambda event: notices.append(str(event)))
    return notices


def test_47_deleted_state_is_recovered_from_the_pinned_id(victim: Victim):
    victim.source.write_bytes(victim.next_file())
    for path in victim.store.folder(victim.publisher).iterdir():
        if path.name != "sources.json":
            path.unlink()
    assert victim.version() is None
    assert victim.update().ok
    assert victim.version() == (0, TRUSTED_VERSION + 1)
    assert any("rests on the pinned id alone" in notice for notice in victim.notices)


def test_47_a_deleted_index_is_not_a_way_back(victim: Victim):
    """seen.json still knows what was accepted."""
    victim.store.index_path(victim.publisher).unlink()
    assert any("no index is stored, but index 0.5 was accepted" in one for one in told(victim))
    old = make_index(victim.roots, make_document(victim.roots, 3), SIGNERS)
    assert victim.offer(old).step == 6
    assert victim.offer(victim.good).state is SourceState.UNCHANGED
    assert victim.version() == (0, TRUSTED_VERSION)


def test_47_a_deleted_pin_is_trust_withdrawn(victim: Victim):
    shutil.rmtree(victim.store.folder(victim.publisher))
    with pytest.raises(NotFoundError, match="is not trusted"):
        victim.store.get(victim.publisher, now=NOW)


@pytest.mark.parametrize("name", ["index.json", "seen.json", "sources.json"], ids=lambda name: f"47-{name}")
@pytest.mark.parametrize("damage", ["truncated", "emptied", "html", "binary"])
def test_a_damaged_file_is_told_and_healed(victim: Victim, name, damage):
    path = victim.store.folder(victim.publisher) / name
    content = {
        "truncated": path.read_bytes()[:-20],
        "emptied": b"",
        "html": b"<html></html>",
        "binary": bytes(range(256)),
    }[damage]
    path.write_bytes(content)
    notices: list[str] = []
    held = victim.store.get(
        victim.publisher,
        now=NOW,
        report=lambda event: notices.append(event.text) if isinstance(event, Notice) else None,
    )
    assert any("damaged" in notice for notice in notices), notices
    assert (held.document is None) == (name == "index.json")
    victim.store.pin(victim.publisher, [str(victim.source)])
    victim.source.write_bytes(victim.next_file())
    assert victim.update().ok
    assert victim.version() == (0, TRUSTED_VERSION + 1)


def test_47_no_flipped_bit_goes_unnoticed(victim: Victim):
    """Every bit of the stored index either changes nothing that was signed, or the file is not believed."""
    path = victim.store.index_path(victim.publisher)
    good = path.read_bytes()
    document = victim.store.get(victim.publisher, now=NOW).document
    chance = random.Random(47)
    harmless = 0
    for _ in range(300):
        data = bytearray(good)
        data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        path.write_bytes(data)
        notices: list[str] = []
        held = victim.store.get(victim.publisher, now=NOW, report=lambda event, seen=notices: seen.append(str(event)))
        if held.document is None:
            assert notices
        else:
            harmless += 1
            assert held.document == document
    assert 0 < harmless < 150


def test_47_no_flipped_bit_in_seen_json_shuts_out_what_is_honest(victim: Victim):
    """Nobody signs seen.json: a flipped digit must not become a position that no honest index reaches."""
    path = victim.store.folder(victim.publisher) / "seen.json"
    good = path.read_bytes()
    honest = victim.next_file()
    for at in range(len(good)):
        path.write_bytes(good[:at] + bytes((good[at] ^ 1 << at % 8,)) + good[at + 1 :])
        assert any("damaged" in notice for notice in told(victim)), path.read_bytes()
        held = victim.store.get(victim.publisher, now=NOW)
        assert held.accepted is not None
        assert held.state.seen == held.accepted.seen
    assert victim.offer(honest).state is SourceState.NEWER
    assert told(victim) == []


def test_47_an_index_swapped_for_another_of_the_same_version_is_told(victim: Victim):
    """It is signed, so it is used; but it is not what was accepted before."""
    other = make_index(victim.roots, make_document(victim.roots, TRUSTED_VERSION, []), SIGNERS)
    victim.store.index_path(victim.publisher).write_bytes(other)
    assert any("differs from the one accepted before" in notice for notice in told(victim))


def test_45_a_removal_that_was_cut_short_hinders_no_other(victim: Victim):
    shutil.copytree(victim.store.folder(victim.publisher), victim.home.trust / f".{victim.publisher}.removed")
    victim.store.unpin(victim.publisher)
    assert victim.store.ids() == []
    assert list(victim.home.trust.iterdir()) == []


def test_48_evidence_that_comes_after_a_removal_does_not_bring_trust_back(victim: Victim):
    """An update that was under way while the user stopped trusting the publisher."""
    victim.store.unpin(victim.publisher)
    assert victim.store.keep_evidence(victim.publisher, victim.good) == ()
    assert victim.store.ids() == []


CONCURRENT = """
import sys
from datetime import datetime, UTC
from pathlib import Path
from p2pqwen.errors import P2pqwenError
from p2pqwen.index.acceptance import accept
from p2pqwen.library.home import Home
from p2pqwen.library.trust_store import TrustStore
home, *files = sys.argv[1:]
now = datetime.now(UTC)
store = TrustStore(Home(Path(home)))
(publisher,) = store.ids()
print("ready", flush=True)
sys.stdin.readline()
for file in files:
    data = Path(file).read_bytes()
    try:
        store.store(accept(data, store.get(publisher, now=now).state, now), data, now=now)
    except P2pqwenError as error:
        print(type(error).__name__, flush=True)
"""


def test_48_processes_that_update_at_once(victim: Victim, tmp_path: Path):
    files = []
    document = victim.trusted
    for number in range(6, 30):
        document = make_document(victim.roots, number, previous=digest(document))
        files.append(tmp_path / f"{number}.json")
        files[-1].write_bytes(make_index(victim.roots, document, SIGNERS))
    runs = [
        subprocess.Popen(
            [sys.executable, "-c", CONCURRENT, victim.home.root, *files[offset::3]],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for offset in range(3)
    ]  # fmt: skip
    for run in runs:
        assert run.stdout is not None
        assert run.stdout.readline() == "ready\n"
    outputs = []
    for run in runs:
        assert run.stdin is not None
        run.stdin.write("go\n")
        run.stdin.flush()
    for run in runs:
        outputs.append(run.communicate(timeout=60)[0])
        assert run.returncode == 0
    assert {word for output in outputs for word in output.split()} <= {"RollbackError"}
    assert victim.version() == (0, 29)
    folder = victim.store.folder(victim.publisher)
    names = sorted(path.name for path in folder.iterdir())
    (database,) = [name for name in names if re.fullmatch(r"index\.[0-9a-f]{16}\.sqlite", name)]
    assert names == sorted(["index.json", "seen.json", "sources.json", database])


def test_49_a_whole_backup_goes_forward_again(victim: Victim, tmp_path: Path):
    shutil.copytree(victim.home.trust, tmp_path / "backup")
    victim.accepts(victim.next_file())
    shutil.rmtree(victim.home.trust)
    shutil.copytree(tmp_path / "backup", victim.home.trust)
    assert victim.version() == (0, TRUSTED_VERSION)
    assert victim.offer(make_index(victim.roots, make_document(victim.roots, 4), SIGNERS)).step == 6
    victim.accepts(victim.next_file())


def test_49_an_old_index_put_back_is_noticed(victim: Victim):
    victim.accepts(victim.next_file())
    victim.store.index_path(victim.publisher).write_bytes(victim.good)
    notices: list[str] = []
    held = victim.store.get(victim.publisher, now=NOW, report=lambda event: notices.append(str(event)))
    assert any("was a backup restored?" in notice for notice in notices)
    assert held.state.seen is not None
    assert held.state.seen.position.version == TRUSTED_VERSION + 1
    assert victim.offer(victim.good).step == 6
    assert victim.offer(victim.next_file()).state is SourceState.UNCHANGED
    assert victim.version() == (0, TRUSTED_VERSION + 1)
