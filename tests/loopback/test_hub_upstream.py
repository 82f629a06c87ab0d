"""The Hub's place with the Hub behind it: what nobody else has is passed on, and kept where that is wished."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import HfApi, snapshot_download

from tests.simulators.hub import HubSimulator
from tests.support.command import CommandLine
from tests.support.hub_endpoint import ask, contents, hub_process
from tests.support.models import small_model, write_folder
from tests.support.nodes import quiet_config
from tests.support.waiting import wait_until

REPO = "Else/Where"
FILES = small_model(300_000)
TOKEN = "hf_a_token_of_the_users"


@pytest.fixture
def hub(tmp_path):
    with HubSimulator(tokens=[TOKEN]) as found:
        found.add(REPO, write_folder(tmp_path / "model", FILES))
        yield found


def somebody(tmp_path, hub, more="", **extra):
    user = CommandLine(tmp_path / "user", hub.endpoint, **extra)
    quiet_config(user, more)
    return user


def test_what_nobody_else_has_is_passed_on(hub, tmp_path):
    with hub_process(somebody(tmp_path, hub)) as url:
        folder = Path(snapshot_download(REPO, endpoint=url, cache_dir=tmp_path / "cache", token=False))
        assert contents(folder) == FILES
        assert len(list(HfApi(endpoint=url, token=False).list_repo_tree(REPO, recursive=True))) == len(FILES) + 2
        assert ask(url, f"/api/models/{REPO}/revision/nothing").code == "RevisionNotFound"
        assert ask(url, "/api/models/Nobody/Has").status in {401, 404}
        hub.close()
        answer = ask(url, f"/api/models/{REPO}")
        assert (answer.status, answer.code) == (404, "RepoNotFound")
        hub.start()
    with hub_process(somebody(tmp_path, hub), "--no-upstream") as url:
        before = len(hub.log)
        assert ask(url, f"/api/models/{REPO}").status == 404
        assert len(hub.log) == before


def test_142_a_clients_token_goes_to_the_hub_and_this_homes_goes_to_nobody(hub, tmp_path):
    with hub_process(somebody(tmp_path, hub, HF_TOKEN="hf_the_homes_own")) as url:
        ask(url, f"/api/models/{REPO}")
        ask(url, f"/api/models/{REPO}", Authorization=f"Bearer {TOKEN}")
        assert [call.authorization for call in hub.log] == [None, f"Bearer {TOKEN}"]


def test_143_an_endpoint_whose_hub_is_itself_does_not_ask_in_circles(hub, tmp_path):
    with hub_process(somebody(tmp_path, hub)) as first:
        second = CommandLine(tmp_path / "second", first)
        quiet_config(second)
        with hub_process(second) as url:
            assert ask(url, f"/api/models/{REPO}").code == "RepoNotFound"  # one hop, and no more


def test_names_of_xet_do_not_pass(hub, tmp_path, monkeypatch):
    from p2pqwen.server.hub_upstream import _without_xet

    given = [{"path": "a", "xetHash": "0", "lfs": {"oid": "1", "xet_x": 1}, "XetHash": 2}, 3]
    assert _without_xet(given) == [{"path": "a", "lfs": {"oid": "1"}}, 3]


def test_what_passes_is_kept(hub, tmp_path):
    user = somebody(tmp_path, hub, '[hub_endpoint]\nupstream = "keep"\n')
    with hub_process(user) as url:
        assert ask(url, f"/{REPO}/resolve/main/config.json").status == 307  # as the Hub answers
        wait_until(lambda: [row["state"] for row in user.ok("list")["snapshots"]] == ["complete"], 60, "it is kept")
        hub.close()
        assert ask(url, f"/{REPO}/resolve/main/config.json").body == FILES["config.json"]
        hub.start()
