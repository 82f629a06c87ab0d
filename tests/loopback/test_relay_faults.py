"""libtorrent finishes through the relay whatever an upstream does, as long as another, or the same later, is honest."""

from __future__ import annotations

import pytest

from p2pqwen.hub.hub_site import HubSite
from p2pqwen.webseed.bases import combine_bases
from p2pqwen.webseed.relay import Relay
from tests.simulators.faults import PRESETS
from tests.simulators.hub import HubSimulator
from tests.support.addresses import LOOPBACK
from tests.support.models import small_model, write_folder
from tests.support.waiting import wait_until
from tests.support.web_seeds import HASTY, SNAPSHOT, PlainServer, fetching, make_torrent, served

REPO = SNAPSHOT.repo.text
FILES = {name: data for name, data in small_model(1_500_000).items() if name != "empty.txt"}
DEADLINE = 60.0
LIES = {"corrupt"}
GIVES_SOMETHING = {"drip", "expired", "no-range", "reset", "short"}  # right bytes, if slowly or of small files only


class Case:
    """A Hub with the model, its torrent, and honest mirrors of it."""

    def __init__(self, hub, folder):
        commit = hub.add(REPO, write_folder(folder / "src", FILES))
        self.hub = hub
        self.torrent = make_torrent(FILES, snapshot=type(SNAPSHOT)(SNAPSHOT.repo, commit))
        self.base = f"{hub.endpoint}/{REPO}/resolve/"

    def bases(self, *urls):
        return combine_bases(self.torrent.name, SNAPSHOT.repo, torrent=urls).usable


@pytest.fixture
def case(tmp_path):
    with HubSimulator(tokens=["hf_secret"]) as hub:
        yield Case(hub, tmp_path)


def finish(case, tmp_path, *urls, seconds=DEADLINE, **relay):
    """Fetch everything from these bases and return the relayed torrent; the bytes on disk are right."""
    with Relay(named=LOOPBACK, timeouts=HASTY, **relay) as running:
        torrent = running.offer(case.torrent, case.bases(*urls))
        with fetching(case.torrent, tmp_path / "dst", torrent.urls) as download:
            assert download.wait(seconds), (torrent.accounts, torrent.outlook(), download.alerts[-20:])
            assert download.files == FILES
            assert download.handle.status().total_failed_bytes == 0, "libtorrent was handed something wrong"
        return torrent


def test_the_hub_alone_is_asked_once_for_each_file(case, tmp_path):
    torrent = finish(case, tmp_path, case.base)
    for name in FILES:
        assert case.hub.count(kind="resolve", path=name) == 1, name
    (account,) = torrent.accounts
    assert account.bytes_good >= sum(map(len, FILES.values()))
    assert account.requests == len(case.hub.calls())
    assert account.resolves == len(FILES)
    assert not torrent.take_notices()


def test_urls_that_expire_after_two_seconds_and_a_burst_of_429(tmp_path):
    with HubSimulator(url_lifetime=2) as hub:
        case = Case(hub, tmp_path)
        hub.fault("429", times=6)
        hub.fault("drip", "*.safetensors", times=2)
        torrent = finish(case, tmp_path, case.base)
        assert torrent.accounts[0].faults["busy"] >= 1


def test_an_url_that_expires_early_is_renewed(case, tmp_path):
    case.hub.fault("expired", "*.safetensors", skip=1, times=1)
    finish(case, tmp_path, case.base)
    assert case.hub.count(kind="resolve", path="model.safetensors") <= 2


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_fault_that_passes(case, tmp_path, name):
    case.hub.fault(name, times=3)
    finish(case, tmp_path, case.base)


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_a_fault_that_stays_and_an_honest_mirror(case, tmp_path, name):
    case.hub.fault(name)
    with PlainServer(served(FILES, case.torrent)) as mirror:
        torrent = finish(case, tmp_path, case.base, mirror.url)
    hub, honest = torrent.accounts
    said = " ".join(notice.text for notice in torrent.take_notices())
    assert not honest.dropped
    assert honest.bytes_good > 0 or name == "no-range"  # which serves small files well enough
    if name in LIES:
        assert case.base in said
        assert "wrong bytes" in said
        assert set(hub.dropped) == set(FILES), hub
        assert hub.bytes_good == 0
    elif name not in GIVES_SOMETHING:
        assert hub.bytes_good == 0
        assert hub.last_fault


def test_each_file_at_another_mirror(case, tmp_path):
    names = sorted(FILES)
    halves = ({name: FILES[name] for name in names[::2]}, {name: FILES[name] for name in names[1::2]})
    with PlainServer(served(halves[0], case.torrent)) as one, PlainServer(served(halves[1], case.torrent)) as other:
        torrent = finish(case, tmp_path, one.url, other.url)
    assert all(account.bytes_good > 0 for account in torrent.accounts)


def test_a_mirror_that_lies_about_one_piece_only_costs_that_file(case, tmp_path):
    spoiled = bytearray(FILES["model.safetensors"])
    spoiled[700_000] ^= 1
    liar = {**FILES, "model.safetensors": bytes(spoiled)}
    with PlainServer(served(liar, case.torrent)) as first, PlainServer(served(FILES, case.torrent)) as second:
        torrent = finish(case, tmp_path, first.url, second.url)
    assert list(torrent.accounts[0].dropped) == ["model.safetensors"]
    assert not torrent.accounts[1].dropped
    assert torrent.accounts[0].bytes_good > 0


def test_the_token_goes_to_the_hub_alone(case, tmp_path):
    case.hub.repositories[REPO].gated = "manual"
    finish(case, tmp_path, case.base, site=HubSite(case.hub.endpoint, "hf_secret"))
    sent = {(call.kind, call.authorization) for call in case.hub.calls()}
    assert ("resolve", "Bearer hf_secret") in sent
    assert ("cdn", None) in sent
    assert not [kind for kind, token in sent if token and kind == "cdn"]


def test_a_mirror_that_is_not_the_hub_never_sees_the_token(case, tmp_path):
    with PlainServer(served(FILES, case.torrent)) as mirror:
        finish(case, tmp_path, mirror.url, site=HubSite(case.hub.endpoint, "hf_secret"))
        assert not [asked for asked in mirror.log if "Authorization" in asked.headers]


def test_a_hub_that_is_gone_is_said_once_and_nothing_is_hoped_of_it(case, tmp_path):
    case.hub.fault("gone")
    with Relay(named=LOOPBACK, timeouts=HASTY) as relay:
        torrent = relay.offer(case.torrent, case.bases(case.base))
        with fetching(case.torrent, tmp_path / "dst", torrent.urls) as download:
            wait_until(lambda: not download.wait(0.2) and len(torrent.outlook().hopeless) >= 4, 30, "no hope")
        hopeless = torrent.outlook().hopeless
        assert all("404" in reason for reasons in hopeless.values() for reason in reasons)
        notices = [notice.text for notice in torrent.take_notices()]
    assert len([text for text in notices if case.base in text]) == 1, notices


def test_a_hub_that_comes_back_is_used_again(case, tmp_path):
    fault = case.hub.fault("gone")
    with Relay(named=LOOPBACK, timeouts=HASTY) as relay:
        torrent = relay.offer(case.torrent, case.bases(case.base))
        with fetching(case.torrent, tmp_path / "dst", torrent.urls) as download:
            wait_until(lambda: download.wait(0.2) or fault.met >= 3, 30, "the Hub to be asked in vain")
            case.hub.faults.clear()
            assert download.wait(DEADLINE), torrent.accounts
            assert download.files == FILES
