"""HF_TOKEN and HF_ENDPOINT as files and tools hand them over: trimmed, checked, and the token never shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from p2pqwen.config.load import load
from p2pqwen.demo.local_hub import LocalHub
from p2pqwen.errors import UsageError
from p2pqwen.hidden import SHOWN, covered, hide
from tests.support.command import CommandLine

TOKEN = "hf_" + "marked0token0of0this0test".rjust(34, "0")
ENDPOINT = "https://hub.example"


@pytest.fixture
def hub(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"a": 1}')
    with LocalHub(tokens=[TOKEN]) as hub:
        hub.add("Org/Tiny", folder)
        yield hub


@pytest.fixture
def user(hub, tmp_path) -> CommandLine:
    return CommandLine(tmp_path, hub.endpoint, cold=True)


def nothing_shows(token: str, user: CommandLine, *outputs: str) -> None:
    """Look at all that was said, and at all that was left behind."""
    files = [path for path in user.home.rglob("*") if path.is_file()]
    assert files
    for text in (*(one.encode() for one in outputs), *(path.read_bytes() for path in files)):
        assert token.encode() not in text
        assert token[5:].encode() not in text


@pytest.mark.parametrize("given", [TOKEN, f"{TOKEN}\n", f"{TOKEN}\r\n", f" {TOKEN}\t", f"\ufeff{TOKEN}"])
def test_a_token_is_what_it_is_without_what_is_around_it(given):
    assert load({"HOME": "/h", "HF_TOKEN": given}).hub.token == TOKEN


@pytest.mark.parametrize("nothing", ["", " ", "\r\n", "\ufeff"])
def test_a_blank_token_is_none(tmp_path, nothing):
    environment = {"HOME": str(tmp_path), "HF_TOKEN": nothing, "HF_HOME": str(tmp_path)}
    assert load(environment).hub.token is None
    (tmp_path / "token").write_bytes(b"\xef\xbb\xbfhf_from_the_file\r\n")
    assert load(environment).hub.token == "hf_from_the_file"


@pytest.mark.parametrize("bad", ["hf_a b", "hf_a\nb", "hf_\u00e4", "hf_\udcf6", "x" * 5000, "hf_\x1b[2J"])
def test_what_is_no_token_is_not_sent_and_not_shown(bad):
    hub = load({"HOME": "/h", "HF_TOKEN": bad}).hub
    assert bad not in repr(hub)
    with pytest.raises(UsageError, match="HF_TOKEN holds no token") as caught:
        _ = hub.token
    assert bad not in caught.value.message


@pytest.mark.parametrize(
    ("given", "read"),
    [
        (ENDPOINT, ENDPOINT),
        (f"{ENDPOINT}/", ENDPOINT),
        (f"{ENDPOINT}\r", ENDPOINT),
        (f" {ENDPOINT}/ \r\n", ENDPOINT),
        ("http://127.0.0.1:80/sub/", "http://127.0.0.1:80/sub"),
        (" \r\n", "https://huggingface.co"),
    ],
)
def test_an_endpoint_without_what_is_around_it(given, read):
    assert load({"HOME": "/h", "HF_ENDPOINT": given}).hub.endpoint == read


@pytest.mark.parametrize(
    "bad",
    [
        "hub.example", "ftp://hub.example", "https://", "https://hub.example:80x", "https://hub.example:0",
        "https://hub example", "https://user:secret@hub.example", "https://user:secret@hub.example:80x",
        "https://user:secret@hub.example:0", "https://hub.example/?a=b", "https://hub.example/#a", "https://hüb.example",
    ],
)  # fmt: skip
def test_what_is_no_endpoint_is_named(bad):
    with pytest.raises(UsageError, match="HF_ENDPOINT") as caught:
        load({"HOME": "/h", "HF_ENDPOINT": bad})
    assert "secret" not in caught.value.message


@pytest.mark.parametrize("end", ["", "\n", "\r\n"])
def test_commands_take_both_with_their_line_ends(user, hub, end):
    ended = user.run("preserve", "Org/Tiny", HF_TOKEN=TOKEN + end, HF_ENDPOINT=hub.endpoint + (" \r" if end else ""))
    assert ended.code == 0, ended.stderr
    nothing_shows(TOKEN, user, ended.stdout, ended.stderr)


def test_a_bad_token_file_stops_only_who_needs_it(user, tmp_path):
    (tmp_path / "hf-home").mkdir()
    (tmp_path / "hf-home" / "token").write_bytes(b"hf_n\xf6\n")
    assert user.run("list").code == 0
    ended = user.run("preserve", "Org/Tiny")
    assert ended.code == 2
    assert f"{tmp_path / 'hf-home' / 'token'} holds no token" in ended.stderr


def test_no_output_shows_the_token(user, hub, tmp_path):
    """Whatever goes wrong, and in whatever form it is said: the token of this run is in none of it."""
    ended = [
        user.run(*arguments, HF_TOKEN=TOKEN)
        for arguments in (
            ("preserve", "Org/Tiny", "--json"),
            ("preserve", "Org/None"),
            ("preserve", TOKEN),
            ("preserve", f"Org/{TOKEN}", "--json"),
            ("preserve", "--org", "Org", "--dry-run"),
            ("fetch", "Org/Tiny"),
            ("search", TOKEN),
            ("upstream", "check"),
        )
    ]
    for token in (f"{TOKEN}-not", f"{TOKEN} x"):
        ended.append(user.run("preserve", "Org/Tiny", HF_TOKEN=token))
        ended.append(user.run("preserve", "Org/Tiny", HF_TOKEN=token, HF_ENDPOINT="http://127.0.0.1:9"))
        ended.append(user.run("doctor", "--json", HF_TOKEN=token))
    outputs = [text for one in ended for text in (one.stdout, one.stderr)]
    nothing_shows(TOKEN, user, *outputs)


def test_a_secret_is_covered_wherever_it_stands():
    hide("a-long-secret")
    hide("a-long-secret-too")
    hide("x")
    assert covered("(a-long-secret-too, a-long-secret) x") == f"({SHOWN}, {SHOWN}) x"
    assert covered(f"see {TOKEN[::-1]} or {TOKEN}.") == f"see {TOKEN[::-1]} or {SHOWN}."


def test_a_path_of_the_token_is_no_part_of_the_settings(tmp_path):
    environment = {"HOME": str(tmp_path), "HF_TOKEN_PATH": str(Path(tmp_path) / "t")}
    (tmp_path / "t").write_text(TOKEN)
    hub = load(environment).hub
    assert hub.token == TOKEN
    assert TOKEN not in repr(hub)
