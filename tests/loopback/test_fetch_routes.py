"""Magnets with no peers: who gives the torrent, in which order, and what becomes of it when nobody does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from p2pqwen.events import ignore
from p2pqwen.torrent.magnet import Magnet, parse_magnet
from p2pqwen.values.digest import Sha1
from tests.simulators.hub import HubSimulator
from tests.support.command import CommandLine
from tests.support.mirror_server import gives, mirror
from tests.support.models import small_model, write_folder
from tests.support.swarm import QUIET, seeding

REPO = "Qwen/Tiny"
FILES = small_model(700_000)


@pytest.fixture
def hub(tmp_path):
    with HubSimulator() as running:
        running.add(REPO, write_folder(tmp_path / "model", FILES))
        yield running


@pytest.fixture
def preserver(hub, tmp_path):
    """Somebody who preserved the model, published it to `site/` and made its bundle."""
    user = CommandLine(tmp_path / "preserver", hub.endpoint)
    user.ok("preserve", REPO)
    user.ok("keys", "init", "--name", "Keepers", "--no-passphrase")
    user.ok("publish", "--out", tmp_path / "site", "--yes")
    return user


@pytest.fixture
def magnet(preserver, tmp_path):
    import json

    return json.loads((tmp_path / "site" / "index.json").read_text())["signed"]["entries"][0]["magnet"]


def trusting(preserver, folder, hub, source):
    """A user who trusts the publisher and got its index from a place that is gone by now."""
    user = CommandLine(folder, hub.endpoint)
    user.ok("trust", "add", preserver.ok("keys", "show")["publisher"], "--index", source, "--no-dht")
    return user


def bundle_of(user):
    (folder,) = (one for one in (user.home / "bundles").glob("*/*") if one.is_dir())
    return folder


def content(done):
    folder = Path(done["path"])
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_zero_peer_magnet_ends_in_a_verified_model_and_a_new_seed(hub, magnet, tmp_path):
    user = CommandLine(tmp_path / "user", hub.endpoint)
    done = user.ok("fetch", magnet, *QUIET)
    assert done["torrent_by"] == f"rebuilt by the recipe from {hub.endpoint}"
    assert (done["verified"], done["provenance"], done["state"]) == (True, "proven", "complete")
    assert (done["bytes_from_peers"], done["bytes_from_web_seeds"]) == (0, sum(map(len, FILES.values())))
    assert content(done).items() >= FILES.items()
    assert Path(done["hf_cache"]).joinpath("config.json").read_bytes() == FILES["config.json"]
    other = CommandLine(tmp_path / "other")  # its Hub is gone
    with seeding(user) as (_, peer):
        again = other.ok("fetch", magnet, "--peer", peer, *QUIET, "--no-web-seeds")
    assert again["bytes_from_peers"] == sum(map(len, FILES.values()))


def test_a_hub_that_serves_other_bytes_is_refused(hub, magnet, tmp_path):
    user = CommandLine(tmp_path / "user", hub.endpoint)
    parsed = parse_magnet(magnet)
    other = Magnet(Sha1(b"\1" * 20), None, parsed.name, parsed.size, web_seeds=parsed.web_seeds)
    done = user.run("fetch", str(other), *QUIET, "--json")
    assert done.code == 3, done
    assert "serves other bytes" in done.stderr
    assert user.ok("list")["snapshots"] == []


def test_a_hub_whose_files_changed_is_refused(hub, magnet, tmp_path):
    hub.fault("corrupt", "model.safetensors")
    user = CommandLine(tmp_path / "user", hub.endpoint)
    done = user.run("fetch", magnet, *QUIET, "--json")
    assert done.code == 3, done
    assert user.ok("list")["snapshots"] == []


def test_nobody_serves_it_at_all(hub, magnet, tmp_path):
    user = CommandLine(tmp_path / "user", hub.endpoint)
    hub.close()
    done = user.run("fetch", magnet, *QUIET, "--json")
    assert done.code == 5, done
    assert "no source serves it either" in done.stderr


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--no-web-seeds", "--timeout", "1"], 5),  # peers alone
        (["--include", "*.json"], 5),  # a rebuild needs every file
        (["--only-web-seeds"], 0),
    ],
)
def test_a_rebuild_is_what_the_switches_allow(hub, magnet, tmp_path, options, code):
    user = CommandLine(tmp_path / "user", hub.endpoint)
    before = hub.count()
    done = user.run("fetch", magnet, *QUIET, *options, "--json")
    assert done.code == code, done
    assert (hub.count() > before) == (code == 0)


def test_a_link_does_not_send_a_rebuild_into_the_users_network(hub, magnet, tmp_path):
    """The link's web seed is the Hub on loopback; the user's own Hub is another one, which is gone."""
    user = CommandLine(tmp_path / "user")
    before = hub.count()
    done = user.run("fetch", magnet, *QUIET, "--json")
    assert done.code == 5, done
    assert hub.count() == before


def test_the_token_goes_to_the_configured_hub_alone(hub, tmp_path):
    from p2pqwen.app import App
    from p2pqwen.config.load import load

    app = App(load({"P2PQWEN_HOME": str(tmp_path), "HF_TOKEN": "secret", "HF_ENDPOINT": "https://hub.example"}))
    assert app.open_origin("https://hub.example", ignore)._hub._token == "secret"
    assert app.open_origin("https://mirror.example", ignore)._token is None


def test_the_index_comes_before_everything_a_link_names(hub, preserver, magnet, tmp_path):
    """The torrent is the signed one of the index, and its web seeds do the rest."""
    user = trusting(preserver, tmp_path / "user", hub, tmp_path / "site")
    done = user.ok("fetch", magnet, *QUIET)
    assert (done["torrent_from"], done["torrent_by"]) == ("the index of Keepers", "a mirror")
    assert [one["state"] for one in done["signers"]] == ["valid"]


def test_a_bundle_in_this_home_is_asked_before_mirrors(hub, preserver, magnet, tmp_path):
    with mirror() as server:
        server.answers["/index.json"] = gives((tmp_path / "site" / "index.json").read_bytes())
        user = trusting(preserver, tmp_path / "user", hub, f"{server.url}/")
        shutil.copytree(preserver.home / "bundles", user.home / "bundles")
        asked = len(server.asked)
        done = user.ok("fetch", REPO, *QUIET)
        assert done["torrent_by"] == "a bundle in this home"
        assert [one["state"] for one in done["signers"]] == ["valid"]
        assert len(server.asked) == asked


def test_a_damaged_bundle_is_passed_over(hub, preserver, tmp_path):
    user = trusting(preserver, tmp_path / "user", hub, tmp_path / "site")
    shutil.copytree(preserver.home / "bundles", user.home / "bundles")
    (torrent,) = bundle_of(user).rglob("*.torrent")
    data = bytearray(torrent.read_bytes())
    data[len(data) // 2] ^= 1
    torrent.write_bytes(data)
    assert user.ok("fetch", REPO, *QUIET)["torrent_by"] == "a mirror"


def test_the_links_own_source_when_the_index_has_none(hub, preserver, magnet, tmp_path):
    user = trusting(preserver, tmp_path / "user", hub, tmp_path / "site")
    (torrent,) = (tmp_path / "site").rglob("*.torrent")
    with mirror() as source:
        source.answers["/x.torrent"] = gives(torrent.read_bytes())
        torrent.unlink()
        done = user.ok("fetch", f"{magnet}&xs={source.url}/x.torrent", *QUIET)
    assert (done["torrent_from"], done["torrent_by"]) == ("the index of Keepers", "the magnet's xs=")


def test_a_name_is_rebuilt_when_only_the_hub_is_left(hub, preserver, tmp_path):
    user = trusting(preserver, tmp_path / "user", hub, tmp_path / "site")
    shutil.rmtree(tmp_path / "site")
    done = user.ok("fetch", REPO, *QUIET)
    assert done["torrent_from"] == "the index of Keepers"
    assert done["torrent_by"].startswith("rebuilt by the recipe from ")


def test_peers_of_earlier_are_asked_again(hub, preserver, magnet, tmp_path):
    """A fetch that names nobody: the peer is known from the time before, and the Hub is gone."""
    user = CommandLine(tmp_path / "user")
    with seeding(preserver) as (_, peer):
        done = user.ok("fetch", magnet, "--peer", peer, *QUIET, "--no-web-seeds")
        user.ok("remove", f"{done['repo']}@{done['commit']}", "--yes")
        # `loopback` is welcome again only to those who name it, so name a port where nobody listens
        again = user.ok("fetch", magnet, "--peer", "127.0.0.1:9", *QUIET, "--no-web-seeds")
    assert again["bytes_from_peers"] == done["size"]
