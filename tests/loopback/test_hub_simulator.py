"""The simulator itself: honest by default, as huggingface_hub and BEP 19 clients see it, and startable as a process."""

from __future__ import annotations

import json
import sys
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from huggingface_hub import HfApi, get_hf_file_metadata, hf_hub_url, snapshot_download

from tests.simulators.faults import PRESETS
from tests.simulators.hub import HubSimulator
from tests.simulators.sample import REPO, WEIGHTS, WEIGHTS_SIZE, write_sample
from tests.support.processes import running
from tests.support.waiting import wait_until

SECONDS = 20


class NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


OPENER = urllib.request.build_opener(NoRedirect)


@pytest.fixture
def source(tmp_path):
    return write_sample(tmp_path / "source")


@pytest.fixture
def hub(source):
    simulator = HubSimulator()
    simulator.xet.served = False  # which is in test_xet_simulator.py
    simulator.add(REPO, source)
    with simulator:
        yield simulator


def ask(url, *, method="GET", **headers):
    """One request without following redirects: status, headers, body."""
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    try:
        with OPENER.open(urllib.request.Request(url, headers=headers, method=method), timeout=SECONDS) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def resolve_url(hub, path, revision="main"):
    return f"{hub.endpoint}/{REPO}/resolve/{revision}/{urllib.parse.quote(path)}"


def test_snapshot_download(hub, source, tmp_path):
    folder = Path(snapshot_download(REPO, endpoint=hub.endpoint, cache_dir=tmp_path / "hub", token=False))
    expected = {path.relative_to(source): path.read_bytes() for path in source.rglob("*") if path.is_file()}
    assert {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()} == expected
    assert hub.count(kind="cdn", method="GET") == 1


def test_large_files_redirect_to_a_signed_url_elsewhere(hub, source):
    status, headers, _ = ask(resolve_url(hub, WEIGHTS), method="HEAD")
    commit = str(hub.repositories[REPO].branches["main"])
    location = urllib.parse.urlsplit(headers["Location"])
    assert status == 302
    assert (headers["X-Repo-Commit"], headers["X-Linked-Size"]) == (commit, str(WEIGHTS_SIZE))
    assert f"http://{location.netloc}" == hub.cdn != hub.endpoint
    assert "X-Amz-Expires=3600" in location.query
    status, headers, body = ask(headers["Location"], Range="bytes=10-19")
    assert (status, headers["Content-Range"]) == (206, f"bytes 10-19/{WEIGHTS_SIZE}")
    assert body == (source / WEIGHTS).read_bytes()[10:20]


def test_small_files_redirect_to_a_relative_path_with_a_query(hub, source):
    status, headers, _ = ask(resolve_url(hub, "model/notes é.txt"))
    assert status == 307
    assert headers["Location"].startswith(f"/api/resolve-cache/models/{REPO}/")
    assert "?" in headers["Location"]
    status, headers, body = ask(hub.endpoint + headers["Location"])
    assert (status, body) == (200, (source / "model" / "notes é.txt").read_bytes())
    stored = hub.repositories[REPO].commits[hub.repositories[REPO].branches["main"]]["model/notes é.txt"]
    assert headers["ETag"] == f'"{stored.blob_id}"'


def test_what_huggingface_hub_reads_of_a_file(hub):
    stored = hub.repositories[REPO].commits[hub.repositories[REPO].branches["main"]]
    for path, file in stored.items():
        metadata = get_hf_file_metadata(hf_hub_url(REPO, path, endpoint=hub.endpoint), token=False)
        assert (metadata.size, metadata.etag) == (file.size, file.sha256 or file.blob_id), path


def test_text_is_compressed_for_those_who_take_it(hub, source):
    _, headers, _ = ask(resolve_url(hub, "config.json"))
    location = hub.endpoint + headers["Location"]
    _, headers, body = ask(location, Accept_Encoding="gzip")
    assert headers["Content-Encoding"] == "gzip"
    assert headers["Content-Length"] is None
    assert body != (source / "config.json").read_bytes()
    _, headers, body = ask(location, Accept_Encoding="gzip", Range="bytes=0-4")
    assert (headers["Content-Encoding"], body) == (None, (source / "config.json").read_bytes()[:5])


def test_errors_carry_the_hubs_codes(hub):
    cases = [
        (f"{hub.endpoint}/api/models/Qwen/Nothing", 401, None),
        (f"{hub.endpoint}/api/models/{REPO}/revision/nothing", 404, "RevisionNotFound"),
        (resolve_url(hub, "nothing"), 404, "EntryNotFound"),
        (resolve_url(hub, "config.json", "nothing"), 404, "RevisionNotFound"),
        (f"{hub.endpoint}/api/models/{REPO}/tree/main/nothing", 404, "EntryNotFound"),
    ]
    for url, status, code in cases:
        answered, headers, _ = ask(url)
        assert (answered, headers["X-Error-Code"]) == (status, code), url


def test_lists_of_models_refs_and_folders(hub, source):
    api = HfApi(endpoint=hub.endpoint, token=False)
    hub.add("Qwen/Other", source)
    hub.add("Elsewhere/Third", source)
    assert sorted(model.id for model in api.list_models(author="Qwen")) == ["Qwen/Other", REPO]
    assert [branch.name for branch in api.list_repo_refs(REPO).branches] == ["main"]
    assert [entry.path for entry in api.list_repo_tree(REPO, "model")] == ["model/notes é.txt"]
    assert sorted(entry.path for entry in api.list_repo_tree(REPO)) == sorted(
        [".gitattributes", "README.md", "config.json", "empty.txt", "model", WEIGHTS]
    )


def test_signed_urls_expire(source):
    hub = HubSimulator(url_lifetime=1)
    hub.add(REPO, source)
    with hub:
        _, headers, _ = ask(resolve_url(hub, WEIGHTS))
        wait_until(lambda: ask(headers["Location"], method="HEAD")[0] == 403, SECONDS, "the URL expires")
        _, headers, _ = ask(resolve_url(hub, WEIGHTS))
        assert ask(headers["Location"], method="HEAD")[0] == 200
        hub.expire_urls()
        assert ask(headers["Location"], method="HEAD")[0] == 403
        assert ask(headers["Location"] + "0", method="HEAD")[0] == 403


def cache_url(hub, path):
    return f"{hub.endpoint}/api/resolve-cache/models/{REPO}/{hub.repositories[REPO].branches['main']}/{path}"


def test_resolve_cache_can_be_played_both_ways(hub, source):
    content = (source / WEIGHTS).read_bytes()
    pointer = hub.repositories[REPO].commits[hub.repositories[REPO].branches["main"]][WEIGHTS].pointer
    answers = {"missing": (404, None), "right": (200, content), "pointer": (200, pointer)}
    answers["short"] = (200, content[: len(content) // 2])
    for mode, (status, body) in answers.items():
        hub.lfs_in_cache = mode
        answered, _, got = ask(cache_url(hub, WEIGHTS))
        assert answered == status, mode
        assert body is None or got == body, mode


def test_bodies_can_be_spoiled(hub, source):
    content = (source / WEIGHTS).read_bytes()
    _, headers, _ = ask(resolve_url(hub, WEIGHTS))
    location = headers["Location"]
    hub.fault("corrupt", WEIGHTS, times=1)
    _, _, body = ask(location, Range="bytes=65530-65540")
    assert [index for index in range(11) if body[index] != content[65530 + index]] == [6]
    hub.fault("no-range", WEIGHTS, times=1)
    assert ask(location, Range="bytes=5-9")[::2] == (200, content)
    hub.fault("short", WEIGHTS, times=1)
    assert ask(location)[2] == content[:1000]
    assert ask(location)[2] == content


@pytest.mark.parametrize("name", sorted(set(PRESETS) - {"hang", "refuse", "reset", "drip"}))
def test_every_fault_ends_after_its_times(hub, name):
    hub.fault(name, WEIGHTS, on=["resolve"], times=1)
    ask(resolve_url(hub, WEIGHTS))
    assert ask(resolve_url(hub, WEIGHTS))[0] == 302


def test_a_slow_drip_keeps_its_rate(hub):
    hub.fault("drip", WEIGHTS)
    _, headers, _ = ask(resolve_url(hub, WEIGHTS))
    request = urllib.request.Request(headers["Location"])
    with OPENER.open(request, timeout=SECONDS) as response:
        assert len(response.read1(WEIGHTS_SIZE)) < WEIGHTS_SIZE


def test_it_comes_back_at_the_same_address(hub):
    endpoint = hub.endpoint
    hub.close()
    with pytest.raises(urllib.error.URLError):
        ask(f"{endpoint}/api/models/{REPO}")
    hub.start()
    assert hub.endpoint == endpoint
    assert ask(f"{endpoint}/api/models/{REPO}")[0] == 200


def test_as_a_process(source):
    command = [
        sys.executable,
        "-m",
        "tests.simulators.hub",
        "--folder",
        source,
        "--repo",
        REPO,
        "--fault",
        "500=*.json:1",
    ]
    with running(command) as process:
        told = process.json_line(SECONDS)
        commit = told["commits"][REPO]
        url = f"{told['endpoint']}/{REPO}/resolve/{commit}/config.json"
        assert [ask(url)[0], ask(url)[0]] == [500, 307]
        body = json.dumps({"name": "gone"}).encode()
        request = urllib.request.Request(f"{told['endpoint']}/_simulator/faults", data=body)
        urllib.request.urlopen(request, timeout=SECONDS).close()
        assert ask(url)[0] == 404
        assert ask(f"{told['endpoint']}/_simulator/faults", method="DELETE")[0] == 200
        assert ask(url)[0] == 307
        log = json.loads(ask(f"{told['endpoint']}/_simulator/log")[2])
        assert [(call["kind"], call["status"]) for call in log] == [("resolve", code) for code in (500, 307, 404, 307)]
    assert process.exit_code == 0
    assert process.stderr == ""
