"""Machines that are not like ours: closed streams, no home directory, another encoding, few open files.

What can be done is done, and what cannot be ends in an error that says why; never in a traceback.
"""

from __future__ import annotations

import json
import os
import pwd
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from p2pqwen.config.load import load
from p2pqwen.errors import UsageError
from p2pqwen.manifest.manifest import parse_manifest
from p2pqwen.mirrors.location import Location
from p2pqwen.torrent.metainfo import parse_metainfo
from tests.simulators.hub import HubSimulator
from tests.support.command import CommandLine
from tests.support.models import write_folder
from tests.support.processes import ROOT, p2pqwen, running
from tests.support.warm import WarmCommand

COMMIT = "1" * 40
QUIET = ("--no-dht", "--no-lsd", "--no-upnp", "--no-trackers")


def shell(user: CommandLine, line: str, *arguments: str | Path, **extra: str) -> subprocess.CompletedProcess[str]:
    """Run a command of ours as `"$@"` in a line of the shell."""
    inherited = {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "P2PQWEN_", "LC_"))}
    done = subprocess.run(
        ["bash", "-c", line, "bash", *map(str, p2pqwen(*arguments))],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
        env={**inherited, **user.environment, **extra},
        check=False,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done


@pytest.fixture
def user(tmp_path) -> CommandLine:
    return CommandLine(tmp_path)


@pytest.fixture
def model(tmp_path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"a": 1}')
    return folder


@pytest.fixture
def publisher(user, model) -> CommandLine:
    user.ok("preserve", "--from", model, "--repo", "Org/Tiny", "--commit", COMMIT)
    user.ok("keys", "init", "--name", "T", "--no-passphrase")
    return user


@pytest.mark.parametrize("closed", ["<&-", ">&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("keys", "new", "--label", "x"), 2),
        (("keys", "init", "--name", "Other"), 2),
        (("remove", "Org/Tiny"), 2),
        (("limits", "--upload", "1MB/s"), 0),
        (("preserve", "--from", "{model}", "--repo", "Org/Other", "--commit", COMMIT), 0),
        (("publish", "--out", "{out}", "--no-check", "--no-dht", "--yes"), 0),
        (("list", "--json"), 0),
    ],
)
def test_a_closed_stream_is_as_dev_null(publisher, model, tmp_path, arguments, code, closed):
    filled = [one.format(model=model, out=tmp_path / "site") for one in arguments]
    assert shell(publisher, f'"$@" {closed}', *filled).returncode == code


def test_nothing_that_is_opened_takes_the_place_of_a_closed_stream(publisher, tmp_path):
    """A database that got descriptor 1 would be written over by what is printed."""
    done = shell(publisher, '"$@" <&- >&- 2>&-', "limits", "--upload", "1MB/s")
    assert done.returncode == 0
    assert (publisher.home / "state.sqlite").read_bytes().startswith(b"SQLite format 3\0")
    assert publisher.ok("limits")["upload"] == 1_000_000


@pytest.fixture
def nobody(monkeypatch) -> None:
    """A user whom neither the environment nor the system gives a home."""
    monkeypatch.delenv("HOME", raising=False)

    def unknown(_: object) -> None:
        raise KeyError("no such user")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    monkeypatch.setattr(pwd, "getpwnam", unknown)


@pytest.mark.usefixtures("nobody")
def test_without_a_home_directory_one_has_to_be_named(tmp_path):
    with pytest.raises(UsageError, match="home directory") as caught:
        load({})
    assert "P2PQWEN_HOME" in str(caught.value.hint)
    config = load({"P2PQWEN_HOME": str(tmp_path)})
    assert config.home.root == tmp_path
    assert config.hub.cache == tmp_path / "huggingface" / "hub"


@pytest.mark.usefixtures("nobody")
@pytest.mark.parametrize("name", ["P2PQWEN_HOME", "HF_HOME", "HF_HUB_CACHE", "HF_TOKEN_PATH", "XDG_CACHE_HOME"])
def test_a_tilde_that_means_nothing_is_named(tmp_path, name):
    with pytest.raises(UsageError, match=name):
        load({"P2PQWEN_HOME": str(tmp_path), name: "~/x"})
    with pytest.raises(UsageError, match="home directory"):
        Location.of_user("~/site")


@pytest.mark.parametrize(
    "locale",
    [
        {"LC_ALL": "C.UTF-8"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"LC_ALL": "POSIX"},
    ],
)
def test_names_are_what_they_are_in_any_locale(user, model, locale):
    (model / "mödel 模.txt").write_text("x")
    done = shell(
        user, '"$@"', "preserve", "--from", model, "--repo", "Org/Tiny", "--commit", COMMIT, "--json", **locale
    )
    assert done.returncode == 0, done.stderr
    held = json.loads(done.stdout)
    manifest = parse_metainfo(Path(held["torrent"]).read_bytes()).manifest
    assert manifest is not None
    assert [row.path.text for row in parse_manifest(manifest).files] == ["config.json", "mödel 模.txt"]
    assert shell(user, '"$@"', "verify", "Org/Tiny", **locale).returncode == 0


def test_a_name_that_is_no_utf_8_is_refused(user, model):
    (Path(os.fsdecode(os.fsencode(model) + b"/b\xe4d.txt"))).write_text("x")
    ended = user.run("preserve", "--from", model, "--repo", "Org/Tiny", "--commit", COMMIT)
    assert ended.code == 3
    assert "is not safe to create" in ended.stderr


@pytest.fixture(scope="module")
def many_files(tmp_path_factory) -> Iterator[tuple[str, str]]:
    """A Hub that has a model of 400 files, and the torrent of the model."""
    folder = tmp_path_factory.mktemp("many")
    source = write_folder(folder / "many", {f"{number}.txt": b"%d" % number for number in range(400)})
    with HubSimulator() as hub:
        hub.add("Org/Many", source)
        yield hub.endpoint, CommandLine(folder, hub.endpoint).ok("preserve", "Org/Many")["torrent"]


@pytest.mark.parametrize("limit", [64, 256])
def test_a_model_of_many_files_under_few_open_files(many_files, tmp_path, limit):
    endpoint, torrent = many_files
    done = shell(
        CommandLine(tmp_path, endpoint),
        f'ulimit -n {limit}; "$@"',
        "fetch", torrent, "--only-web-seeds", "--timeout", "100", *QUIET, "--json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["verified"] is True


@pytest.mark.parametrize("again", range(3))
def test_two_commands_at_once_in_a_new_home_lose_no_setting(user, again):
    """Each knows one limit only; what the other sets meanwhile stays."""
    given = (("--upload", "1MB/s"), ("--monthly-upload", "5GB"), ("--download", "2MB/s"), ("--hours", "01:00-02:00"))
    with ExitStack() as stack:
        started = [stack.enter_context(running(p2pqwen("limits", *one), user.environment)) for one in given]
        assert [one.wait(60) for one in started] == [0] * 4
        assert "damaged" not in "".join(one.stderr for one in started)
    limits = user.ok("limits")
    assert (limits["upload"], limits["monthly_upload"], limits["download"]) == (1_000_000, 5_000_000_000, 2_000_000)
    assert limits["hours"] == ["01:00-02:00"]


# One command of each kind: what is read, hashed, signed, written, fetched, planned.
KINDS: dict[str, tuple[str, ...]] = {
    "list": ("list", "--files"),
    "doctor": ("doctor",),
    "verify": ("verify", "Org/Tiny"),
    "index": ("index", "show", "{site}/index.json"),
    "trust": ("trust", "add", "{publisher}", "--index", "{site}"),
    "fetch": ("fetch", "{torrent}", "--no-web-seeds", "--timeout", "2", *QUIET),
    "limits": ("limits", "--upload", "1MB/s"),
    "export": ("export", "Org/Tiny", "{out}/export"),
    "keys": ("keys", "new", "--label", "x", "--no-passphrase"),
    "preserve": ("preserve", "--from", "{model}", "--repo", "Org/Other", "--commit", "2" * 40),
    "publish": ("publish", "--out", "{out}/site", "--no-check", "--no-dht", "--yes"),
    "adopt": ("adopt", "--budget", "1GB", "--dry-run", "--look-seconds", "0"),
    "help": ("help", "fetch"),
}
ENDS = dict.fromkeys(KINDS, 0) | {"doctor": 1, "adopt": 4}
NO_USER = "import pwd\n\n\ndef gone(*_):\n    raise KeyError\n\n\npwd.getpwuid = pwd.getpwnam = gone\n"
LONG = "x" * 255
# What is odd about the home alone needs no start that is.
HOMES = {
    "a home that is a file": "{model}/config.json",
    "a name of 255 bytes": f"{{out}}/{LONG}",
    "a name of 256 bytes": f"{{out}}/x{LONG}",
}
# How the command is called, and how it ends where it does not as ever: the code, and words of the error.
MACHINES: dict[str, tuple[str, dict[str, tuple[int, str]]]] = {
    "few open files": ('ulimit -n 64; "$@"', {}),
    "no UTF-8": ('LC_ALL=C PYTHONCOERCECLOCALE=0 PYTHONUTF8=0 "$@"', {}),
    "no home directory": (
        'unset HOME P2PQWEN_HOME HF_HOME HF_HUB_CACHE; PYTHONPATH={out} "$@"',
        {kind: (2, "set HOME, or P2PQWEN_HOME and HF_HOME") for kind in KINDS if kind != "help"},
    ),
    "a home that is a file": ("", {kind: (6, "config.json") for kind in KINDS if kind != "help"}),
    "a name of 255 bytes": ("", {}),
    "a name of 256 bytes": ("", {kind: (6, "File name too long") for kind in KINDS if kind != "help"}),
    "1970": ('LD_PRELOAD={clock} "$@"', {"publish": (1, "the clock of this machine is not set")}),
}


@pytest.fixture(scope="module")
def clock(tmp_path_factory) -> Path:
    """A library that makes every program believe that it is 1970."""
    compiler = shutil.which("cc")
    if compiler is None:
        pytest.skip("there is no C compiler")
    folder = tmp_path_factory.mktemp("clock")
    source = Path(__file__).with_name("clock_of_1970.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "clock.so", source], check=True)
    return folder / "clock.so"


@pytest.mark.parametrize("machine", MACHINES)
def test_no_kind_of_command_breaks_on_an_odd_machine(publisher, model, tmp_path, machine, request):
    line, otherwise = MACHINES[machine]
    published = publisher.ok("publish", "--out", tmp_path / "site", "--no-check", "--no-dht", "--yes")
    places = {
        "torrent": tmp_path / "site" / "Org" / "Tiny" / f"{COMMIT}.torrent",
        "site": tmp_path / "site",
        "publisher": published["publisher"],
        "model": model,
    }
    ends = {}
    for number, (kind, arguments) in enumerate(KINDS.items()):
        out = tmp_path / f"{number}"
        out.mkdir()
        (out / "sitecustomize.py").write_text(NO_USER)
        named = {**places, "out": out}
        if "{clock}" in line:
            named["clock"] = request.getfixturevalue("clock")
        given = [one.format(**named) for one in arguments]
        if machine in HOMES:
            home = Path(HOMES[machine].format(**named))
            if len(home.name) <= len(LONG) and not home.exists():
                shutil.copytree(publisher.home, home, symlinks=True)
            with WarmCommand({**publisher.environment, "P2PQWEN_HOME": str(home)}, given) as command:
                ended = command.wait()
            assert "Traceback" not in ended.stderr, ended.stderr
            ends[kind] = ended.code, ended.stderr
        else:
            shutil.copytree(publisher.home, out / "home", symlinks=True)
            done = shell(publisher, line.format(**named), *given, P2PQWEN_HOME=str(out / "home"))
            ends[kind] = done.returncode, done.stderr
    expected = {kind: otherwise.get(kind, (ENDS[kind], "")) for kind in KINDS}
    assert {kind: code for kind, (code, _) in ends.items()} == {kind: code for kind, (code, _) in expected.items()}, (
        ends
    )
    assert [kind for kind, (_, words) in expected.items() if words not in ends[kind][1]] == []
