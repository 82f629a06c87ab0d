"""What signers are asked and shown: whose key, for what, and the keys of those who have joined nobody yet."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pqwen.library.home import Home
from tests.support.command import CommandLine
from tests.support.keeper import TINY
from tests.support.processes import p2pqwen
from tests.support.snapshots import hold
from tests.support.terminal import on_a_terminal

SECRET, OTHER = "correct horse battery", "another horse staple"


@pytest.fixture
def keeper(tmp_path: Path) -> CommandLine:
    user = CommandLine(tmp_path / "keeper", "https://hub.invalid")
    user.environment["P2PQWEN_PASSPHRASE"] = SECRET
    user.ok("keys", "init", "--name", "Test Keep")
    del user.environment["P2PQWEN_PASSPHRASE"]
    hold(Home(user.home))
    return user


def index_key(user: CommandLine) -> str:
    (keyid,) = [one["keyid"] for one in user.ok("keys", "show")["keys"] if one["roles"] == ["index"]]
    return str(keyid)


def test_a_prompt_says_which_key_of_whom_and_what_is_signed(keeper: CommandLine, tmp_path: Path):
    keyid = index_key(keeper)
    command = p2pqwen("publish", "--out", tmp_path / "site", "--no-check", "--no-dht")
    with on_a_terminal(command, keeper.environment) as terminal:
        words = f"Passphrase of the key Test Keep index key ({keyid[:8]}) of Test Keep, to sign index 0.1"
        terminal.wait_for(words)
        terminal.type_secret(SECRET)
        terminal.wait_for(
            "1 added (1 apache-2.0). Sign index 0.1 of Test Keep with Test Keep index key and publish it?"
        )
        terminal.type("y")
        assert terminal.wait() == 0, terminal.shown
        assert "Passphrase" not in terminal.shown  # asked once, for the DHT pointer too
    assert (tmp_path / "site" / "index.json").exists()


def test_where_nobody_can_be_asked_the_error_names_the_key(keeper: CommandLine, tmp_path: Path):
    keyid = index_key(keeper)
    ended = keeper.run("publish", "--out", tmp_path / "site", "--no-check")
    assert (ended.code, f"the key Test Keep index key ({keyid[:8]}) of Test Keep" in ended.stderr) == (2, True), ended
    keeper.environment["P2PQWEN_PASSPHRASE"] = OTHER
    wrong = keeper.run("publish", "--out", tmp_path / "site", "--no-check")
    assert (wrong.code, f"does not open the key Test Keep index key ({keyid[:8]})" in wrong.stderr) == (2, True), wrong


def test_each_key_may_have_a_passphrase_of_its_own(keeper: CommandLine, tmp_path: Path):
    keeper.environment["P2PQWEN_PASSPHRASE"] = OTHER
    public = keeper.ok("keys", "new", "--label", "Second")["public"]
    del keeper.environment["P2PQWEN_PASSPHRASE"]
    with on_a_terminal(p2pqwen("keys", "rotate", "--add-index", public), keeper.environment) as terminal:
        terminal.wait_for("of Test Keep, to sign root 2")
        terminal.type_secret(SECRET)
        assert terminal.wait() == 0, terminal.shown
    command = p2pqwen("publish", "--out", tmp_path / "site", "--no-check", "--no-dht", "--yes")
    with on_a_terminal(command, keeper.environment) as terminal:
        for label, secret in (("Test Keep index key", SECRET), ("Second", OTHER)):
            terminal.wait_for(f"Passphrase of the key {label} (")
            terminal.type_secret(secret)
        assert terminal.wait() == 0, terminal.shown
        assert "signed by  Test Keep index key, Second" in terminal.shown


def test_a_co_signer_sees_the_keys_that_were_made_here(keeper: CommandLine, tmp_path: Path):
    bob = CommandLine(tmp_path / "bob", "https://hub.invalid")
    assert bob.run("keys", "show").code == 4
    made = bob.ok("keys", "new", "--label", "Bob", "--no-passphrase")
    shown = bob.ok("keys", "show")
    assert (shown["publisher"], shown["root_version"]) == (None, None)
    assert shown["keys"] == [
        {"keyid": made["keyid"], "label": "Bob", "roles": [], "private": True, "public": made["public"]}
    ]
    words = bob.run("keys", "show").stdout
    assert made["public"] in words
    assert "keys accept" in words

    keeper.environment["P2PQWEN_PASSPHRASE"] = SECRET
    identity = keeper.ok("keys", "rotate", "--add-index", made["public"])["publisher"]
    bob.ok("keys", "accept", keeper.home / "keys" / "roots.json", "--publisher", identity)
    second = bob.ok("keys", "new", "--label", "Bob at home", "--no-passphrase")
    rows = {one["label"]: one for one in bob.ok("keys", "show")["keys"]}
    assert (rows["Bob"]["roles"], rows["Bob"]["private"]) == (["index"], True)
    assert (rows["Bob at home"]["roles"], rows["Bob at home"]["public"]) == ([], second["public"])
    assert rows["Test Keep index key"]["private"] is False


def test_a_key_of_before_is_shown_without_what_was_not_kept(tmp_path: Path):
    bob = CommandLine(tmp_path / "bob")
    made = bob.ok("keys", "new", "--label", "Bob", "--no-passphrase")
    (bob.home / "keys" / f"{made['keyid']}.pub").unlink()
    (bob.home / "keys" / "notes.pem").write_text("somebody else's")
    (row,) = bob.ok("keys", "show")["keys"]
    assert (row["keyid"], row["label"], row["public"]) == (made["keyid"], "", None)


def test_reinstating_on_a_terminal_is_not_the_default(keeper: CommandLine, tmp_path: Path):
    keeper.environment["P2PQWEN_PASSPHRASE"] = SECRET
    out = ("publish", "--out", tmp_path / "site", "--no-check", "--no-dht")
    keeper.ok(*out)
    keeper.ok(*out, "--withdraw", TINY, "--reason", "gone")
    with on_a_terminal(p2pqwen(*out, "--reinstate", TINY), keeper.environment) as terminal:
        asked = terminal.wait_for("1 added (1 apache-2.0), 1 reinstated, 1 alarm. Sign index 0.3 of Test Keep")
        assert asked.count(f"{TINY} was withdrawn (gone), and no longer is") == 1
        assert f"ALARM      {TINY} was withdrawn (gone), and no longer is" in asked
        terminal.type("")
        assert terminal.wait() == 1, terminal.shown
