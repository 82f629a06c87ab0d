"""A second origin is as hostile as the first: attacks 125 to 132, with ModelScope as the stranger."""

from __future__ import annotations

import json

import pytest
from aiohttp import web

from p2pqwen.modelscope import client as modelscope_client
from p2pqwen.modelscope import web as modelscope_web
from tests.simulators.hub import HubSimulator
from tests.simulators.modelscope import ModelScopeSimulator
from tests.support.addresses import web_server
from tests.support.command import CommandLine
from tests.support.models import small_model, write_folder

REPO = "Qwen/Tiny"
THEIRS = f"modelscope:{REPO}"


class Stranger(ModelScopeSimulator):
    """A ModelScope whose listings and files `lie` changes: it gets each listing's `Data` and may change it."""

    lie = staticmethod(lambda data: None)
    body = None
    redirect = None

    async def answer(self, request, call):
        if call.kind == "tree" and self.body is not None:
            return web.Response(body=self.body, content_type="application/json")
        if call.kind == "resolve" and self.redirect is not None:
            return web.Response(status=302, headers={"Location": self.redirect})
        response = await super().answer(request, call)
        if call.kind == "tree" and response.status == 200:
            answer = json.loads(response.body)
            self.lie(answer["Data"])
            return web.json_response(answer)
        return response


@pytest.fixture
def hub():
    with HubSimulator() as simulator:
        yield simulator


@pytest.fixture
def stranger(tmp_path):
    with Stranger() as simulator:
        simulator.add(REPO, write_folder(tmp_path / "src", small_model()))
        yield simulator


@pytest.fixture
def user(tmp_path, hub, stranger):
    extra = {"MODELSCOPE_ENDPOINT": stranger.endpoint, "MODELSCOPE_API_TOKEN": "ms-secret"}
    return CommandLine(tmp_path, hub.endpoint, **extra)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(modelscope_web, "ATTEMPTS", 1)
    monkeypatch.setattr(modelscope_client, "ATTEMPTS", 1)


def row(data, path):
    return next(one for one in data["Files"] if one["Path"] == path)


def renamed(path):
    return lambda data: row(data, "config.json").update(Path=path)


def nothing_came(user):
    library = user.home / "library"
    held = [path for path in library.rglob("*") if path.is_file() and ".staging" not in path.parts]
    return user.ok("list")["snapshots"] == [] and not held


@pytest.mark.parametrize("path", ["../evil", "/etc/evil", "a/../../evil", "con", ".git/config", "a\\b", "README.md/x"])
@pytest.mark.parametrize("git", ["on", "off"])
def test_144_paths_that_lead_out_of_the_snapshot(stranger, user, tmp_path, path, git):
    stranger.git, stranger.lie = git, renamed(path)
    assert user.run("preserve", THEIRS).code == 3
    assert nothing_came(user)
    assert not list(tmp_path.rglob("evil"))


@pytest.mark.parametrize(
    "lie",
    [
        lambda data: row(data, "model.safetensors").update(Sha256="0" * 64),
        lambda data: row(data, "model.safetensors").update(Size=5),
        lambda data: row(data, "model.safetensors").update(Size=-1),
        lambda data: row(data, "model.safetensors").update(Size=True),
        lambda data: row(data, "model.safetensors").update(Size=10**30),
        lambda data: row(data, "model.safetensors").update(Sha256=""),
        lambda data: row(data, "model.safetensors").update(Sha256="x"),
        lambda data: row(data, "config.json").update(Sha256="0" * 64),
        lambda data: row(data, "config.json").update(Type="commit"),
        lambda data: row(data, "config.json").update(IsLFS="yes"),
        lambda data: data["Files"].append(7),
        lambda data: data["Files"].append({"Path": ["x"], "Type": "blob"}),
        lambda data: data.update(Files={}),
        lambda data: data.update(Files=[]),
        lambda data: data["LatestCommitter"].update(Id="../../x" * 8),
        lambda data: data["LatestCommitter"].update(ShortId="fffffff0"),
    ],
    ids=range(16),
)
@pytest.mark.parametrize("git", ["on", "off"])
def test_145_listings_that_do_not_hold_together(stranger, user, lie, git):
    stranger.git, stranger.lie = git, lie
    ended = user.run("preserve", THEIRS)
    assert ended.code in {3, 5, 6}, ended
    assert nothing_came(user)


@pytest.mark.parametrize(
    "lie",
    [
        lambda data: data["Files"].remove(row(data, "config.json")),
        lambda data: data["Files"].append(row(data, "config.json") | {"Path": "more.json"}),
        lambda data: row(data, "config.json").update(Sha256=row(data, "README.md")["Sha256"]),
        lambda data: row(data, "model.safetensors").update(IsLFS=False),
    ],
    ids=["one left out", "one more", "another's hash", "no LFS"],
)
def test_146_a_listing_that_is_not_its_git_commit(stranger, user, lie):
    stranger.lie = lie
    ended = user.run("preserve", THEIRS, "--json")
    # Whether a file is LFS its commit tells: what the listing says of that is not needed.
    proven = ended.code == 0 and ended.json["provenance"] == "proven"
    assert proven or (ended.code == 3 and nothing_came(user))


def test_147_another_commit_than_was_asked_for(stranger, user):
    commit = str(stranger.repositories[REPO].branches["master"])
    stranger.lie = lambda data: data["LatestCommitter"].update(ShortId="fffffff0")
    assert user.run("preserve", f"{THEIRS}@{commit}").code == 3
    assert nothing_came(user)


@pytest.mark.parametrize("fault", ["corrupt", "short", "html"])
@pytest.mark.parametrize("path", ["model.safetensors", "tokenizer/*.json"])
def test_148_other_bytes_than_are_listed(stranger, user, fault, path):
    stranger.fault(fault, path, on=["cdn", "resolve"])
    assert user.run("preserve", THEIRS).code in {3, 5}
    assert nothing_came(user)


@pytest.mark.parametrize("body", [b"[" * 200_000, b'{"Data": {"Files": ' + b"[" * 100_000, b"\xff\xfe", b"7", b"{}"])
def test_149_answers_that_are_no_answers(stranger, user, body):
    stranger.body = body
    ended = user.run("preserve", THEIRS)
    assert ended.code == 3, ended
    assert "Traceback" not in ended.stderr


def test_149_an_answer_without_end(stranger, user, monkeypatch):
    monkeypatch.setattr(modelscope_web, "MAX_ANSWER", 100_000)
    stranger.body = b'{"Data": "' + b"x" * 200_000 + b'"}'
    assert user.run("preserve", THEIRS).code == 3


def test_150_the_token_goes_to_its_own_host_alone(stranger, hub, user):
    with web_server("127.0.0.1") as elsewhere:
        stranger.redirect = f"http://127.0.0.1:{elsewhere.port}/file"
        assert user.run("preserve", THEIRS).code in {4, 5}
        assert elsewhere.hits
        assert set(elsewhere.authorizations) == {None}
    asked = [call.authorization for call in stranger.log if call.kind in {"tree", "resolve"}]
    assert set(asked) == {"Bearer ms-secret"}
    assert not [call for call in stranger.log if call.kind == "git" and call.authorization]
    assert not [call for call in hub.log if call.authorization]


def test_151_a_commit_that_a_stranger_made_of_these_files_is_none_of_the_hubs(hub, stranger, user, tmp_path):
    """Anybody can make a commit of the files, and hand it out under the repository's name, proven as it is."""
    files = small_model()
    with HubSimulator() as forger:
        forged = forger.repository(REPO).commit(write_folder(tmp_path / "forged", files), message="Forged")
        theirs = CommandLine(tmp_path / "forger", forger.endpoint)
        torrent = theirs.ok("preserve", REPO)["torrent"]
    folder = theirs.home / "library" / "Qwen" / "Tiny" / str(forged)
    user.ok("library", "import", folder, "--torrent", torrent)
    assert [one["commit"] for one in user.ok("list")["snapshots"]] == [str(forged)]
    done = user.ok("preserve", THEIRS)
    assert done["repo"] == THEIRS
    assert done["commit"] != str(forged)


def test_151_what_the_hub_never_had_is_not_made_up_by_auto(hub, stranger, user):
    user.home.mkdir(exist_ok=True)
    (user.home / "config.toml").write_text('origin = "auto"\n')
    ended = user.run("preserve", f"{REPO}@{'a' * 40}")
    assert ended.code == 4, ended
    assert nothing_came(user)
