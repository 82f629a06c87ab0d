"""The documents: short enough, with links that lead somewhere on any page, and true to the code where they list it."""

from __future__ import annotations

import ast
import re
import tomllib
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest
import typer

from p2pqwen.cli.help import manual
from p2pqwen.cli.main import app
from p2pqwen.config.load import load
from p2pqwen.config.settings import AlertsConfig, ArchiveConfig, HubEndpointConfig, WatchConfig
from p2pqwen.errors import UsageError
from p2pqwen.values.duration import parse_duration
from scripts import make_manual, record_readme
from tests.end_to_end.test_contract import ROWS as CONTRACT
from tests.support.examples import matches, printed_steps
from tests.support.processes import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = manual()
REPOSITORY = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Repository"]
MAIN = re.compile(re.escape(REPOSITORY.removeprefix("https://github.com")) + r"/(?:blob/|tree/)?main/(\S+)")
SHORT = 7168
WRITTEN = sorted(
    path
    for pattern in ("*.md", "tests/*.md", "tests/*/*.md", "scripts/*.md", "torrents/**/*.md", ".github/**/*.md")
    for path in ROOT.glob(pattern)
)


# README


def test_the_readme_is_short():
    assert len(README.encode()) <= SHORT


def test_links_of_the_readme_work_on_a_package_page():
    links = re.findall(r"\]\(([^)]+)\)", README) + re.findall(r"^\[[\w-]+\]: (\S+)$", README, re.MULTILINE)
    assert len(links) > 8
    inside = [re.sub(r"^https://(github\.com|raw\.githubusercontent\.com)", "", link) for link in links]
    for link, path in zip(links, inside, strict=True):
        assert link.startswith("https://"), link
        if link == f"{REPOSITORY}/security/policy":  # where the site shows .github/SECURITY.md
            continue
        named = MAIN.fullmatch(path)
        assert named is not None, f"{link} is not below {REPOSITORY}"
        file, _, anchor = named[1].partition("#")
        assert (ROOT / file).exists(), link
        if anchor:
            headings = re.findall(r"^#+ (.*)$", (ROOT / file).read_text(encoding="utf-8"), re.MULTILINE)
            assert anchor in {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings}, link


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_documents_lead_somewhere(path):
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8")):
        if "://" not in link:
            assert (path.parent / link).exists(), link


def test_the_readme_names_every_topic_of_the_manual():
    table = README[README.index("## Manual") :]
    named = {
        topic for row in re.findall(r"^\| [\w ]+ \| ([\w, -]+) \|$", table, re.MULTILINE) for topic in row.split(", ")
    }
    assert named == PAGES.keys() | {"topics"}


def test_the_picture_shows_what_the_manual_prints():
    """`scripts/record_readme.py` records it; its commands are examples, so that what they print is compared."""
    printed = {step.command: step.expected for page in PAGES for step in printed_steps(_source(page))}
    recorded = record_readme.read(record_readme.PICTURE.read_text(encoding="utf-8"))
    assert [command for command, _ in recorded] == list(record_readme.SCENE)
    for command, said in recorded:
        example, _, head = command.partition(" | head -")
        expected = printed[example] or ""
        if head:
            expected = "\n".join(expected.splitlines()[: int(head)])
        assert matches(_unwrapped(expected), _unwrapped(said)), f"{command}\n{said}\n--- the manual says:\n{expected}"


def _unwrapped(text: str) -> str:
    """Undo what a terminal of 80 columns makes of a line: its rest goes on below, indented."""
    return re.sub(r"(?<=\S) {2,}", " ", re.sub(r"\n {4}(?=\S)", "  ", text))


def _source(topic: str) -> str:
    return (ROOT / "p2pqwen" / "manual" / f"{topic}.md").read_text(encoding="utf-8")


# Settings


def test_the_page_of_settings_is_what_the_code_says():
    assert make_manual.PAGE.read_text(encoding="utf-8") == make_manual.page()


@pytest.mark.parametrize(
    ("table", "defaults"),
    [
        ("watch", WatchConfig()),
        ("archive", ArchiveConfig()),
        ("alerts", AlertsConfig()),
        ("hub_endpoint", HubEndpointConfig()),
    ],
)
def test_the_default_of_a_duration_is_shown_as_it_may_be_written(table, defaults):
    """A minute was shown as 0h."""
    durations = {one.name: one.default for one in fields(defaults) if isinstance(one.default, timedelta)}
    shown = make_manual.settings()[table]
    assert durations
    assert {name: parse_duration(shown[name]) for name in durations} == durations


VALUES = {
    "quiet": '"24h"',
    "to_file": '"a.txt"',
    "listen": '"127.0.0.1:7000"', "dht_bootstrap": '"none"', "private_hosts": '"nas.lan"', "web_seeds": '"never"',
    "upload_limit": '"5MB/s"', "download_limit": "0", "control": '"loopback"', "reserve": '"20GB"',
    "folders": '["/mnt/a", {path = "/mnt/b", reserve = "1GB"}]', "scrub_every": '"30d"', "watchlist": '"a.toml"',
    "every": '"24h"', "max_size": '"200GB"', "budget": '"2TB"', "parallel": "2", "rate": '"20MB/s"',
    "upstream": '"keep"', "abandoned": '"stop"', "timeout": '"90s"', "token_file": '"token"',
    "upstream_every": '"never"', "seed_withdrawn": '"others"', "bittorrent_proxy": '"socks5://127.0.0.1:1080"',
}  # fmt: skip
LISTS = {"to", "mute", "bases", "orgs", "include", "exclude", "license", "peers", "allow", "hosts", "prefer"}


def _written(setting: str) -> str:
    if setting in LISTS:
        return "[]"
    return VALUES.get(setting, "true")


@pytest.mark.parametrize("table", make_manual.SETTINGS)
def test_every_setting_of_the_page_is_one(table, tmp_path):
    lines = [f"{name} = {_written(name)}\n" for name in make_manual.SETTINGS[table]]
    (tmp_path / "config.toml").write_text(f"[{table}]\n{''.join(lines)}", encoding="utf-8")
    load({"P2PQWEN_HOME": str(tmp_path)})


@pytest.mark.parametrize(
    ("table", "name"), [("network", "nothing"), ("library", "nothing"), ("watch", "nothing"), ("archive", "nothing")]
)
def test_what_is_no_setting_is_refused(table, name, tmp_path):
    (tmp_path / "config.toml").write_text(f"[{table}]\n{name} = 1\n", encoding="utf-8")
    with pytest.raises(UsageError, match="has no setting"):
        load({"P2PQWEN_HOME": str(tmp_path)})


# Commands and messages


def _commands() -> set[str]:
    found = set()
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        below = getattr(command, "commands", None)
        found |= {f"{name} {one}" for one in below} if below else {name}
    return found


def _named(cells: list[str]) -> set[str]:
    """Return the commands that cells name; in `trust list`, `show` the second goes on with the first's group."""
    found: set[str] = set()
    for cell in cells:
        group = ""
        for words in re.findall(r"`([^`]+)`", cell):
            plain = re.sub(r" (--.*|…)$", "", words)
            group = plain.split()[0] if " " in plain else group
            found |= {plain, f"{group} {plain}"}
    return found


def test_the_page_of_privacy_speaks_of_every_command():
    section = PAGES["privacy"].text.partition("## Command by command")[2].partition("\n## ")[0]
    named = _named(re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE))
    missing = {name for name in _commands() if name not in named and name.split()[0] not in named}
    assert missing == set()


def test_the_page_of_json_speaks_of_every_command():
    section = PAGES["json"].text.partition("## Fields")[2]
    cells = re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE) + re.findall(r"^`seed --json`", section, re.MULTILINE)
    named = _named(cells)
    assert {name for name in _commands() if name not in named} == set()


@pytest.mark.parametrize("row", {row.name.split(" -")[0]: row for row in CONTRACT}.values(), ids=lambda row: row.name)
def test_the_page_of_json_names_the_fields_of_the_contract(row):
    """What `test_contract.py` looks for in the output of a command stands in the command's row."""
    words = [word for word in row.name.partition(",")[0].split() if word.islower()]
    command = next(name for name in (" ".join(words[:2]), words[0]) if name in _commands())
    rows = re.findall(rf"^\|(?=[^|]*`{command}[` ])[^|]*\| (.*) \|$", PAGES["json"].text, re.MULTILINE)
    assert rows, command
    said = "; ".join(rows)
    if command == "index show":
        said += "; ".join(re.findall(r"^\| `index verify` \| (.*) \|$", PAGES["json"].text, re.MULTILINE))
    if command == "trust list":
        said += "; ".join(re.findall(r"^\| `trust add`.*", PAGES["json"].text, re.MULTILINE))
    missing = [name for name in row.shape if not re.search(rf"\b{name}\b", said)]
    assert missing == []


def test_every_command_of_the_manual_exists():
    known = _commands() | {name.split()[0] for name in _commands()}
    for page in PAGES.values():
        for words in re.findall(r"`p2pqwen ([a-z]+(?: [a-z]+)?)", page.text):
            first = words.split()[0]
            assert words in known or first in known, f"{page.topic}: p2pqwen {words}"


def _messages() -> str:
    """Return every text in the code, with … for what is filled in."""
    found = []
    for path in (ROOT / "p2pqwen").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
            elif isinstance(node, ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
                found.append("".join(str(part) for part in parts))
    return "\n".join(found)


def test_the_messages_of_troubleshooting_are_those_of_the_code():
    messages = _messages()
    texts = [" ".join(text.split()) for text in re.findall(r"\*\*`([^`]+)`\*\*", PAGES["troubleshooting"].text)]
    assert len(texts) > 20
    gone = [text for text in texts if not all(part in messages for part in map(str.strip, text.split("…")) if part)]
    assert gone == []


def test_exit_codes_are_in_the_page_of_json():
    from p2pqwen.cli.exit_codes import HELP

    for code, meaning in re.findall(r"(\d+) ([a-z ]+)", HELP):
        assert re.search(rf"^\| {code} \| .*{meaning.split()[0]}", PAGES["json"].text, re.MULTILINE), (code, meaning)


def test_evidence_is_dated_and_says_its_command():
    for name in (
        "scripts/SPEED.md",
        "scripts/SURVIVAL.md",
        "scripts/NO_HOST.md",
        "tests/CLIENTS.md",
        "tests/README.md",
    ):
        text = Path(ROOT / name).read_text(encoding="utf-8")
        assert re.search(r"2026-\d\d-\d\d", text), name
        assert "commit" in text, name
        for script in re.findall(r"`(scripts/[\w./]+)", text):
            assert (ROOT / script).exists(), f"{name}: {script}"
