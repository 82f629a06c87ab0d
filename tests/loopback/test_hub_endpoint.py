"""The Hub's place, served from the library: what real clients ask for, and what they must not get."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from pathlib import Path
from urllib.parse import quote

import pytest
from huggingface_hub import HfApi, HfFileSystem, hf_hub_download, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError, RevisionNotFoundError

from tests.simulators.hub import HubSimulator
from tests.support.hub_endpoint import ask, contents, hub_process
from tests.support.models import noise, small_model, write_folder
from tests.support.world import REPO, World

FILES = small_model(600_000)
WEIGHTS = "model.safetensors"


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    with HubSimulator() as hub:
        yield World(tmp_path_factory.mktemp("world"), hub)


@pytest.fixture(scope="module")
def url(world):
    with hub_process(world.publisher, "--no-upstream") as found:
        yield found


def resolve(path, revision="main"):
    return f"/{REPO}/resolve/{revision}/{quote(path)}"


@pytest.mark.parametrize("name", FILES)
def test_every_file_with_head_and_get(world, url, name):
    stored = world.hub.repositories[REPO].commits
    [files] = stored.values()
    for method in ("HEAD", "GET"):
        answer = ask(url, resolve(name), method=method)
        assert answer.status == 200
        assert int(answer.headers["content-length"]) == len(FILES[name])
        assert answer.headers["etag"] == f'"{files[name].etag}"'
        assert answer.headers["x-repo-commit"] == world.commit
        assert answer.body == (FILES[name] if method == "GET" else b"")
        assert not [header for header in answer.headers if header.startswith("x-xet")]
    linked = answer.headers.get("x-linked-size"), answer.headers.get("x-linked-etag")
    sha256 = files[name].sha256
    assert linked == ((str(len(FILES[name])), f'"{sha256}"') if sha256 else (None, None))


@pytest.mark.parametrize("revision", ["main", "{commit}", "{short}", "HEAD", "refs%2Fheads%2Fmain"])
def test_names_of_a_commit(world, url, revision):
    named = revision.format(commit=world.commit, short=world.commit[:7])
    answer = ask(url, f"/api/models/{REPO}/revision/{named}")
    assert (answer.status, answer.json["sha"]) == (200, world.commit)
    assert ask(url, f"/{REPO}/raw/{named}/config.json").body == FILES["config.json"]


@pytest.mark.parametrize(
    ("asked", "status", "expected"),
    [
        ("bytes=0-0", 206, slice(0, 1)),
        ("bytes=599990-", 206, slice(599_990, None)),
        ("bytes=-7", 206, slice(-7, None)),
        ("bytes=262140-262150", 206, slice(262_140, 262_151)),
        ("bytes=0-1,5-6", 200, slice(None)),
        ("bytes=99999999-", 416, None),
        ("bytes=-0", 416, None),
        ("bytes=9-5", 200, slice(None)),
        ("lines=1-2", 200, slice(None)),
        ("bytes=" + "9" * 400 + "-", 200, slice(None)),
    ],
)
def test_ranges(url, asked, status, expected):
    answer = ask(url, resolve(WEIGHTS), Range=asked)
    assert answer.status == status
    if expected is None:
        assert answer.headers["content-range"] == f"bytes */{len(FILES[WEIGHTS])}"
    else:
        assert answer.body == FILES[WEIGHTS][expected]


def test_what_a_client_has_is_not_sent_again(url):
    etag = ask(url, resolve(WEIGHTS), method="HEAD").headers["etag"]
    assert ask(url, resolve(WEIGHTS), If_None_Match=etag).status == 304
    assert ask(url, resolve(WEIGHTS), If_None_Match='"other"').status == 200
    assert ask(url, resolve(WEIGHTS), Range="bytes=0-0", If_Range='"other"').status == 200


def test_the_api_says_what_the_hub_says(world, url):
    """Field by field, but for what only the Hub knows and what is asked for by other calls."""
    theirs, ours = HfApi(endpoint=world.hub.endpoint, token=False), HfApi(endpoint=url, token=False)
    for blobs in (False, True):
        hub, here = (api.model_info(REPO, files_metadata=blobs) for api in (theirs, ours))
        assert here.sha == hub.sha
        assert {one.rfilename: one for one in here.siblings} == {one.rfilename: one for one in hub.siblings}
    for folder in (None, "model", "tokenizer"):
        for recursive in (False, True):
            hub, here = (
                sorted(map(shown, api.list_repo_tree(REPO, folder, recursive=recursive))) for api in (theirs, ours)
            )
            assert here == hub
    paths = ["config.json", "model", "nothing", WEIGHTS]
    hub, here = (sorted(map(shown, api.get_paths_info(REPO, paths))) for api in (theirs, ours))
    assert here == hub
    assert len(here) == 3
    assert ours.list_repo_refs(REPO) == theirs.list_repo_refs(REPO)
    assert "xetHash" not in ask(url, f"/api/models/{REPO}/tree/main?recursive=true&expand=true").body.decode()


@pytest.mark.parametrize(
    ("query", "found"),
    [("", [REPO]), ("search=tiny", [REPO]), ("search=other", []), ("author=Qwen", [REPO]), ("author=Else", []),
     ("search=TINY&author=qwen&limit=1", [REPO]), ("limit=0", [REPO]), ("limit=x&cursor=-5", [REPO])],
)  # fmt: skip
def test_search(url, query, found):
    assert [row["id"] for row in ask(url, f"/api/models?{query}").json] == found


def test_a_tree_in_pages(url):
    rows, path = [], f"/api/models/{REPO}/tree/main?recursive=true&limit=3"
    while path:
        answer = ask(url, path)
        rows += [row["path"] for row in answer.json]
        link = answer.headers.get("link", "")
        path = link.partition(">")[0].removeprefix(f"<{url}") if link else ""
    assert sorted(rows) == sorted([*FILES, "model", "tokenizer"])


def shown(entry: object) -> str:
    """A row as the client reads it, without the name that Xet has for the file: here that is never there."""
    return re.sub(r"xet_hash='[^']*'", "xet_hash=None", repr(entry))


NOT_THERE = [
    ("/api/models/Qwen/Nothing", 404, "RepoNotFound"),
    ("/api/models/Qwen/Nothing/tree/main", 404, "RepoNotFound"),
    ("/api/models/Qwen/Nothing/refs", 404, "RepoNotFound"),
    ("/Qwen/Nothing/resolve/main/config.json", 404, "RepoNotFound"),
    ("/gpt2/resolve/main/config.json", 404, "RepoNotFound"),
    ("/api/models/gpt2", 404, "RepoNotFound"),
    (f"/api/datasets/{REPO}", 404, "RepoNotFound"),
    (f"/datasets/{REPO}/resolve/main/config.json", 404, "RepoNotFound"),
    (f"/api/models/{REPO}/revision/nothing", 404, "RevisionNotFound"),
    (f"/api/models/{REPO}/revision/{'0' * 40}", 404, "RevisionNotFound"),
    (f"/{REPO}/resolve/nothing/config.json", 404, "RevisionNotFound"),
    (resolve("nothing"), 404, "EntryNotFound"),
    (f"/api/models/{REPO}/tree/main/nothing", 404, "EntryNotFound"),
    (resolve("model"), 404, "EntryNotFound"),
    (f"/{REPO}/resolve/main/../../../../etc/passwd", 404, "EntryNotFound"),
    (f"/{REPO}/resolve/main/..%2f..%2f..%2f..%2fetc%2fpasswd", 404, "EntryNotFound"),
    (f"/{REPO}/resolve/main/config.json%00", 404, "EntryNotFound"),
    (f"/{REPO}/resolve/main/config.json%0A", 404, "EntryNotFound"),
    (f"/{REPO}/resolve/main/%0Aconfig.json", 404, "EntryNotFound"),
    ("/Qwen%0A/Tiny/resolve/main/config.json", 404, "RepoNotFound"),
    (f"/{REPO}/resolve/main//config.json", 404, "EntryNotFound"),
    (f"/{REPO}/resolve/main/%ff", 404, "EntryNotFound"),
    (f"/{REPO}/resolve/main/stray.txt", 404, "EntryNotFound"),
    (f"/{REPO}/resolve/..%2f..%2f/config.json", 404, "RevisionNotFound"),
    ("/../../etc/passwd", 404, None),
    ("//etc/passwd", 404, None),
    ("/", 404, None),
    ("/api", 404, None),
    ("/api/whoami-v2", 404, None),
    ("/" + "a/" * 3000, 404, None),
    ("/..%2f../resolve/main/config.json", 404, "RepoNotFound"),
    (f"/spaces/{REPO}/resolve/main/x", 404, None),
]  # fmt: skip


@pytest.mark.parametrize(("path", "status", "code"), NOT_THERE)
def test_133_what_is_not_there_has_the_hubs_own_error(world, url, path, status, code):
    folder = world.publisher.home / "library" / REPO / world.commit
    (folder / "stray.txt").write_text("not part of the snapshot")
    for method in ("GET", "HEAD"):
        answer = ask(url, path, method=method)
        assert (answer.status, answer.code) == (status, code)
        assert method == "HEAD" or isinstance(answer.json["error"], str)
        assert b"root:" not in answer.body
        assert "Traceback" not in answer.body.decode()


def test_134_requests_that_no_client_makes(url):
    many = "&".join(f"p{number}=1" for number in range(700))
    for method, path, body, statuses in (
        ("GET", f"/api/models/{REPO}?{many}", None, {200}),
        ("GET", resolve("config.json"), b"a body", {200}),
        ("GET", f"/api/models/{REPO}?" + "&".join(f"p{number}=1" for number in range(10_000)), None, {400, 414}),
        ("POST", f"/api/models/{REPO}/paths-info/main", b"x" * (2 << 20), {413}),
        ("POST", f"/api/models/{REPO}/paths-info/main", b"[" * 5000, {400}),
        ("POST", f"/api/models/{REPO}/paths-info/main", b'{"paths": [1]}', {400}),
        ("POST", f"/api/models/{REPO}/paths-info/main", b"", {400}),
        ("POST", resolve("config.json"), b"", {405}),
        ("DELETE", f"/api/models/{REPO}", None, {405}),
        ("PUT", resolve("config.json"), b"x", {405}),
    ):
        answer = ask(url, path, method=method, body=body)
        assert answer.status in statuses, (method, path[:80], answer)
        assert b"Traceback" not in answer.body
    assert ask(url, resolve("config.json")).status == 200


@pytest.mark.parametrize(
    ("path", "statuses"),
    [
        ("/api/models?search=" + "+".join(f"w{number}" for number in range(1000)), {400}),
        ("/api/models?search=" + "%00" * 1000, {200}),
        ("/api/models?search=%ff%fe&author=%0d%0aX-Evil:%201&cursor=%0a%09", {200}),
        ("/api/models?author=../../etc&cursor=" + "~" * 5000, {200}),
        ("/api/models?limit=" + "9" * 4000, {200}),
        ("/api/models/Qwen%0d%0aX-Evil:%201/Tiny", {404}),
        (f"/api/models/{REPO.lower()}/tree/main/%0d%0aX-Evil:%201", {307}),  # to its own name, as the Hub does
        (f"/v2/{REPO}/manifests/..%2f..%2fetc%2fpasswd", {404}),
        (f"/v2/{REPO}/blobs/sha256:..%2f..%2fetc%2fpasswd", {404}),
        (f"/v2/{REPO}/blobs/sha256:{'0' * 5000}", {404}),
        ("/v2/..%2f../..%2f../manifests/latest", {404}),
    ],
)
def test_161_lists_and_registry_calls_that_no_client_makes(url, path, statuses):
    for method in ("GET", "HEAD"):
        answer = ask(url, path, method=method)
        assert answer.status in statuses, answer
        assert "x-evil" not in answer.headers
        assert b"root:" not in answer.body
        assert b"Traceback" not in answer.body
    assert ask(url, f"/{REPO}/resolve/main/config.json").status == 200


def test_162_a_link_that_somebody_put_into_the_library_leads_nowhere(world, tmp_path):
    """In place of a file, and of a folder above one; whatever it leads to has the size that is expected."""
    user = world.publishers_copy(tmp_path / "copy")
    folder = user.home / "library" / REPO / world.commit
    secret = tmp_path / "secret"
    shutil.copytree(folder / "tokenizer", secret / "tokenizer")
    (secret / "config.json").write_bytes(b"s" * len(FILES["config.json"]))
    for name in [one.relative_to(secret).as_posix() for one in secret.rglob("*") if one.is_file()]:
        (secret / name).write_bytes(b"s" * len(FILES[name]))
    (folder / "config.json").unlink()
    (folder / "config.json").symlink_to(secret / "config.json")
    shutil.rmtree(folder / "tokenizer")
    (folder / "tokenizer").symlink_to(secret / "tokenizer")
    with hub_process(user, "--no-upstream") as url:
        for name in FILES:
            answer = ask(url, resolve(name))
            linked = name == "config.json" or name.startswith("tokenizer/")
            assert answer.status == (504 if linked and FILES[name] else 200)
            assert answer.status != 200 or answer.body == FILES[name]
            assert b"sss" not in answer.body
    assert (secret / "config.json").read_bytes() == b"s" * len(FILES["config.json"])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403), ({"Host": "evil.example:80"}, 403), ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "localhost:1234"}, 200), ({"Host": "[::1]:8080"}, 200), ({"Host": "127.0.0.1"}, 200),
        ({"Origin": "http://evil.example"}, 403), ({"Sec_Fetch_Site": "cross-site"}, 403),
    ],
)  # fmt: skip
def test_135_web_pages_do_not_get_in(url, headers, status):
    assert ask(url, resolve("config.json"), **headers).status == status


def test_136_an_address_beyond_this_machine_is_asked_for_twice(world, tmp_path):
    token = tmp_path / "token"
    token.write_text("0123456789abcdef\n")
    user = world.user("careless")
    for options in ([], ["--beyond-loopback"], ["--allow", "192.0.2.0/24"], ["--token-file", str(token)]):
        ended = user.run("hub", "--listen", "0.0.0.0:0", *options)
        assert (ended.code, "other machines may reach" in ended.stderr) == (2, True), ended


def test_the_hubs_own_client(world, url, tmp_path):
    folder = Path(snapshot_download(REPO, endpoint=url, cache_dir=tmp_path / "a", token=False))
    assert folder.name == world.commit
    assert contents(folder) == FILES
    got = hf_hub_download(REPO, WEIGHTS, endpoint=url, cache_dir=tmp_path / "b", token=False)
    assert Path(got).read_bytes() == FILES[WEIGHTS]
    with HfFileSystem(endpoint=url, token=False).open(f"{REPO}/{WEIGHTS}", "rb", block_size=4096) as file:
        file.seek(300_000)
        assert file.read(100) == FILES[WEIGHTS][300_000:300_100]


def test_the_hubs_own_client_is_told_what_is_missing(url, tmp_path):
    for repo, revision, path, error in (
        ("Qwen/Nothing", "main", "config.json", RepositoryNotFoundError),
        (REPO, "nothing", "config.json", RevisionNotFoundError),
        (REPO, "main", "nothing", EntryNotFoundError),
    ):
        with pytest.raises(error):
            hf_hub_download(repo, path, revision=revision, endpoint=url, cache_dir=tmp_path, token=False)


def test_a_name_in_another_case_leads_to_the_listed_one(world, url):
    other = REPO.lower()
    answer = ask(url, f"/api/models/{other}/tree/main?recursive=true")
    assert (answer.status, answer.headers["location"]) == (307, f"/api/models/{REPO}/tree/main?recursive=true")


def test_137_an_unvouched_snapshot_is_not_served(world, tmp_path):
    """It is in the library, and what stands there for a repository's own word takes an admission."""
    user = world.user("unvouched")
    folder = write_folder(tmp_path / "claimed", {"config.json": b'{"evil": true}'})
    commit = "ab" * 20
    user.ok("preserve", "--from", folder, "--repo", "Qwen/Claimed", "--commit", commit)
    with hub_process(user, "--no-upstream") as url:
        for path in (f"/api/models/Qwen/Claimed/revision/{commit}", f"/Qwen/Claimed/resolve/{commit}/config.json"):
            assert (ask(url, path).status, ask(url, path).code) == (404, "RepoNotFound")
        assert json.loads(ask(url, "/api/models").body) == []


def test_138_a_file_that_was_changed_on_the_disk_is_never_sent(world, tmp_path):
    user = world.publishers_copy(tmp_path / "copy")
    path = user.home / "library" / REPO / world.commit / WEIGHTS
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with hub_process(user, "--no-upstream") as url:
        assert ask(url, resolve(WEIGHTS), Range="bytes=0-99").body == FILES[WEIGHTS][:100]
        assert ask(url, resolve(WEIGHTS), Range="bytes=-100").status == 500


def test_the_registry_of_gguf_files(world, tmp_path):
    """What llama.cpp and node-llama-cpp ask for ORG/NAME:TAG, and what Ollama does."""
    files = {
        ".gitattributes": b"*.gguf filter=lfs diff=lfs merge=lfs -text\n",
        "README.md": b"# GGUF\n",
        "tiny-Q4_K_M.gguf": noise(5000, "q4"),
        "tiny-Q8_0.gguf": noise(9000, "q8"),
        "mmproj-tiny-F16.gguf": noise(700, "projector"),
    }
    commit = str(world.hub.add("Qwen/Tiny-GGUF", write_folder(tmp_path / "gguf", files)))
    user = world.user("gguf")
    user.ok("preserve", "Qwen/Tiny-GGUF")
    with hub_process(user, "--no-upstream") as url:
        for tag, name in (("latest", "tiny-Q4_K_M.gguf"), ("q8_0", "tiny-Q8_0.gguf"), ("Q4_K_M", "tiny-Q4_K_M.gguf")):
            manifest = ask(url, f"/v2/Qwen/Tiny-GGUF/manifests/{tag}", User_Agent="llama-cpp").json
            assert manifest["ggufFile"]["rfilename"] == name
            assert manifest["mmprojFile"]["rfilename"] == "mmproj-tiny-F16.gguf"
            assert ask(url, f"/Qwen/Tiny-GGUF/resolve/main/{name}").body == files[name]
            for layer in (manifest["config"], *manifest["layers"]):
                blob = ask(url, f"/v2/Qwen/Tiny-GGUF/blobs/{layer['digest']}").body
                assert (len(blob), f"sha256:{hashlib.sha256(blob).hexdigest()}") == (layer["size"], layer["digest"])
        assert ask(url, "/v2/").status == 200
        for path in (
            "Qwen/Tiny-GGUF/manifests/Q2_K",
            "Qwen/Tiny-GGUF/blobs/sha256:00",
            "Qwen/Nothing/manifests/latest",
        ):
            assert ask(url, f"/v2/{path}").status == 404
        assert ask(url, "/api/models/Qwen/Tiny-GGUF").json["sha"] == commit  # as the Hub showed it to this home


def test_a_dataset_beside_the_model_of_its_name(world, tmp_path):
    files = {"README.md": b"# Rows\n", "data/train.csv": b"question,answer\nwhy,because\n"}
    commit = str(world.hub.add(f"datasets/{REPO}", write_folder(tmp_path / "dataset", files)))
    user = world.user("datasets")
    user.ok("preserve", f"datasets/{REPO}")
    with hub_process(user, "--no-upstream") as url:
        got = snapshot_download(REPO, repo_type="dataset", endpoint=url, cache_dir=tmp_path / "cache", token=False)
        assert contents(Path(got)) == files
        assert Path(got).name == commit
        assert [row["id"] for row in ask(url, "/api/datasets").json] == [REPO]
        assert ask(url, "/api/models").json == []
        assert ask(url, f"/api/models/{REPO}").code == "RepoNotFound"
        clone = ask(url, f"/datasets/{REPO}.git/info/refs?service=git-upload-pack")
        assert (clone.status, b"version 2" in clone.body) == (200, True)
