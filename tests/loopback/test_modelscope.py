"""Two origins: ModelScope preserves what the Hub has as the Hub's, what it alone has as its own, and stands in."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from p2pqwen.manifest.lfs_pointer import pointer_bytes
from p2pqwen.modelscope import client, web
from p2pqwen.values.digest import Sha256
from tests.simulators.hub import HubSimulator
from tests.simulators.modelscope import ModelScopeSimulator
from tests.support.command import CommandLine
from tests.support.models import noise, small_model, write_folder
from tests.support.nodes import quiet_config, row, seeding
from tests.support.waiting import wait_until

REPO = "Qwen/Tiny"
THEIRS = f"modelscope:{REPO}"
SAME = ("repo", "commit", "provenance", "size")
QUIET = ("--no-dht", "--no-trackers", "--look-seconds", "20")
EXTRA = {"configuration.json": b'{"framework": "pytorch"}\n'}


@pytest.fixture
def hub():
    with HubSimulator() as simulator:
        yield simulator


@pytest.fixture
def modelscope():
    with ModelScopeSimulator() as simulator:
        yield simulator


@pytest.fixture
def user(tmp_path, hub, modelscope):
    return CommandLine(tmp_path, hub.endpoint, MODELSCOPE_ENDPOINT=modelscope.endpoint)


def automatic(user):
    user.home.mkdir(exist_ok=True)
    (user.home / "config.toml").write_text('origin = "auto"\n')


def downloads(simulator):
    return simulator.count(kind="cdn", method="GET") + simulator.count(kind="xorb", method="GET")


def held_files(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("git", ["on", "off"])
@pytest.mark.parametrize("named", ["whole", "short", "not"])
def test_what_modelscope_alone_has_is_a_snapshot_of_modelscope(modelscope, user, tmp_path, git, named):
    files = small_model() | EXTRA
    modelscope.git, modelscope.names_commit = git, named
    if (git, named) == ("off", "not"):
        modelscope.add(REPO, write_folder(tmp_path / "src", files))
        ended = user.run("preserve", THEIRS)
        assert (ended.code, "name it" in ended.stderr) == (3, True)
        return
    commit = modelscope.add(REPO, write_folder(tmp_path / "src", files))
    done = user.ok("preserve", THEIRS)
    assert (done["repo"], done["commit"]) == (THEIRS, str(commit))
    assert done["provenance"] == ("proven" if git == "on" else "unproven")
    assert done["files"] == len(files)
    folder = user.home / "library" / "@modelscope" / "Qwen" / "Tiny" / str(commit)
    assert held_files(folder) == files
    assert f"dn=modelscope%3AQwen%2FTiny%40{commit}" in done["magnet"]
    assert f"{modelscope.endpoint}/models/{REPO}/resolve/" in user.run("torrent", "show", done["torrent"]).stdout
    assert user.ok("verify", f"{THEIRS}@{commit}")["ok"]
    assert [one["repo"] for one in user.ok("list")["snapshots"]] == [THEIRS]
    again = user.ok("preserve", f"{THEIRS}@{commit}")
    assert (again["unchanged"], again["infohash_v2"]) == (True, done["infohash_v2"])


def test_what_the_hub_lists_too_is_the_hubs_snapshot_and_what_is_besides_is_named(hub, modelscope, user, tmp_path):
    commit = hub.add(REPO, write_folder(tmp_path / "hub", small_model()))
    modelscope.add(REPO, write_folder(tmp_path / "modelscope", small_model() | EXTRA))
    from_hub = CommandLine(tmp_path / "other", hub.endpoint).ok("preserve", REPO)
    before = downloads(hub)

    done = user.run("preserve", THEIRS, "--json")

    assert done.code == 0, done
    said = done.json
    for name in ("repo", "commit", "infohash_v1", "infohash_v2", "manifest_sha256", "provenance", "magnet"):
        assert said[name] == from_hub[name], name
    assert said["commit"] == str(commit)
    assert "left out, as the Hub's commit does not have it: configuration.json" in done.stderr
    assert downloads(hub) == before
    assert downloads(modelscope) == 1
    again = user.run("preserve", THEIRS)
    assert "already preserved" in again.stdout
    assert "come from" not in done.stderr + again.stderr, "nothing came the second time"
    assert " is Qwen/Tiny on the Hub" not in done.stderr, "which the line of its files says"


def test_who_names_no_branch_is_told_of_none(modelscope, user, tmp_path):
    modelscope.add(REPO, write_folder(tmp_path / "modelscope", small_model()))
    absent, branch = user.run("preserve", "modelscope:Qwen/Absent"), user.run("preserve", f"{THEIRS}@dev")
    assert (absent.code, branch.code) == (4, 4)
    assert "modelscope:Qwen/Absent: not found" in absent.stderr
    assert f"{THEIRS}@dev: not found" in branch.stderr


@pytest.mark.parametrize("where", ["library", "index"])
def test_a_model_gone_from_the_hub_comes_from_modelscope_as_the_same_snapshot(hub, modelscope, user, tmp_path, where):
    hub.add(REPO, write_folder(tmp_path / "hub", small_model()))
    modelscope.add(REPO, write_folder(tmp_path / "modelscope", small_model() | EXTRA))
    publisher = CommandLine(tmp_path / "publisher", hub.endpoint)
    before = publisher.ok("preserve", REPO)
    if where == "index":
        publisher_id = publisher.ok("keys", "init", "--name", "Keeper", "--no-passphrase")["publisher"]
        publisher.ok("publish", "--out", tmp_path / "site", "--no-check")
        user.ok("trust", "add", publisher_id, "--index", tmp_path / "site")
    else:
        user.ok("preserve", REPO)
    hub.delete(REPO)
    automatic(user)

    done = user.ok("preserve", REPO)

    for name in ("repo", "commit", "infohash_v1", "infohash_v2", "manifest_sha256", "provenance"):
        assert done[name] == before[name], name
    assert done["unchanged"] == (where == "library")
    assert user.ok("verify", f"{REPO}@{before['commit']}")["ok"]
    shown = user.ok("upstream", "show")["snapshots"]
    assert [(one["repo"], one["upstream"]) for one in shown] == [(REPO, "gone")]
    assert user.ok("preserve", f"{REPO}@{before['commit']}")["unchanged"]


def test_a_model_gone_from_modelscope_is_the_same_snapshot_from_the_hub(hub, modelscope, user, tmp_path):
    hub.add(REPO, write_folder(tmp_path / "hub", small_model()))
    modelscope.add(REPO, write_folder(tmp_path / "modelscope", small_model() | EXTRA))
    first = user.ok("preserve", THEIRS)
    modelscope.delete(REPO)
    assert user.run("preserve", THEIRS).code == 4
    again = user.ok("preserve", REPO)
    assert (again["unchanged"], again["infohash_v2"]) == (True, first["infohash_v2"])


def test_gone_from_the_hub_and_known_to_nobody_it_is_modelscopes_own(hub, modelscope, user, tmp_path):
    commit = modelscope.add(REPO, write_folder(tmp_path / "modelscope", small_model()))
    assert user.run("preserve", REPO).code == 4
    assert not modelscope.log  # nobody asked for it
    automatic(user)
    done = user.ok("preserve", REPO)
    assert (done["repo"], done["commit"]) == (THEIRS, str(commit))
    assert user.run("preserve", f"{REPO}@{'0' * 40}").code == 4


def test_a_gated_model_is_taken_from_where_everybody_may_read_it(hub, modelscope, user, tmp_path):
    commit = hub.add(REPO, write_folder(tmp_path / "hub", small_model()))
    hub.repositories[REPO].gated = "manual"
    modelscope.add(REPO, write_folder(tmp_path / "modelscope", small_model() | EXTRA))
    refused = user.run("preserve", REPO)
    assert refused.code == 1
    assert "gated" in refused.stderr
    automatic(user)
    done = user.ok("preserve", REPO)
    assert (done["repo"], done["commit"]) == (REPO, str(commit))
    assert downloads(hub) == 0


@pytest.mark.parametrize("fault", ["404", "403", "corrupt"])
def test_a_file_that_the_hub_does_not_give_comes_from_modelscope(hub, modelscope, user, tmp_path, fault):
    hub.add(REPO, write_folder(tmp_path / "hub", small_model()))
    modelscope.add(REPO, write_folder(tmp_path / "modelscope", small_model() | EXTRA))
    hub.xet.served = False  # over Xet the bytes come from another host yet
    hub.fault(fault, "*.safetensors", on=["resolve", "cdn"])
    automatic(user)
    done = user.run("preserve", REPO, "--json")
    assert done.code == 0, done
    assert (done.json["repo"], done.json["provenance"], downloads(modelscope)) == (REPO, "proven", 1)
    assert ("another way" if fault == "corrupt" else "comes from ModelScope") in done.stderr


@pytest.mark.parametrize("where", ["model.safetensors", "README.md"])
def test_other_bytes_are_another_snapshot(hub, modelscope, user, tmp_path, where):
    hub.add(REPO, write_folder(tmp_path / "hub", small_model()))
    changed = bytearray(small_model()[where])
    changed[-2] ^= 1
    commit = modelscope.add(REPO, write_folder(tmp_path / "modelscope", small_model() | {where: bytes(changed)}))
    modelscope.git = "off"
    done = user.ok("preserve", THEIRS)
    assert (done["repo"], done["commit"]) == (THEIRS, str(commit))


def test_both_names_of_an_organisation_end_in_one_snapshot_each(hub, modelscope, user, tmp_path):
    hub.add(REPO, write_folder(tmp_path / "hub", small_model()))
    modelscope.add(REPO, write_folder(tmp_path / "modelscope", small_model() | EXTRA))
    alone = modelscope.add("Qwen/Alone", write_folder(tmp_path / "alone", {"model.bin": noise(9000, "alone")}))
    user.ok("preserve", "--org", "Qwen")
    done = user.ok("preserve", "--org", "modelscope:Qwen")
    assert [(one["repo"], one["commit"]) for one in done["preserved"]] == [("modelscope:Qwen/Alone", str(alone))]
    assert [one["repo"] for one in done["unchanged"]] == [REPO]
    automatic(user)
    both = user.ok("preserve", "--org", "Qwen")
    assert sorted(one["repo"] for one in both["unchanged"]) == [REPO, "modelscope:Qwen/Alone"]
    hub.delete(REPO)
    gone = user.ok("preserve", "--org", "Qwen")
    assert sorted(one["repo"] for one in gone["unchanged"]) == [REPO, "modelscope:Qwen/Alone"]


@pytest.fixture
def published(hub, modelscope, user, tmp_path):
    """A publisher whose index names ModelScope's place of a model of the Hub, and a user who trusts it."""
    commit = hub.add(REPO, write_folder(tmp_path / "hub", small_model()))
    modelscope.add(REPO, write_folder(tmp_path / "modelscope", small_model() | EXTRA))
    publisher = CommandLine(tmp_path / "publisher", hub.endpoint, MODELSCOPE_ENDPOINT=modelscope.endpoint)
    publisher.ok("preserve", REPO)
    keys = publisher.ok("keys", "init", "--name", "Keeper", "--no-passphrase")
    pattern = f"{modelscope.endpoint}/models/{{repo}}/resolve/master/{{path}}"
    publisher.ok("publish", "--out", tmp_path / "site", "--web-seed", pattern)
    user.ok("trust", "add", keys["publisher"], "--index", tmp_path / "site")
    return publisher, str(commit), tmp_path / "site"


def listed(site):
    return json.loads((site / "index.json").read_text())["signed"]["entries"]


def test_modelscope_is_a_web_seed_of_a_model_of_the_hub_by_the_path_alone(hub, modelscope, user, published):
    _, commit, site = published
    (entry,) = listed(site)
    place = f"{modelscope.endpoint}/models/{REPO}/resolve/master/"
    assert entry["path_seeds"] == [place]
    assert place not in entry["web_seeds"]
    assert "modelscope" not in entry["magnet"]
    looked = user.ok("health", "--again", *QUIET)["swarms"][0]
    asked = {one["url"]: one["ok"] for one in looked["web_seeds"]}
    assert asked[f"{place}{{path}}"] is asked[f"{hub.endpoint}/{REPO}/resolve/"] is True
    hub.delete(REPO)
    again = user.run("health", REPO, "--again", *QUIET).stdout
    assert f"web seed works: {place}{{path}}" in again
    assert f"web seed fails: {hub.endpoint}/{REPO}/resolve/" in again
    checked = user.ok("webseed", "check", REPO)
    assert {row["url"]: row["ok"] for row in checked["bases"]}[f"{place}{{path}}"]
    done = user.ok("fetch", REPO, "--only-web-seeds")
    assert (done["commit"], done["verified"]) == (commit, True)
    used = {row["url"]: row["bytes"] for row in done["web_seeds"]}
    assert used[f"{place}{{path}}"] == done["size"]


def test_what_changed_there_since_leaves_the_list_and_contradicts_nobody(hub, modelscope, published, tmp_path):
    publisher, commit, site = published
    (tmp_path / "modelscope" / "README.md").write_bytes(b"# Another\n")
    modelscope.add(REPO, tmp_path / "modelscope")
    publisher.ok("publish", "--out", site)
    (entry,) = listed(site)
    assert "path_seeds" not in entry
    assert entry["commit"] == commit


def test_a_snapshot_of_modelscope_is_published_and_fetched_as_that(hub, modelscope, user, tmp_path):
    commit = modelscope.add(REPO, write_folder(tmp_path / "modelscope", small_model() | EXTRA))
    publisher = CommandLine(tmp_path / "publisher", hub.endpoint, MODELSCOPE_ENDPOINT=modelscope.endpoint)
    publisher.ok("preserve", THEIRS)
    keys = publisher.ok("keys", "init", "--name", "Keeper", "--no-passphrase")
    publisher.ok("publish", "--out", tmp_path / "site")
    (entry,) = listed(tmp_path / "site")
    assert (entry["repo"], entry["repo_type"], entry["upstream"]) == (REPO, "modelscope-model", "present")
    assert entry["torrent"] == f"@modelscope/{REPO}/{commit}.torrent"
    assert entry["web_seeds"] == [f"{modelscope.endpoint}/models/{REPO}/resolve/"]
    user.ok("trust", "add", keys["publisher"], "--index", tmp_path / "site")
    assert user.run("fetch", REPO).code == 4  # the Hub's is not listed
    done = user.run("fetch", THEIRS, "--only-web-seeds", "--json")
    assert done.code == 0, done
    assert (done.json["repo"], done.json["commit"], done.json["hf_cache"]) == (THEIRS, str(commit), None)
    assert not [path for path in user.cache.rglob("*") if path.is_file()]
    assert user.ok("verify", f"{THEIRS}@{commit}")["ok"]
    modelscope.delete(REPO)
    assert user.ok("upstream", "check")["vanished"] == [{"repo": THEIRS, "commit": str(commit)}]
    assert user.ok("upstream", "show")["snapshots"][0]["upstream"] == "gone"


def test_everywhere_the_origin_that_is_meant_is_named(hub, modelscope, user, tmp_path):
    hub.add(REPO, write_folder(tmp_path / "hub", small_model()))
    alone = modelscope.add("Qwen/Alone", write_folder(tmp_path / "alone", {"model.bin": noise(9000, "alone")}))
    user.ok("preserve", REPO)
    user.ok("preserve", "modelscope:Qwen/Alone")
    user.ok("keys", "init", "--name", "Keeper", "--no-passphrase")
    table = user.run("health", "--no-look").stdout
    assert ("Hub present" in table, "ModelScope present" in table) == (True, True)
    modelscope.delete("Qwen/Alone")
    checked = user.run("upstream", "check")
    assert f"gone from ModelScope: modelscope:Qwen/Alone@{alone}" in checked.stderr
    assert "1 of these snapshots are gone from ModelScope" in user.run("status").stdout
    assert "ModelScope gone" in user.run("health", "--no-look").stdout
    user.ok("publish", "--out", tmp_path / "site", "--no-check")
    feed = json.loads((tmp_path / "site" / "p2pqwen--site" / "feeds" / "gone.json").read_text())
    assert feed["title"] == "Keeper: Gone from ModelScope"
    assert "gone from ModelScope" in feed["items"][0]["content_text"]
    hub.delete(REPO)
    user.run("upstream", "check")
    user.ok("publish", "--out", tmp_path / "site", "--no-check")
    feed = json.loads((tmp_path / "site" / "p2pqwen--site" / "feeds" / "gone.json").read_text())
    assert feed["title"] == "Keeper: Gone from the Hub or ModelScope"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        (f"{THEIRS}-None", 'not found, or private, got status 404, its message "模型不存在"'),
        (f"{REPO}-None", "the Hub shows no Qwen/Tiny-None: not found, or private\n"),
    ],
)
def test_what_is_nowhere_is_said_in_english(hub, modelscope, user, name, said):
    ended = user.run("preserve", name)
    assert (ended.code, said in ended.stderr) == (4, True), ended
    assert "password" not in ended.stderr


@pytest.mark.parametrize("origin", ["hub", "auto"])
def test_a_fetch_finds_the_files_of_a_model_gone_from_the_hub_by_itself(hub, modelscope, user, tmp_path, origin):
    """The index names the Hub alone: nobody looked at ModelScope when it was signed."""
    hub.add(REPO, write_folder(tmp_path / "hub", small_model()))
    modelscope.add(REPO, write_folder(tmp_path / "modelscope", small_model() | EXTRA))
    before = trusting(user, tmp_path, hub, modelscope, REPO)
    if origin == "auto":
        automatic(user)
    hub.delete(REPO)
    done = user.run("fetch", REPO, "--only-web-seeds", "--timeout", "10", "--json")
    if origin == "hub":
        assert (done.code, modelscope.log) == (5, [])
        return
    assert done.code == 0, done
    assert [done.json[name] for name in SAME] == [before[name] for name in SAME]
    used = {row["url"]: row["bytes"] for row in done.json["web_seeds"]}
    assert used[f"{modelscope.endpoint}/models/{REPO}/resolve/master/{{path}}"] == done.json["size"]
    assert user.ok("verify", REPO)["ok"]


def test_a_fetch_finds_the_files_of_a_model_gone_from_modelscope_at_the_hub(hub, modelscope, user, tmp_path):
    modelscope.add(REPO, write_folder(tmp_path / "modelscope", small_model()))
    before = trusting(user, tmp_path, hub, modelscope, THEIRS)
    hub.add(REPO, write_folder(tmp_path / "hub", small_model() | EXTRA))
    automatic(user)
    modelscope.delete(REPO)
    done = user.run("fetch", THEIRS, "--only-web-seeds", "--timeout", "20", "--json")
    assert done.code == 0, done
    assert [done.json[name] for name in SAME] == [before[name] for name in SAME]
    assert user.ok("verify", THEIRS)["ok"]


def test_while_the_hub_serves_it_modelscope_is_not_asked_by_a_fetch(hub, modelscope, user, tmp_path):
    hub.add(REPO, write_folder(tmp_path / "hub", small_model()))
    modelscope.add(REPO, write_folder(tmp_path / "modelscope", small_model() | EXTRA))
    trusting(user, tmp_path, hub, modelscope, REPO)
    automatic(user)
    modelscope.log.clear()
    user.ok("fetch", REPO, "--only-web-seeds")
    assert modelscope.log == []


def test_what_differs_at_modelscope_never_arrives(hub, modelscope, user, tmp_path):
    hub.add(REPO, write_folder(tmp_path / "hub", small_model()))
    modelscope.add(REPO, write_folder(tmp_path / "modelscope", small_model() | {"config.json": b"{}\n"}))
    trusting(user, tmp_path, hub, modelscope, REPO)
    automatic(user)
    hub.delete(REPO)
    done = user.run("fetch", REPO, "--only-web-seeds", "--timeout", "10")
    assert done.code == 5, done
    assert user.run("list", "--json").json["snapshots"][0]["state"] == "incomplete"


def trusting(user, folder, hub, modelscope, target):
    """Have the user trust somebody who preserved and published this; return what `preserve` said."""
    publisher = CommandLine(folder / "publisher", hub.endpoint, MODELSCOPE_ENDPOINT=modelscope.endpoint)
    done = publisher.ok("preserve", target)
    keys = publisher.ok("keys", "init", "--name", "Keeper", "--no-passphrase")
    publisher.ok("publish", "--out", folder / "site")
    user.ok("trust", "add", keys["publisher"], "--index", folder / "site")
    return done


@pytest.mark.parametrize(
    ("spelling", "told"), [("crlf", True), ("blank", True), ("canonical", True), ("canonical", False)]
)
def test_any_spelling_of_an_lfs_pointer_is_proven_there_too(modelscope, user, tmp_path, spelling, told):
    folder = write_folder(tmp_path / "src", small_model())
    weights = small_model()["model.safetensors"]
    canonical = pointer_bytes(Sha256.of(weights), len(weights))
    spelled = {"crlf": canonical.replace(b"\n", b"\r\n"), "blank": canonical + b"\n", "canonical": canonical}[spelling]
    modelscope.tells_lfs = told
    commit = modelscope.repository(REPO).commit(folder, branch="master", pointers={"model.safetensors": spelled})
    done = user.run("preserve", THEIRS, "--json")
    assert done.code == 0, done
    assert (done.json["repo"], done.json["commit"], done.json["provenance"]) == (THEIRS, str(commit), "proven")


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        (("--include", "Qwen/A*"), {"Alone"}),
        (("--include", "modelscope:Qwen/A*"), {"Alone"}),
        (("--include", "A*"), {"Alone"}),
        (("--exclude", "Qwen/A*"), {"Other"}),
        (("--include", "Qwen/Z*"), set()),
    ],
)
def test_globs_name_repositories_of_modelscope_with_and_without_it(modelscope, user, tmp_path, arguments, kept):
    for name in ("Alone", "Other"):
        modelscope.add(f"Qwen/{name}", write_folder(tmp_path / name, {"model.bin": noise(9000, name)}))
    done = user.ok("preserve", "--org", "modelscope:Qwen", *arguments)
    assert {one["repo"] for one in done["preserved"]} == {f"modelscope:Qwen/{name}" for name in kept}


def test_files_of_a_model_of_modelscope_are_chosen_by_globs(hub, modelscope, user, tmp_path):
    modelscope.add(REPO, write_folder(tmp_path / "modelscope", small_model() | EXTRA))
    trusting(user, tmp_path, hub, modelscope, THEIRS)
    done = user.ok("fetch", THEIRS, "--include", "*.json", "--only-web-seeds")
    names = set(held_files(Path(done["path"])))
    assert names == {name for name in small_model() | EXTRA if name.endswith(".json")}


def test_webseed_check_has_a_row_for_each_origin(hub, modelscope, user, tmp_path):
    hub.add(REPO, write_folder(tmp_path / "hub", small_model()))
    commit = modelscope.add(REPO, write_folder(tmp_path / "modelscope", small_model() | EXTRA))
    user.ok("preserve", REPO)
    place = f"{modelscope.endpoint}/models/{REPO}/resolve"
    assert [row["url"] for row in user.ok("webseed", "check", REPO)["bases"]] == [f"{hub.endpoint}/{REPO}/resolve/"]
    automatic(user)
    rows = {row["url"]: row for row in user.ok("webseed", "check", REPO)["bases"]}
    assert rows[f"{place}/{commit}/{{path}}"]["ok"]
    (tmp_path / "modelscope" / "README.md").write_bytes(b"# Another\n")
    modelscope.add(REPO, tmp_path / "modelscope")
    rows = {row["url"]: row for row in user.ok("webseed", "check", REPO)["bases"]}
    assert (rows[f"{place}/"]["ok"], "has other files" in rows[f"{place}/"]["reason"]) == (False, True)


def test_doctor_looks_at_modelscope_where_it_is_asked(hub, modelscope, user):
    def findings():
        return {one["check"]: one["ok"] for one in json.loads(user.run("doctor", "--json").stdout)["findings"]}

    assert "modelscope" not in findings()
    automatic(user)
    assert findings()["modelscope"] is True
    modelscope.fault("500", on=["list"])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(web, "ATTEMPTS", 1)
        assert findings()["modelscope"] is False


def test_a_node_watches_both(hub, modelscope, user, tmp_path):
    mine = hub.add(REPO, write_folder(tmp_path / "hub", small_model()))
    modelscope.add(REPO, write_folder(tmp_path / "modelscope", small_model() | EXTRA))
    alone = modelscope.add("Qwen/Alone", write_folder(tmp_path / "alone", {"model.bin": noise(9000, "alone")}))
    watched = '[watch]\norgs = ["modelscope:Qwen"]\nevery = "3s"\nupstream_every = "3s"\n'
    quiet_config(user, watched)
    with seeding(user):
        for commit in (str(mine), str(alone)):
            wait_until(lambda: row(user, commit).get("state") == "seeding", 60, f"{commit} is seeded")  # noqa: B023
        modelscope.delete("Qwen/Alone")

        def gone():
            shown = {one["repo"]: one["upstream"] for one in user.ok("upstream", "show")["snapshots"]}
            return shown == {REPO: "present", "modelscope:Qwen/Alone": "gone"}

        wait_until(gone, 60, "the watch tells what ModelScope no longer shows")


@pytest.mark.parametrize("git", ["on", "off"])
def test_a_dataset_of_modelscope(modelscope, user, tmp_path, git):
    files = {"README.md": b"---\nlicense: mit\n---\n"} | {f"data/{n}.jsonl": b"%d\n" % n for n in range(450)}
    modelscope.git = git
    commit = modelscope.add("datasets/Qwen/Rows", write_folder(tmp_path / "src", files))
    modelscope.add("Qwen/Rows", write_folder(tmp_path / "model", small_model()))
    done = user.ok("preserve", "modelscope:datasets/Qwen/Rows")
    assert (done["repo"], done["commit"]) == ("modelscope:datasets/Qwen/Rows", str(commit))
    assert (done["files"], done["license"]) == (len(files), "mit")
    folder = user.home / "library" / "@modelscope" / "datasets" / "Qwen" / "Rows" / str(commit)
    assert held_files(folder) == files
    assert [one["repo"] for one in user.ok("preserve", "--org", "modelscope:datasets/Qwen")["unchanged"]] == [
        "modelscope:datasets/Qwen/Rows"
    ]


@pytest.mark.parametrize("git", ["on", "off"])
@pytest.mark.parametrize(("limit", "code"), [(12, 0), (8, 3)])
def test_a_listing_that_ends_without_a_word_is_gone_on_with(modelscope, user, tmp_path, monkeypatch, git, limit, code):
    """Eight files stand in one folder: with a limit of eight rows nobody could tell whether there are more."""
    files = small_model() | {f"deep/{folder}/{n}.txt": b"%d" % n for folder in "abc" for n in range(8)}
    modelscope.git, modelscope.listing_limit = git, limit
    monkeypatch.setattr(client, "LISTING_LIMIT", limit)
    modelscope.names_commit = "whole"
    modelscope.add(REPO, write_folder(tmp_path / "src", files))
    done = user.run("preserve", THEIRS, "--json")
    assert done.code == code, done
    assert code or done.json["files"] == len(files)


@pytest.mark.parametrize("fault", ["reset", "503", "429", "expired"])
def test_a_download_goes_on_where_it_broke(modelscope, user, tmp_path, fault):
    modelscope.add(REPO, write_folder(tmp_path / "src", small_model()))
    modelscope.fault(fault, "model.safetensors", on=["cdn"], times=2)
    done = user.run("preserve", THEIRS, "--json")
    assert done.code == 0, done
    ranges = [call.range for call in modelscope.calls(kind="cdn", path="model.safetensors")]
    assert (ranges[1] is not None) == (fault == "reset")
    assert len(ranges) == 3


def test_a_link_of_a_snapshot_of_modelscope_rebuilds_it_from_there(modelscope, user, tmp_path):
    modelscope.add(REPO, write_folder(tmp_path / "src", small_model()))
    keeper = CommandLine(tmp_path / "keeper", user.environment["HF_ENDPOINT"], MODELSCOPE_ENDPOINT=modelscope.endpoint)
    kept = keeper.ok("preserve", THEIRS)
    done = user.run("fetch", kept["magnet"], "--no-lsd", "--no-upnp", "--no-trackers", "--timeout", "20", "--json")
    assert done.code == 0, done
    assert (done.json["repo"], done.json["standing"]) == (THEIRS, "proven")


def test_a_watchlist_names_either(hub, modelscope, user, tmp_path):
    hub.add(REPO, write_folder(tmp_path / "hub", small_model()))
    modelscope.add("Qwen/Alone", write_folder(tmp_path / "alone", {"model.bin": noise(9000, "alone")}))
    rows = f'format = 1\nname = "both"\n[[model]]\nrepo = "{REPO}"\n[[modelscope-model]]\nrepo = "Qwen/Alone"\n'
    (tmp_path / "list.toml").write_text(rows)
    done = user.ok("preserve", "--watchlist", tmp_path / "list.toml")
    assert sorted(one["repo"] for one in done["preserved"]) == [REPO, "modelscope:Qwen/Alone"]


@pytest.mark.parametrize("value", ['"second"', "7", "true", '["hub"]'])
def test_an_origin_that_is_none(user, value):
    user.home.mkdir()
    (user.home / "config.toml").write_text(f"origin = {value}\n")
    ended = user.run("list")
    assert (ended.code, "origin, expected hub or auto" in ended.stderr) == (2, True)


def test_the_address_as_modelscopes_own_client_takes_it(user):
    ended = user.run("preserve", THEIRS, MODELSCOPE_ENDPOINT="127.0.0.1:9")
    assert (ended.code, "https://127.0.0.1:9" in ended.stderr) == (5, True)
    assert user.run("list", MODELSCOPE_ENDPOINT="https://x.example/?a").code == 2
