"""One commit over smart HTTP: from our upload-pack, from the real `git http-backend`, from servers that misbehave."""

from __future__ import annotations

import base64
import subprocess
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest

from p2pqwen.errors import FormatError, NetworkError, NotFoundError, P2pqwenError
from p2pqwen.hub import git_commit, git_transport
from p2pqwen.hub.client import HubClient
from p2pqwen.manifest.git_object import commit_oid, commit_tree, tree_oid
from p2pqwen.values.digest import CommitId
from p2pqwen.values.snapshot_id import RepoId, SnapshotId
from tests.simulators.faults import Effect, Fault
from tests.simulators.hub import HubSimulator
from tests.simulators.sample import REPO, write_sample
from tests.support.addresses import LOOPBACK

TOKEN = "hf_good"
commit_object = partial(git_commit.commit_object, named=LOOPBACK)
tree_rows = partial(git_commit.tree_rows, named=LOOPBACK)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(git_transport, "SILENCE_SECONDS", 0.5)
    monkeypatch.setattr(git_transport, "_RETRIES", git_transport._RETRIES.new(backoff_factor=0.01))


@pytest.fixture
def hub(tmp_path):
    simulator = HubSimulator(tokens=[TOKEN])
    simulator.add(REPO, write_sample(tmp_path / "one"))
    simulator.add(REPO, write_sample(tmp_path / "two", weights=b"two"))
    with simulator:
        yield simulator


@pytest.fixture
def url(hub):
    return f"{hub.endpoint}/{REPO}"


def commits(hub):
    return list(hub.repositories[REPO].commits)


def serving(hub, git, git_filter):
    hub.git, hub.git_filter = git, git_filter


@pytest.mark.parametrize("git_filter", ["allow", "ignore", "refuse"])
@pytest.mark.parametrize("git", ["on", "backend"])
def test_every_commit_with_and_without_filters(hub, url, git, git_filter):
    serving(hub, git, git_filter)
    for commit in commits(hub):  # the tip, and one that no branch names
        raw, rows = commit_object(url, commit), tree_rows(url, commit)
        assert commit_oid(raw) == commit
        assert tree_oid(rows) == commit_tree(raw)
        stored = hub.repositories[REPO].commits[commit]
        assert {str(path): (mode, str(oid)) for path, mode, oid in rows} == {
            path: ("100644", file.blob_id) for path, file in stored.items()
        }


def test_with_filters_one_object_comes(hub, url):
    commit_object(url, commits(hub)[0])
    assert hub.calls(kind="git", path="git-upload-pack")[-1].sent < 400
    hub.git_filter = "ignore"
    commit_object(url, commits(hub)[0])
    assert hub.calls(kind="git", path="git-upload-pack")[-1].sent > 400


def test_real_git_clones_from_our_upload_pack(hub, url, tmp_path):
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(tmp_path),
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_LFS_SKIP_SMUDGE": "1",
    }
    for name, arguments in {
        "whole": [],
        "shallow": ["--depth=1"],
        "partial": ["--filter=blob:none", "--no-checkout"],
        "treeless": ["--filter=tree:0", "--depth=1", "--no-checkout"],
    }.items():
        command = ["git", "clone", "-q", *arguments, url, str(tmp_path / name)]
        subprocess.run(command, check=True, env=environment, capture_output=True, timeout=60)
        check = ["git", "-C", str(tmp_path / name), "fsck", "--connectivity-only"]
        subprocess.run(check, check=True, env=environment, capture_output=True, timeout=60)
    log = ["git", "-C", str(tmp_path / "whole"), "rev-list", "--all"]
    listed = subprocess.run(log, check=True, env=environment, capture_output=True, text=True, timeout=60).stdout.split()
    assert sorted(listed) == sorted(str(commit) for commit in commits(hub))


def test_the_hub_client_asks_with_and_without_the_suffix(hub):
    snapshot = SnapshotId(RepoId(REPO), commits(hub)[1])
    hub.faults.add(Fault(Effect(status=404), on=["git"], times=1))
    assert commit_oid(HubClient(hub.endpoint, None, named=LOOPBACK).commit_object(snapshot)) == snapshot.commit
    first, second = hub.calls(kind="git", path="info/refs")
    assert first.url.split("/info/")[0] == f"{hub.endpoint}/{REPO}"
    assert second.url.split("/info/")[0] == f"{hub.endpoint}/{REPO}.git"


def test_unknown_things(hub, url):
    with pytest.raises(NotFoundError):
        commit_object(url, CommitId.parse("f" * 40))
    with pytest.raises(NotFoundError):
        commit_object(f"{hub.endpoint}/Qwen/Nothing", commits(hub)[0])


@pytest.mark.parametrize("git_filter", ["allow", "ignore"])
def test_unknown_commit_at_a_real_git_server(hub, url, git_filter):
    serving(hub, "backend", git_filter)
    with pytest.raises(NotFoundError):
        commit_object(url, CommitId.parse("f" * 40))


def test_private_repositories_take_the_token_as_a_password(hub, url):
    hub.repositories[REPO].private = True
    with pytest.raises(NotFoundError) as caught:
        commit_object(url, commits(hub)[0])
    assert "HF_TOKEN" in (caught.value.hint or "")
    assert commit_object(url, commits(hub)[0], TOKEN)
    sent = hub.calls(kind="git")[-1].authorization
    assert sent is not None
    assert base64.b64decode(sent.removeprefix("Basic ")).decode().endswith(f":{TOKEN}")


def test_the_token_does_not_follow_a_redirect(hub, url, tmp_path):
    with HubSimulator() as other:
        other.repositories = hub.repositories
        target = f"{other.endpoint}/{REPO}/info/refs?service=git-upload-pack"
        hub.faults.add(Fault(Effect(redirect=target), on=["git"]))
        assert commit_object(url, commits(hub)[0], TOKEN)
        assert hub.log[0].authorization is not None
        assert len(other.log) == 3
        assert {call.authorization for call in other.log} == {None}


FAULTS = [
    ("git off", {"git": "off"}, None, NotFoundError),
    ("git forbidden", {"git": "forbidden"}, None, NetworkError),
    ("busy", {}, Effect(status=429, headers={"Retry-After": "0"}), NetworkError),
    ("broken", {}, Effect(status=500), NetworkError),
    ("silent", {}, Effect(hang=60.0), NetworkError),
    ("cut", {}, Effect(reset_after=0), NetworkError),
    ("a page", {}, Effect(status=200, headers={"Content-Type": "text/html"}, body=b"<html>"), NetworkError),
    ("a loop", {}, Effect(redirect="self"), NetworkError),
    (
        "not packets",
        {},
        Effect(status=200, headers={"Content-Type": "application/x-git-upload-pack-advertisement"}, body=b"zzzz"),
        NetworkError,
    ),
    (
        "nothing",
        {},
        Effect(status=200, headers={"Content-Type": "application/x-git-upload-pack-advertisement"}),
        NetworkError,
    ),
]


@pytest.mark.parametrize(
    ("switches", "effect", "kind"), [case[1:] for case in FAULTS], ids=[case[0] for case in FAULTS]
)
def test_servers_that_do_not_serve(hub, url, switches, effect, kind):
    for name, value in switches.items():
        setattr(hub, name, value)
    if effect is not None:
        hub.faults.add(Fault(effect, on=["git"]))
    with pytest.raises(P2pqwenError) as caught:
        commit_object(url, commits(hub)[0])
    assert type(caught.value) is kind, caught.value
    assert "\n" not in caught.value.message
    assert "HTTPConnectionPool" not in caught.value.message


def test_a_busy_server_is_asked_again(hub, url):
    hub.faults.add(Fault(Effect(status=503), on=["git"], times=2))
    assert commit_object(url, commits(hub)[0])


def test_an_answer_that_is_too_large(hub, url, monkeypatch):
    monkeypatch.setattr(git_transport, "MAX_ANSWER_BYTES", 100)
    with pytest.raises(NetworkError, match="too much"):
        commit_object(url, commits(hub)[0])


def test_an_answer_that_takes_too_long(hub, url, monkeypatch):
    monkeypatch.setattr(git_transport, "MAX_SECONDS", -1.0)
    with pytest.raises(NetworkError, match="too slow"):
        commit_object(url, commits(hub)[0])


@pytest.mark.parametrize("status", [302, 503])
def test_165_a_body_before_the_answer_is_not_waited_for(hub, url, status):
    """Before it asks again urllib3 would read the rest of an answer, which need not end."""
    sent = 0

    class Endless(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            nonlocal sent
            self.send_response(status)
            self.send_header("Location", f"{url}{self.path}")
            self.end_headers()
            with suppress(OSError):
                while sent < 400_000_000:
                    sent += self.connection.send(bytes(1 << 20))

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Endless) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        here = f"http://127.0.0.1:{server.server_address[1]}"
        if status == 302:
            assert commit_object(here, commits(hub)[0])
        else:
            with pytest.raises(NetworkError):
                commit_object(here, commits(hub)[0])
        server.shutdown()
    assert sent < 200_000_000


def test_a_pack_that_is_spoiled(hub, url, monkeypatch):
    body = b"".join(
        [b"000dpackfile\n", b"0029\x01PACK\x00\x00\x00\x02\x00\x00\x00\x01", b"\x91\x0cnot zlib at all....", b"0000"]
    )
    answer = Effect(status=200, headers={"Content-Type": "application/x-git-upload-pack-result"}, body=body)
    hub.faults.add(Fault(answer, path="git-upload-pack", on=["git"], skip=1))
    with pytest.raises((NetworkError, FormatError)):
        commit_object(url, commits(hub)[0])


def test_nobody_listens(hub, url):
    hub.close()
    with pytest.raises(NetworkError, match="refused"):
        commit_object(url, commits(hub)[0])
