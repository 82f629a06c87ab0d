"""Our Hub client through the real huggingface_hub against the simulator, honest and with every fault."""

from __future__ import annotations

import gzip
import hashlib
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx2
import pytest
from huggingface_hub import constants
from huggingface_hub.utils._xet import parse_xet_file_data_from_response

from p2pqwen.errors import (
    DiskError,
    FormatError,
    NetworkError,
    NotFoundError,
    NotShownError,
    P2pqwenError,
    VerificationError,
)
from p2pqwen.hub import client as client_module
from p2pqwen.hub import http_session
from p2pqwen.hub.client import HubClient
from p2pqwen.net import httpx_guard
from p2pqwen.values.listing import ListedFile
from p2pqwen.values.named_hosts import NamedHosts
from p2pqwen.values.snapshot_id import RepoId
from tests.simulators.faults import Effect, Fault
from tests.simulators.hub import HubSimulator
from tests.simulators.sample import REPO, WEIGHTS, WEIGHTS_SIZE, write_sample
from tests.support.addresses import LOOPBACK

TOKEN = "hf_good"
REPO_ID = RepoId(REPO)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    """huggingface_hub waits seconds between tries and for silent servers: shorten both, change nothing else."""
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.01)))
    monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.3)
    monkeypatch.setattr(http_session, "REQUEST_TIMEOUT", 0.3)
    monkeypatch.setattr(client_module, "REQUEST_TIMEOUT", 0.3)
    monkeypatch.setattr(constants, "HF_HUB_ETAG_TIMEOUT", 0.3)
    monkeypatch.setattr("huggingface_hub.file_download._ETAG_RETRY_TIMEOUT", 0.3)


@pytest.fixture
def source(tmp_path):
    return write_sample(tmp_path / "source")


@pytest.fixture
def hub(source):
    simulator = HubSimulator(tokens=[TOKEN])
    simulator.xet.served = False  # plain HTTP and what it does alone; the two together are in test_xet.py
    simulator.add(REPO, source)
    with simulator:
        yield simulator


@pytest.fixture
def client(hub):
    return HubClient(hub.endpoint, None, named=LOOPBACK)


def download_all(client, folder):
    listing = client.resolve(REPO_ID)
    for file in listing.files:
        client.download(listing, file, folder)
    return listing


def content(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_resolve_lists_every_file_with_what_git_knows(hub, client):
    listing = client.resolve(REPO_ID)
    commit = hub.repositories[REPO].branches["main"]
    stored = hub.repositories[REPO].commits[commit]
    assert listing.snapshot.commit == commit
    assert (listing.gated, listing.private) == (False, False)
    assert [str(file.path) for file in listing.files][:2] == [".gitattributes", "README.md"]
    assert {
        str(file.path): (file.size, str(file.blob_oid), file.lfs_sha256 and str(file.lfs_sha256))
        for file in listing.files
    } == {path: (file.size, file.blob_id, file.sha256) for path, file in stored.items()}


def test_revisions(hub, client, source, tmp_path):
    first = hub.repositories[REPO].branches["main"]
    hub.repositories[REPO].tags["v1.0"] = first
    second = hub.add(REPO, write_sample(tmp_path / "two", weights=b"two"), branch="refs/pr/1")
    cases = {None: first, "main": first, "v1.0": first, str(first)[:8]: first, "refs/pr/1": second, str(second): second}
    assert {name: client.resolve(REPO_ID, name).snapshot.commit for name in cases} == cases


def test_long_listings_come_in_pages(hub, client):
    hub.page_size = 2
    assert len(client.resolve(REPO_ID).files) == 6
    assert hub.count(kind="tree") == 4  # six files and a folder


def test_download(hub, client, source, tmp_path):
    folder = tmp_path / "staging"
    counted = []
    listing = client.resolve(REPO_ID)
    for file in listing.files:
        assert client.download(listing, file, folder, counted.append) == folder / str(file.path)
    assert content(folder) == content(source)
    assert sum(counted) == sum(file.size for file in listing.files)
    client.clean_staging(folder)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source", "staging"]


def test_a_finished_file_is_not_fetched_again(hub, client, tmp_path):
    folder = tmp_path / "staging"
    download_all(client, folder)
    hub.log.clear()
    download_all(client, folder)
    assert {call.kind for call in hub.log} == {"info", "tree"}


def test_a_file_of_another_size_is_fetched_again(hub, client, source, tmp_path):
    folder = tmp_path / "staging"
    download_all(client, folder)
    (folder / WEIGHTS).write_bytes(b"cut")
    hub.log.clear()
    download_all(client, folder)
    assert content(folder) == content(source)
    assert hub.count(kind="cdn", method="GET") == 1


def test_what_a_killed_run_left_is_cleared(hub, client, source, tmp_path):
    folder = tmp_path / "staging"
    listing = client.resolve(REPO_ID)
    file = next(file for file in listing.files if str(file.path) == WEIGHTS)
    left = tmp_path / "staging.download" / hashlib.sha256(WEIGHTS.encode()).hexdigest()[:16] / "x.incomplete"
    left.parent.mkdir(parents=True)
    left.write_bytes(bytes(1000))
    client.download(listing, file, folder)
    assert not left.parent.exists()


def test_many_threads_share_a_client(hub, client, source, tmp_path):
    listing = client.resolve(REPO_ID)
    with ThreadPoolExecutor(8) as pool:
        folders = [tmp_path / f"staging-{number}" for number in range(4)]
        jobs = [pool.submit(client.download, listing, file, folder) for folder in folders for file in listing.files]
        for job in jobs:
            job.result()
    assert all(content(folder) == content(source) for folder in folders)


def test_nothing_is_printed(hub, client, tmp_path, capfd):
    logging.getLogger("huggingface_hub").warning("would show")
    hub.fault("503", times=2)
    hub.fault("reset", WEIGHTS, times=1)
    download_all(client, tmp_path / "staging")
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


RECOVERED = [
    ("429", "*.json", 2),
    ("429", "*", 1),
    ("500", "*", 1),
    ("503", "*", 2),
    ("reset", WEIGHTS, 3),
    ("refuse", WEIGHTS, 2),
    ("hang", WEIGHTS, 1),
    ("expired", WEIGHTS, 1),
    ("502", WEIGHTS, 3),
    ("no-range", WEIGHTS, None),
]


@pytest.mark.parametrize(("name", "path", "times"), RECOVERED)
def test_passing_faults_are_outlived(hub, client, source, tmp_path, name, path, times):
    hub.fault(name, path, times=times)
    hub.fault("reset", WEIGHTS, times=1)
    download_all(client, tmp_path / "staging")
    assert content(tmp_path / "staging") == content(source)


def test_a_broken_body_goes_on_where_it_broke(hub, client, tmp_path):
    # huggingface_hub takes a body in steps of 10 MiB and goes on from the last whole one
    monkey = constants.DOWNLOAD_CHUNK_SIZE
    constants.DOWNLOAD_CHUNK_SIZE = 10_000
    try:
        hub.fault("reset", WEIGHTS, times=1)
        counted = []
        listing = client.resolve(REPO_ID)
        file = next(file for file in listing.files if str(file.path) == WEIGHTS)
        client.download(listing, file, tmp_path / "staging", counted.append)
    finally:
        constants.DOWNLOAD_CHUNK_SIZE = monkey
    first, second = hub.calls(kind="cdn", method="GET")
    assert first.range is None
    assert second.range is not None
    assert int(second.range.removeprefix("bytes=").removesuffix("-")) > 0
    assert sum(counted) == WEIGHTS_SIZE


LASTING = [
    ("429", NetworkError),
    ("401", NotShownError),
    ("403", P2pqwenError),
    ("404", NotFoundError),
    ("410", NotFoundError),
    ("500", NetworkError),
    ("502", NetworkError),
    ("hang", NetworkError),
    ("refuse", NetworkError),
    ("html", NetworkError),
    ("loop", NetworkError),
    ("expired", P2pqwenError),
    ("gone", NotShownError),
]


@pytest.mark.parametrize(("name", "kind"), LASTING)
def test_lasting_faults_are_clear_errors(hub, client, tmp_path, name, kind):
    listing = client.resolve(REPO_ID)
    hub.fault(name)
    counted = []
    file = next(file for file in listing.files if str(file.path) == WEIGHTS)
    with pytest.raises(P2pqwenError) as caught:
        client.download(listing, file, tmp_path / "staging", counted.append)
    assert type(caught.value) is kind, caught.value
    assert WEIGHTS in caught.value.message
    assert not (tmp_path / "staging" / WEIGHTS).exists()
    assert sum(counted) == 0


@pytest.mark.parametrize("name", ["short", "416", "reset"])
def test_bodies_that_never_come_whole(hub, client, tmp_path, name):
    listing = client.resolve(REPO_ID)
    hub.fault(name, WEIGHTS)
    file = next(file for file in listing.files if str(file.path) == WEIGHTS)
    with pytest.raises(NetworkError):
        client.download(listing, file, tmp_path / "staging")
    assert not (tmp_path / "staging" / WEIGHTS).exists()


def test_a_hub_that_lists_one_size_and_serves_another(hub, client, tmp_path):
    listing = client.resolve(REPO_ID)
    file = next(file for file in listing.files if str(file.path) == "config.json")
    lying = ListedFile(file.path, file.size + 1, file.blob_oid, None)
    with pytest.raises(VerificationError, match="wrong size"):
        client.download(listing, lying, tmp_path / "staging")


def test_165_a_file_that_comes_larger_than_it_is_listed_is_left_at_once(hub, client, tmp_path, monkeypatch):
    """Else a body without end, which huggingface_hub writes down as it comes, fills the disk. This one has none."""
    listing = client.resolve(REPO_ID)
    file = next(file for file in listing.files if str(file.path) == WEIGHTS)
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 500)
    hub.faults.add(Fault(Effect(reset_after=2000), WEIGHTS, on=["cdn"]))
    counted: list[int] = []
    with pytest.raises(VerificationError, match="wrong size"):
        client.download(listing, replace(file, size=1000), tmp_path / "staging", counted.append)
    assert sum(counted) == 0


BOMB = gzip.compress(b'{"id": "Qwen/Tiny", "x": "' + bytes(200_000) + b'"}')


@pytest.mark.parametrize("kind", ["info", "tree"])
@pytest.mark.parametrize(
    "effect",
    [
        Effect(status=200, body=b'{"x": "' + b"a" * 200_000),
        Effect(status=404, body=b"a" * 200_000),
        Effect(status=200, headers={"Content-Encoding": "gzip"}, body=BOMB),
        Effect(status=302, headers={"Location": "/elsewhere"}, body=b"a" * 200_000),
    ],
    ids=["long", "refusal", "gzip", "redirect"],
)
def test_165_an_answer_is_read_to_its_bound(hub, client, monkeypatch, effect, kind):
    """Whole, an answer without end takes all memory, and so does one of 400 KB that is 400 MB when it is unpacked."""
    monkeypatch.setattr(httpx_guard, "MAX_WHOLE", 100_000)
    hub.faults.add(Fault(effect, on=[kind]))
    with pytest.raises(FormatError, match="too large"):
        client.resolve(REPO_ID)


def test_165_an_answer_that_trickles_is_given_up(hub, client, monkeypatch):
    monkeypatch.setattr(httpx_guard, "WHOLE_SECONDS", -1.0)
    with pytest.raises(NetworkError, match="too slow"):
        client.resolve(REPO_ID)


@pytest.mark.parametrize("rows", [b"[]", b'[{"type": "directory", "oid": "%b", "size": 0, "path": "a"}]' % (b"0" * 40)])
def test_165_pages_that_name_a_next_one_for_ever(hub, client, monkeypatch, rows):
    monkeypatch.setattr(http_session, "MAX_REQUESTS", 10)
    tree = f"{hub.endpoint}/api/models/{REPO}/tree/{'a' * 40}"
    headers = {"Content-Type": "application/json", "Link": f'<{tree}>; rel="next"'}
    hub.faults.add(Fault(Effect(status=200, headers=headers, body=rows), on=["tree"]))
    with pytest.raises(FormatError, match="does not end"):
        client.resolve(REPO_ID)
    assert hub.count(kind="tree") < 10


API_FAULTS = [
    ("429", NetworkError),
    ("500", NetworkError),
    ("hang", NetworkError),
    ("refuse", NetworkError),
    ("html", NetworkError),
    ("403", P2pqwenError),
    ("gone", NotShownError),
]


@pytest.mark.parametrize("kind", ["info", "tree"])
@pytest.mark.parametrize(("name", "expected"), API_FAULTS)
def test_a_broken_api_is_a_clear_error(hub, client, name, expected, kind):
    hub.fault(name, on=[kind])
    with pytest.raises(P2pqwenError) as caught:
        client.resolve(REPO_ID)
    assert type(caught.value) is expected, caught.value


@pytest.mark.parametrize("name", ["429", "500", "503"])
def test_a_busy_api_is_asked_again(hub, client, name):
    hub.fault(name, on=["info", "tree"], times=2)
    assert len(client.resolve(REPO_ID).files) == 6


def test_a_hub_that_asks_to_wait_for_an_hour_is_not_waited_for(hub, client):
    effect = Effect(status=429, headers={"Retry-After": "3600"})
    hub.faults.add(Fault(effect, on=["info"]))
    with pytest.raises(NetworkError):
        client.resolve(REPO_ID)
    assert hub.count(kind="info") == 1


@pytest.mark.parametrize(
    "body",
    [b"[]", b"{}", b'{"id": "x", "sha": null, "siblings": []}', b'{"id": "x", "sha": "main"}', b'"text"', b"null"],
)
def test_answers_that_are_not_a_models(hub, client, body):
    hub.faults.add(Fault(Effect(status=200, headers={"Content-Type": "application/json"}, body=body), on=["info"]))
    with pytest.raises((NetworkError, FormatError)):
        client.resolve(REPO_ID)


@pytest.mark.parametrize("path", ["../../etc/passwd", "/etc/passwd", "a\\\\b", "con", "a//b", ".git/config"])
def test_listed_names_that_are_not_safe(hub, client, path):
    row = f'[{{"type": "file", "oid": "{"a" * 40}", "size": 1, "path": "{path}"}}]'
    effect = Effect(status=200, headers={"Content-Type": "application/json"}, body=row.encode())
    hub.faults.add(Fault(effect, on=["tree"]))
    with pytest.raises(FormatError):
        client.resolve(REPO_ID)


def test_a_hub_that_answers_another_commit(hub, client):
    body = f'{{"id": "{REPO}", "sha": "{"b" * 40}", "siblings": []}}'.encode()
    hub.faults.add(Fault(Effect(status=200, headers={"Content-Type": "application/json"}, body=body), on=["info"]))
    with pytest.raises(VerificationError, match="another commit"):
        client.resolve(REPO_ID, "a" * 40)


@pytest.mark.parametrize("revision", ["nosuch", "f" * 40, "refs/pr/9"])
def test_unknown_revision(client, revision):
    with pytest.raises(NotFoundError, match="revision"):
        client.resolve(REPO_ID, revision)


def test_unknown_repository(hub):
    with pytest.raises(NotFoundError) as stranger:
        HubClient(hub.endpoint, None, named=LOOPBACK).resolve(RepoId("Qwen/Nothing"))
    assert "HF_TOKEN" in (stranger.value.hint or "")
    with pytest.raises(NotFoundError):
        HubClient(hub.endpoint, TOKEN, named=LOOPBACK).resolve(RepoId("Qwen/Nothing"))


def test_private_repository(hub, tmp_path):
    hub.repositories[REPO].private = True
    with pytest.raises(NotFoundError):
        HubClient(hub.endpoint, None, named=LOOPBACK).resolve(REPO_ID)
    with pytest.raises(P2pqwenError) as caught:
        HubClient(hub.endpoint, "hf_wrong", named=LOOPBACK).resolve(REPO_ID)
    assert "HF_TOKEN" in (caught.value.hint or "")
    client = HubClient(hub.endpoint, TOKEN, named=LOOPBACK)
    assert client.resolve(REPO_ID).private
    download_all(client, tmp_path / "staging")


def test_gated_repository(hub, tmp_path):
    hub.repositories[REPO].gated = "manual"
    stranger = HubClient(hub.endpoint, None, named=LOOPBACK)
    listing = stranger.resolve(REPO_ID)
    assert listing.gated
    with pytest.raises(P2pqwenError, match="gated") as caught:
        stranger.download(listing, listing.files[0], tmp_path / "staging")
    assert "terms" in (caught.value.hint or "")
    download_all(HubClient(hub.endpoint, TOKEN, named=LOOPBACK), tmp_path / "staging")


def test_deleted_in_mid_way(hub, client, tmp_path):
    listing = client.resolve(REPO_ID)
    client.download(listing, listing.files[0], tmp_path / "staging")
    hub.delete(REPO)
    with pytest.raises(NotFoundError):
        client.download(listing, listing.files[1], tmp_path / "staging")


def test_the_token_goes_to_the_hub_alone(hub, tmp_path):
    download_all(HubClient(hub.endpoint, TOKEN, named=LOOPBACK), tmp_path / "staging")
    sent = {call.kind: call.authorization for call in hub.log}
    assert {kind for kind, authorization in sent.items() if authorization} == {
        "info",
        "tree",
        "resolve",
        "resolve-cache",
    }
    assert sent["cdn"] is None


def test_the_token_does_not_follow_a_redirect_to_another_hub(hub, source, tmp_path, monkeypatch):
    # huggingface_hub itself trusts every host it knows as a Hub with the token, the default endpoint for one.
    other = HubSimulator()
    other.add(REPO, source)
    with other:
        monkeypatch.setattr(
            "huggingface_hub.utils._http._HUB_ORIGINS", {("http", "127.0.0.1", int(other.endpoint.rsplit(":", 1)[1]))}
        )
        listing = HubClient(hub.endpoint, TOKEN, named=LOOPBACK).resolve(REPO_ID)
        small = next(file for file in listing.files if str(file.path) == "config.json")
        target = f"{other.endpoint}/{REPO}/resolve/{listing.snapshot.commit}/config.json"
        hub.faults.add(Fault(Effect(redirect=target), on=["resolve"]))
        HubClient(hub.endpoint, TOKEN, named=LOOPBACK).download(listing, small, tmp_path / "staging")
        assert other.log
        assert {call.authorization for call in other.log} == {None}


def test_no_token_of_the_machine_is_sent(hub, client, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_somebody")
    download_all(client, tmp_path / "staging")
    assert {call.authorization for call in hub.log} == {None}


def test_no_telemetry(hub, client):
    client.resolve(REPO_ID)
    assert {call.kind for call in hub.log} == {"info", "tree"}
    assert constants.HF_HUB_DISABLE_TELEMETRY is True


def test_offline_mode(client, monkeypatch):
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(NetworkError) as caught:
        client.resolve(REPO_ID)
    assert "HF_HUB_OFFLINE" in (caught.value.hint or "")


def test_nobody_listens(source, tmp_path):
    simulator = HubSimulator()
    simulator.add(REPO, source)
    with simulator:
        listing = HubClient(simulator.endpoint, None, named=LOOPBACK).resolve(REPO_ID)
    for ask in (
        lambda client: client.resolve(REPO_ID),
        lambda client: client.download(listing, listing.files[0], tmp_path / "staging"),
        lambda client: client.commit_object(listing.snapshot),
    ):
        with pytest.raises(NetworkError):
            ask(HubClient(simulator.endpoint, None, named=LOOPBACK))


def test_no_room(client, tmp_path, monkeypatch):
    listing = client.resolve(REPO_ID)
    monkeypatch.setattr("shutil.disk_usage", lambda _: type("Usage", (), {"free": 10})())
    with pytest.raises(DiskError, match="no room"):
        client.download(listing, listing.files[-1], tmp_path / "staging")


def test_a_folder_that_cannot_be_written(client, tmp_path):
    listing = client.resolve(REPO_ID)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DiskError):
        client.download(listing, listing.files[0], tmp_path / "file" / "staging")


@pytest.mark.parametrize("named", [True, False])
def test_no_answer_leads_huggingface_hub_to_xet(named):
    """Its client resolves names itself and goes where an answer leads: no answer to us reaches it, a stranger's or not.

    Whose listing is believed, and that Xet is had all the same, is in test_xet.py.
    """
    offer = {
        "X-Xet-Hash": "f" * 64,
        "X-Xet-Refresh-Route": "http://127.0.0.1:9/token",
        "Link": '<http://127.0.0.1:9/token>; rel="xet-auth"',
        "ETag": "x",
    }
    request = httpx2.Request("HEAD", "https://mirror.example/Qwen/Tiny/resolve/main/x")
    answer = httpx2.Response(200, headers=offer, request=request)
    hosts = NamedHosts.listed(["mirror.example"] if named else ["hub.example"])
    with http_session.only_to("https://mirror.example", hosts):
        http_session._after_answer(answer)
    assert parse_xet_file_data_from_response(answer, "https://mirror.example") is None
    assert answer.headers["ETag"] == "x"
