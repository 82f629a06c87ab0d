"""The contract of the command line: what each command prints with `--json`, field by field."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from p2pqwen.cli.main import app
from tests.support.answer_shapes import misfits, shape_of
from tests.support.command import CommandLine
from tests.support.json_shape import COMMIT, SHA256, SNAPSHOT, TEXT, differences
from tests.support.nodes import quiet_config
from tests.support.world import NOBODY, REPO, World
from tests.unit.answers.table import COMMANDS as ANSWERS

NULL = type(None)

PROVENANCE = {"proven", "unproven"}
STANDING = {"proven", "signed", "unvouched"}
VOUCHED = [{"publisher": SHA256, "name": TEXT, "by": {"index", "signature"}}]
SIGNER = {"keyid": SHA256, "label": TEXT, "state": TEXT}
PRESERVED = {
    "repo": TEXT,
    "commit": COMMIT,
    "size": int,
    "files": int,
    "piece_length": int,
    "infohash_v1": COMMIT,
    "infohash_v2": SHA256,
    "magnet": re.compile(r"magnet:\?\S+"),
    "manifest_sha256": SHA256,
    "provenance": PROVENANCE,
    "standing": STANDING,
    "torrent": re.compile(r"/.+\.torrent"),
}
MANY = {
    "preserved": [dict],
    "unchanged": [dict],
    "skipped": [{"repo": TEXT, "reason": TEXT}],
    "failed": [{"repo": TEXT, "reason": TEXT}],
    "bytes": int,
}
KEYS = {"publisher": SHA256, "root_version": int, "keys": [{"keyid": SHA256, "label": TEXT}]}
TRUSTED = {"publisher": SHA256, "name": TEXT, "root_version": int, "version": int}
INDEX = {"ok": {True}, "publisher": SHA256, "epoch": int, "version": int, "entries": int, "signers": [SIGNER]}
FETCHED = {
    "repo": {REPO},
    "commit": COMMIT,
    "path": re.compile(r"/.+"),
    "size": int,
    "bytes_from_peers": int,
    "bytes_from_web_seeds": int,
    "seconds": (int, float),
    "verified": {True},
    "provenance": PROVENANCE,
    "standing": STANDING,
    "vouched_by": VOUCHED,
    "trusted_unverified": {False},
    "hf_cache": (re.compile(r"/.+"), NULL),
}
VERIFIED = {
    "ok": bool,
    "files": int,
    "bytes": int,
    "bad": [{"path": TEXT, "expected": TEXT, "got": TEXT}],
    "provenance": PROVENANCE,
    "standing": STANDING,
    "vouched_by": VOUCHED,
    "trusted_unverified": {False},
    "signers": [SIGNER],
}
STATUS_ROW = {
    "repo": TEXT,
    "commit": COMMIT,
    "state": TEXT,
    "progress": (int, float),
    "peers": int,
    "seeds": int,
    "download_rate": int,
    "upload_rate": int,
    "standing": {"proven"},
}
BASES = {"bases": [{"url": TEXT, "ok": bool, "files_ok": int, "files_bad": int, "reason": (str, NULL)}]}
ADOPTED = {
    "chosen": [{"repo": {REPO}, "commit": COMMIT, "size": int, "reason": TEXT}],
    "bytes": int,
    "budget": {10**9},
}
CHANGED = [{"snapshot": SNAPSHOT, "changes": list}]
ERROR = {
    "ok": {False},
    "error": {"what": TEXT, "expected": (str, NULL), "got": (str, NULL), "hint": (str, NULL)},
    "exit_code": int,
}

Arguments = tuple[CommandLine, tuple[str | Path, ...]]


def reads(*arguments: str | Path) -> Callable[[World, Path], Arguments]:
    """The reader's command."""
    return lambda world, _: (world.reader, arguments)


def publishes(*arguments: str | Path) -> Callable[[World, Path], Arguments]:
    """The publisher's command; its home is a copy that may be changed."""

    def prepare(world: World, folder: Path) -> Arguments:
        copy = world.publishers_copy(folder)
        return copy, tuple(folder / "site" if one == "SITE" else one for one in arguments)

    return prepare


def stranger(*arguments: str | Path) -> Callable[[World, Path], Arguments]:
    """Somebody's first command."""

    def prepare(world: World, folder: Path) -> Arguments:
        someone = CommandLine(folder, world.hub.endpoint)
        quiet_config(someone)
        return someone, tuple(one(world) if callable(one) else one for one in arguments)

    return prepare


def from_folder(world: World, folder: Path) -> Arguments:
    user, _ = stranger()(world, folder)
    return user, ("preserve", "--from", world.folder / "model", "--repo", REPO, "--commit", world.commit)


def from_watchlist(world: World, folder: Path) -> Arguments:
    user, _ = stranger()(world, folder)
    (folder / "list.toml").write_text(f'format = 1\n[[model]]\nrepo = "{REPO}"\n[[model]]\nrepo = "Qwen/Gone"\n')
    return user, ("preserve", "--watchlist", folder / "list.toml")


def trusting(*arguments: str | Path) -> Callable[[World, Path], Arguments]:
    """The command of somebody new who trusts the publisher."""

    def prepare(world: World, folder: Path) -> Arguments:
        user, resolved = stranger(*arguments)(world, folder)
        user.ok("trust", "add", world.identity, "--index", world.site)
        return user, resolved

    return prepare


def identity(world: World) -> str:
    return world.identity


def fetched(target: Callable[[World], Any] | str) -> Callable[[World, Path], Arguments]:
    return trusting("fetch", target, "--peer", lambda world: world.peer, "--timeout", "60")


def removes(world: World, folder: Path) -> Arguments:
    user, _ = fetched(REPO)(world, folder)
    user.ok("fetch", REPO, "--peer", world.peer)
    return user, ("remove", f"{REPO}@{world.commit}", "--yes")


def damaged(world: World, folder: Path) -> Arguments:
    """A library with a flipped byte."""
    user, _ = fetched(REPO)(world, folder)
    held = Path(user.ok("fetch", REPO, "--peer", world.peer, "--no-hf-cache")["path"])
    path = held / "model.safetensors"
    content = path.read_bytes()
    path.write_bytes(bytes([content[0] ^ 1]) + content[1:])
    return user, ("verify", REPO)


def compared(world: World, folder: Path) -> Arguments:
    """An index, and the same after the only snapshot was withdrawn."""
    user = world.publishers_copy(folder)
    withdraw = ("--withdraw", f"{REPO}@{world.commit}", "--reason", "on request", "--yes")
    user.ok("publish", "--out", folder / "site", *withdraw)
    return user, ("index", "diff", world.index, folder / "site")


@dataclass(frozen=True, slots=True)
class Row:
    """One way to call a command, what it says with `--json`, and how it ends.

    `filled`: lists that hold something here, so that the shape of their rows is looked at.
    """

    name: str
    prepare: Callable[[World, Path], Arguments]
    shape: dict[str, Any]
    filled: tuple[str, ...] = ()
    code: int = 0


ROWS = [
    Row("preserve REPO", stranger("preserve", REPO), PRESERVED | {"provenance": {"proven"}, "standing": {"proven"}}),
    Row("preserve REPO@REV", stranger("preserve", f"{REPO}@main"), PRESERVED),
    Row("preserve --from", from_folder, PRESERVED | {"provenance": {"unproven"}, "standing": {"unvouched"}}),
    Row("preserve --org", stranger("preserve", "--org", "Qwen"), MANY, ("preserved",)),
    Row("preserve --watchlist", from_watchlist, MANY, ("preserved", "failed"), 4),
    Row("keys init", stranger("keys", "init", "--name", "Me", "--no-passphrase"), KEYS, ("keys",)),
    Row("keys show", publishes("keys", "show"), KEYS, ("keys",)),
    Row("keys rotate", publishes("keys", "rotate", "--new-index-key", "spare", "--no-passphrase"), KEYS, ("keys",)),
    Row(
        "publish",
        publishes("publish", "--out", "SITE", "--mirror", "https://mirror.example/keep/", "--no-check"),
        {"publisher": SHA256, "epoch": int, "version": int, "entries": int, "index": re.compile(r"/.+/index.json")},
    ),
    Row("trust add", stranger("trust", "add", identity, "--index", lambda world: world.site), TRUSTED),
    Row("trust list", reads("trust", "list"), TRUSTED | {"publishers": [TRUSTED]}, ("publishers",)),
    Row("trust remove", trusting("trust", "remove", identity), TRUSTED),
    Row("index verify", lambda world, _: (world.reader, ("index", "verify", world.index)), INDEX, ("signers",)),
    Row(
        "index verify --publisher",
        lambda world, _: (world.reader, ("index", "verify", world.index, "--publisher", world.identity)),
        INDEX | {"pinned": {True}, "standings": {"proven": {1}, "signed": {0}, "unvouched": {0}}},
    ),
    Row(
        "index show",
        lambda world, _: (world.reader, ("index", "show", world.index)),
        INDEX | {"snapshots": [{"provenance": {"proven"}, "standing": {"proven"}, "held": {True}}]},
        ("signers", "snapshots"),
    ),
    Row(
        "index show, of strangers",
        stranger("index", "show", lambda world: world.index),
        INDEX | {"snapshots": [{"provenance": {"proven"}, "standing": {"unvouched"}, "held": {False}}]},
        ("snapshots",),
    ),
    Row("index update", reads("index", "update"), INDEX, ("signers",)),
    Row(
        "index diff",
        compared,
        {"added": CHANGED, "removed": CHANGED, "changed": CHANGED, "withdrawn": CHANGED},
        ("withdrawn",),
    ),
    Row(
        "search",
        reads("search", "tiny"),
        {
            "results": [
                {
                    "repo": {REPO},
                    "commit": COMMIT,
                    "magnet": TEXT,
                    "size": int,
                    "publisher": SHA256,
                    "provenance": {"proven"},
                    "standing": {"proven"},
                }
            ]
        },
        ("results",),
    ),
    Row(
        "search, nothing held",
        trusting("search", "tiny"),
        {"results": [{"provenance": {"proven"}, "standing": {"signed"}, "held": {False}}]},
        ("results",),
    ),
    Row("fetch NAME", fetched(REPO), FETCHED | {"provenance": {"proven"}, "standing": {"proven"}}, ("vouched_by",)),
    Row("fetch NAME@COMMIT", fetched(lambda world: f"{REPO}@{world.commit}"), FETCHED),
    Row("fetch MAGNET", fetched(lambda world: world.entry["magnet"]), FETCHED),
    Row("fetch FILE", fetched(lambda world: world.torrent), FETCHED),
    Row("fetch INFOHASH v1", fetched(lambda world: world.entry["infohash_v1"]), FETCHED),
    Row("fetch INFOHASH v2", fetched(lambda world: world.entry["infohash_v2"]), FETCHED),
    Row("fetch --only-web-seeds", trusting("fetch", REPO, "--only-web-seeds"), FETCHED | {"bytes_from_peers": {0}}),
    Row(
        "fetch --include --no-hf-cache",
        trusting(
            "fetch", REPO, "--include", "*.json", "--no-hf-cache", "--no-web-seeds", "--peer", lambda world: world.peer
        ),
        FETCHED | {"hf_cache": NULL, "bytes_from_web_seeds": {0}},
    ),
    Row(
        "verify REPO",
        reads("verify", REPO),
        VERIFIED | {"ok": {True}, "provenance": {"proven"}, "standing": {"proven"}},
        ("signers", "vouched_by"),
    ),
    Row("verify PATH", lambda world, _: (world.reader, ("verify", held(world))), VERIFIED | {"ok": {True}}),
    Row("verify damaged", damaged, VERIFIED | {"ok": {False}}, ("bad",), 3),
    Row(
        "verify FILE.torrent",
        lambda world, _: (world.reader, ("verify", held(world).with_suffix(".torrent"))),
        VERIFIED | {"ok": {True}},
    ),
    Row(
        "torrent show",
        lambda world, _: (world.reader, ("torrent", "show", world.torrent)),
        {
            "name": COMMIT,
            "infohash_v1": COMMIT,
            "infohash_v2": SHA256,
            "files": int,
            "size": int,
            "piece_length": int,
            "web_seeds": [TEXT],
            "trackers": list,
            "signers": [SIGNER],
            "manifest": {"sha256": SHA256, "repo": {REPO}, "commit": COMMIT},
            "standing": {"proven"},
            "vouched_by": VOUCHED,
        },
        ("web_seeds", "signers", "vouched_by"),
    ),
    Row(
        "list",
        reads("list"),
        {
            "snapshots": [
                {
                    "repo": TEXT,
                    "commit": COMMIT,
                    "size": int,
                    "path": TEXT,
                    "state": {"complete"},
                    "provenance": {"proven"},
                    "standing": {"proven"},
                    "trusted_unverified": {False},
                }
            ]
        },
        ("snapshots",),
    ),
    Row("status without a node", reads("status"), {"node": NULL, "snapshots": [STATUS_ROW]}, ("snapshots",)),
    Row(
        "status of a node",
        lambda world, _: (world.publisher, ("status",)),
        {"node": {"pid": int, "listen": re.compile(r"127\.0\.0\.1:[0-9]+")}, "snapshots": [STATUS_ROW]},
        ("snapshots",),
    ),
    Row("webseed check REPO", reads("webseed", "check", REPO), BASES, ("bases",)),
    Row(
        "webseed check FILE",
        lambda world, _: (
            world.reader,
            ("webseed", "check", world.torrent, "--web-seed", f"http://{NOBODY}/{REPO}/"),
        ),
        BASES,
        ("bases",),
    ),
    Row(
        "adopt --dry-run",
        trusting("adopt", "--budget", "1GB", "--dry-run", "--look-seconds", "0"),
        ADOPTED,
        ("chosen",),
    ),
    Row(
        "adopt",
        trusting("adopt", "--budget", "1GB", "--look-seconds", "0", "--peer", lambda world: world.peer),
        ADOPTED,
        ("chosen",),
    ),
    Row(
        "health",
        reads("health"),
        {
            "swarms": [
                {
                    "repo": TEXT,
                    "commit": COMMIT,
                    "seeds": (int, NULL),
                    "peers": (int, NULL),
                    "last_complete_seen": (str, NULL),
                    "web_seeds_ok": (int, NULL),
                    "standing": {"proven"},
                }
            ]
        },
        ("swarms",),
    ),
    Row(
        "doctor",
        reads("doctor"),
        {"findings": [{"check": TEXT, "ok": bool, "detail": TEXT, "advice": (str, NULL)}]},
        ("findings",),
        1,
    ),
    Row("remove", removes, {}),
]


def held(world: World) -> Path:
    return world.reader.home / "library" / REPO / world.commit


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_each_command_prints_one_object_and_nothing_else(world, tmp_path, capfd, row):
    user, arguments = row.prepare(world, tmp_path)
    capfd.readouterr()
    ended = user.run(*arguments, "--json")
    assert ended.code == row.code, ended
    shown = only_object(ended.stdout)
    assert capfd.readouterr().out == "", "something was written past sys.stdout"
    assert list(differences(shown, row.shape)) == []
    command = next(name for name in (" ".join(map(str, arguments[:2])), str(arguments[0])) if name in ANSWERS)
    assert [] in [misfits(shown, shape_of(kind)) for kind in ANSWERS[command]]
    assert [name for name in row.filled if not shown[name]] == []


def only_object(stdout: str) -> Any:
    """The one object on stdout, on a line of its own."""
    shown = json.loads(stdout)
    assert isinstance(shown, dict), stdout
    assert stdout.endswith("}\n"), stdout
    return shown


def leaves(command: Any, name: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    """Every command below this one."""
    below = getattr(command, "commands", None)
    if below is None:
        return {name: command}
    return {path: leaf for one, inner in below.items() for path, leaf in leaves(inner, (*name, one)).items()}


COMMANDS = leaves(typer.main.get_command(app))


def test_every_command_takes_json():
    without = [name for name, command in COMMANDS.items() if not any("--json" in one.opts for one in command.params)]
    assert len(COMMANDS) > 30
    assert without == []


# The contract's own list; `seed` speaks in events, see test_contract_prose.py, and `demo` has a test of its own.
NAMED = """preserve, keys init, keys show, keys rotate, publish, trust add, trust list, trust remove, index verify,
index show, index update, search, fetch, verify, torrent show, list, status, index diff, webseed check, adopt, health,
doctor, remove, seed, demo"""


def test_every_command_of_the_contract_is_looked_at():
    names = [tuple(name.split()) for name in NAMED.split(",")]
    assert [name for name in names if name not in COMMANDS] == []
    rows = {tuple(row.name.split()[: len(name)]) for row in ROWS for name in names}
    assert [name for name in names if name not in rows] == [("seed",), ("demo",)]
