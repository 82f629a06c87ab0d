"""Where connections go: attacks 90 to 94, over each of our HTTP stacks, with real servers on loopback.

The first line of every table is what a stranger says; the last word of every test is that the victim was not asked.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest
from huggingface_hub import close_session

from p2pqwen.errors import NetworkError, P2pqwenError
from p2pqwen.hub import git_commit, git_transport
from p2pqwen.hub.client import HubClient
from p2pqwen.hub.git_commit import commit_object
from p2pqwen.hub.hub_site import HubSite
from p2pqwen.mirrors.reading import Timeouts, read_now
from p2pqwen.modelscope.client import ModelScopeClient
from p2pqwen.swarm import tracker_scrape
from p2pqwen.swarm.tracker_scrape import scrape_udp
from p2pqwen.torrent.magnet import Magnet
from p2pqwen.values.digest import CommitId, GitOid, Sha1
from p2pqwen.values.listing import ListedFile, Listing
from p2pqwen.values.named_hosts import NONE_NAMED, NamedHosts, RefusedAddressError
from p2pqwen.values.repo_path import RepoPath
from p2pqwen.values.snapshot_id import Owner, RepoId, SnapshotId
from p2pqwen.webseed.bases import Base, NamedBy
from p2pqwen.webseed.fault import Kind, UpstreamError
from p2pqwen.webseed.upstream_server import RemoteFile, UpstreamServer
from tests.support.addresses import LOOPBACK, PUBLIC, declare_public, stand_in_for_dns, victim, web_server
from tests.support.command import CommandLine
from tests.support.web_seeds import HASTY

COMMIT = CommitId.parse("0123456789abcdef0123456789abcdef01234567")
REPO = RepoId("Qwen/Tiny")
FILE = ListedFile(RepoPath("config.json"), 2, GitOid.parse("0" * 40), None)
QUIET = ("--no-dht", "--no-lsd", "--no-upnp", "--no-trackers")


def mirror(url, named):
    read_now(f"{url}/index.json", max_bytes=1000, named=named, timeouts=Timeouts(answer=10, total=20))


def web_seed(url, named, site=None, named_by=NamedBy.INDEX):
    async def ask():
        upstream = UpstreamServer(Base(f"{url}/", named_by, str(COMMIT)), named=named, site=site, timeouts=HASTY)
        try:
            body = await upstream.open(RemoteFile(RepoPath("file"), 5), 0, 5)
            body.close()
        finally:
            await upstream.close()

    asyncio.run(ask())


def hub_api(url, named):
    HubClient(url, None, named=named).resolve(RepoId("Qwen/Tiny"))


def modelscope_api(url, named):
    ModelScopeClient(url, None, git_commit, named=named).resolve(RepoId.parse("modelscope:Qwen/Tiny"))


def git(url, named):
    commit_object(f"{url}/Qwen/Tiny", COMMIT, named=named)


STACKS = [mirror, web_seed, hub_api, modelscope_api, git]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(git_transport, "_RETRIES", git_transport._RETRIES.new(backoff_factor=0.01))
    close_session()  # huggingface_hub reads the environment's proxies when its client is made
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def names(monkeypatch):
    return stand_in_for_dns(monkeypatch)


@pytest.fixture
def target():
    with victim() as running:
        yield running


def is_refused(ask, url, named=NONE_NAMED):
    """Ask, expect to be refused before anybody was connected to, and return the words."""
    with pytest.raises((RefusedAddressError, UpstreamError)) as caught:
        ask(url, named)
    error = caught.value
    assert not isinstance(error, UpstreamError) or error.kind is Kind.REFUSED, error
    return str(error)


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1", "127.8.8.8", "::1", "::ffff:127.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "::7f00:1", "0.0.0.0",
     "::", "10.0.0.1", "192.168.1.1", "100.64.0.1", "169.254.169.254", "64:ff9b:1::808:808", "2001:0:7f00:1::1",
     "fd00::1"],
)  # fmt: skip
@pytest.mark.parametrize("ask", STACKS)
def test_90_a_public_name_that_leads_inside(ask, address, names, target):
    names["evil.example"] = [[address]]
    assert "no address that may be contacted" in is_refused(ask, f"http://evil.example:{target.port}")
    assert names.asked == ["evil.example"]
    # Naming an address does not name the names that lead to it.
    is_refused(ask, f"http://evil.example:{target.port}", LOOPBACK)
    assert target.hits == []


@pytest.mark.parametrize("ask", STACKS)
def test_91_a_name_that_leads_elsewhere_the_second_time(ask, names, target, monkeypatch):
    """DNS rebinding: what was looked at is what is connected to, however often it is asked."""
    declare_public(monkeypatch, PUBLIC)
    names["evil.example"] = [[PUBLIC], ["127.0.0.1"]]
    with web_server(PUBLIC, target.port) as public:
        with pytest.raises((P2pqwenError, UpstreamError)):
            ask(f"http://evil.example:{target.port}", NONE_NAMED)
        assert public.hits
    assert target.hits == []


@pytest.mark.parametrize("ask", STACKS)
def test_91_of_several_addresses_only_public_ones_are_tried(ask, names, target, monkeypatch):
    declare_public(monkeypatch, PUBLIC)
    names["evil.example"] = [["127.0.0.1", "::1", PUBLIC, "::ffff:127.0.0.1"]]
    with pytest.raises((P2pqwenError, UpstreamError)):  # nobody listens at the public one
        ask(f"http://evil.example:{target.port}", NONE_NAMED)
    assert target.hits == []


@pytest.mark.parametrize(
    "location",
    ["http://127.0.0.1:{port}/secret", "http://[::1]:{port}/secret", "http://localhost:{port}/secret",
     "http://127.1:{port}/secret", "http://2130706433:{port}/secret", "http://0x7f000001:{port}/secret",
     "http://0177.0.0.1:{port}/secret", "http://127.0.0.1.:{port}/secret", "http://[::ffff:127.0.0.1]:{port}/secret",
     "http://0.0.0.0:{port}/secret", "http://0:{port}/secret", "//127.0.0.1:{port}/secret",
     "http://me:pw@127.0.0.1:{port}/secret", "http://inside.example:{port}/secret", "ftp://127.0.0.1:{port}/secret",
     "http://router/", "http://nas.lan/", "http://169.254.169.254/latest/meta-data/"],
)  # fmt: skip
@pytest.mark.parametrize("ask", STACKS)
def test_92_a_public_server_that_redirects_inside(ask, location, names, target, monkeypatch):
    declare_public(monkeypatch, PUBLIC)
    names["public.example"] = [[PUBLIC]]
    names["inside.example"] = [["127.0.0.1"]]
    with web_server(PUBLIC, redirect=location.format(port=target.port)) as public:
        for named in (NONE_NAMED, NamedHosts.of(["http://192.168.1.1"])):
            with pytest.raises((P2pqwenError, UpstreamError)):
                ask(f"http://public.example:{public.port}", named)
        assert len(public.hits) >= 2
    assert target.hits == []


@pytest.mark.parametrize("ask", STACKS)
def test_92_to_a_host_that_the_user_named_it_may(ask, names, target, monkeypatch):
    declare_public(monkeypatch, PUBLIC)
    names["public.example"] = [[PUBLIC]]
    with (
        web_server(PUBLIC, redirect=f"http://127.0.0.1:{target.port}/here") as public,
        pytest.raises((P2pqwenError, UpstreamError)),  # a 404
    ):
        ask(f"http://public.example:{public.port}", LOOPBACK)
    assert target.hits


@pytest.mark.parametrize("ask", STACKS)
def test_92_a_private_host_that_the_user_named_may_redirect_to_itself_alone(ask, names, target):
    for location, reached in [
        (f"http://127.0.0.1:{target.port}/x", True),
        (f"http://127.0.0.9:{target.port}/x", False),
    ]:
        target_hits = len(target.hits)
        with web_server("127.0.0.1", redirect=location) as named:
            with pytest.raises((P2pqwenError, UpstreamError)):
                ask(f"http://127.0.0.1:{named.port}", LOOPBACK)
            assert named.hits
        assert (len(target.hits) > target_hits) is reached


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "LOCALHOST", "a.localhost", "[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]",
     "[64:ff9b::7f00:1]", "0.0.0.0", "127.0.0.2"],
)  # fmt: skip
@pytest.mark.parametrize("ask", STACKS)
def test_93_a_stranger_names_this_machine(ask, host, target):
    is_refused(ask, f"http://{host}:{target.port}")
    assert target.hits == []


@pytest.mark.parametrize(
    "host", ["127.1", "127.0.1", "2130706433", "0x7f.1", "0x7f000001", "0177.0.0.1", "017700000001"]
)
@pytest.mark.parametrize("named", [NONE_NAMED, LOOPBACK], ids=["nobody", "loopback"])
@pytest.mark.parametrize("ask", STACKS)
def test_93_an_address_in_disguise_is_refused_whoever_it_is(ask, named, host, target):
    assert "spelling" in is_refused(ask, f"http://{host}:{target.port}", named)
    assert target.hits == []


@pytest.mark.parametrize("ask", STACKS)
def test_what_the_user_named_is_asked(ask, names, target):
    names["hub.corp.example"] = [["127.0.0.1"]]
    for url in ("http://127.0.0.1", "http://localhost", "http://hub.corp.example"):
        hits = len(target.hits)
        with pytest.raises((P2pqwenError, UpstreamError)):  # a 404
            ask(f"{url}:{target.port}", NamedHosts.configured([url]))
        assert len(target.hits) > hits


@pytest.mark.parametrize("ask", STACKS)
def test_90_a_public_name_that_the_user_typed_is_its_owners_all_the_same(ask, names, target):
    names["evil.example"] = [["127.0.0.1"]]
    url = f"http://evil.example:{target.port}"
    is_refused(ask, url, NamedHosts.of([url]))
    assert target.hits == []


@pytest.mark.parametrize(
    "ask",
    [
        lambda client, _: client.time(),
        lambda client, _: client.resolve(REPO),
        lambda client, _: client.repos(Owner("Qwen")),
        lambda client, _: client.commit_object(SnapshotId(REPO, COMMIT)),
        lambda client, _: client.tree_rows(SnapshotId(REPO, COMMIT)),
        lambda client, folder: client.download(
            Listing(SnapshotId(REPO, COMMIT), gated=False, private=False, files=(FILE,)), FILE, folder
        ),
    ],
    ids=["90-time", "90-resolve", "90-models", "90-commit", "90-tree", "90-download"],
)
def test_everything_that_the_hub_is_asked_goes_through_the_guard(ask, names, target, tmp_path):
    names["evil.example"] = [["127.0.0.1"]]
    for host in ("evil.example", "127.0.0.1"):
        with pytest.raises(RefusedAddressError):
            ask(HubClient(f"http://{host}:{target.port}", None, named=NONE_NAMED), tmp_path)
    assert target.hits == []


def test_a_base_of_the_users_own_names_its_host_alone(target):
    base = f"http://127.0.0.1:{target.port}"
    with pytest.raises(UpstreamError):
        web_seed(base, NONE_NAMED, named_by=NamedBy.CONFIG)
    assert len(target.hits) == 1
    with pytest.raises(UpstreamError, match="private network"):
        web_seed(base, NONE_NAMED, site=HubSite("http://192.168.1.1", "secret"), named_by=NamedBy.TORRENT)
    assert len(target.hits) == 1


def test_90_a_udp_tracker_whose_name_leads_inside(names, monkeypatch):
    monkeypatch.setattr(tracker_scrape, "TRIES", (0.05,))
    names["evil.example"] = [["127.0.0.1"]]
    for tracker in ("udp://evil.example:9", "udp://127.0.0.1:9", "udp://127.1:9"):
        with pytest.raises(RefusedAddressError):
            asyncio.run(scrape_udp(f"{tracker}/announce", [Sha1(b"?" * 20)]))


@pytest.mark.parametrize("ask", [hub_api, git])
def test_94_behind_a_proxy_hosts_are_judged_by_their_text(ask, names, target, monkeypatch):
    """The proxy resolves names; it is the user's word, and no reason to ask it as a host, or what is beside it."""
    with web_server("127.0.0.1") as proxy:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        for url in (
            f"http://127.0.0.1:{target.port}",
            f"http://127.0.0.1:{proxy.port}",
            "http://router",
            "http://0x7f.1",
        ):
            is_refused(ask, url)
        assert proxy.hits == []
        with pytest.raises(P2pqwenError):
            ask("http://model.example", NONE_NAMED)
        assert all(hit.startswith("http://model.example/") for hit in proxy.hits)
        assert proxy.hits
    assert names.asked == []
    assert target.hits == []


@pytest.mark.parametrize("ask", [hub_api, git])
def test_94_a_proxy_that_leads_inside_is_the_users_own(ask, names, target, monkeypatch):
    names["proxy.corp.example"] = [["127.0.0.1"]]
    monkeypatch.setenv("http_proxy", f"http://proxy.corp.example:{target.port}")
    with pytest.raises(P2pqwenError):
        ask("http://model.example", NONE_NAMED)
    assert target.hits


# The same through the command line.


@pytest.fixture
def user(tmp_path):
    return CommandLine(tmp_path, "http://hub.example")


def fetch(user, *, sources=(), web_seeds=(), extra=()):
    magnet = Magnet(
        Sha1(b"\x07" * 20), name=f"Qwen/Tiny@{COMMIT}", exact_sources=tuple(sources), web_seeds=tuple(web_seeds)
    )
    return user.run("fetch", str(magnet), *QUIET, "--timeout", "1", *extra)


@pytest.mark.parametrize("host", ["127.1", "127.0.0.1", "localhost", "2130706433", "[::1]", "inside.example"])
def test_93_the_source_of_a_magnet_is_not_on_this_machine(user, names, target, host):
    names["inside.example"] = [["127.0.0.1"]]
    ended = fetch(user, sources=[f"http://{host}:{target.port}/{COMMIT}.torrent"])
    assert ended.code == 5, ended
    assert target.hits == []


def test_93_in_disguise_not_even_where_the_user_named_this_machine(tmp_path, target):
    """`http://127.1:PORT/` as `xs=`: aiohttp before 3.14 took it for 127.0.0.1."""
    user = CommandLine(tmp_path, "http://127.0.0.1:9")
    fetch(user, sources=[f"http://127.1:{target.port}/{COMMIT}.torrent"])
    assert target.hits == []
    fetch(user, sources=[f"http://127.0.0.1:{target.port}/{COMMIT}.torrent"])
    assert target.hits == [f"/{COMMIT}.torrent"]


@pytest.mark.parametrize("answers", [[["127.0.0.1"]], [["::ffff:127.0.0.1"]], [[PUBLIC], ["127.0.0.1"]]])
def test_90_the_rebuild_route_asks_no_name_that_leads_inside(user, names, target, answers, monkeypatch):
    declare_public(monkeypatch, PUBLIC)
    names["mirror.example"] = answers
    ended = fetch(user, web_seeds=[f"http://mirror.example:{target.port}/Qwen/Tiny/resolve/"])
    assert ended.code in {4, 5}, ended
    assert "mirror.example" in names.asked
    assert target.hits == []


def test_92_the_rebuild_route_follows_no_redirect_inside(user, names, target, monkeypatch):
    declare_public(monkeypatch, PUBLIC)
    names["mirror.example"] = [[PUBLIC]]
    with web_server(PUBLIC, redirect=f"http://127.0.0.1:{target.port}/admin") as public:
        ended = fetch(user, web_seeds=[f"http://mirror.example:{public.port}/Qwen/Tiny/resolve/"])
        assert public.hits
    assert ended.code in {4, 5}, ended
    assert target.hits == []


def test_a_url_that_the_user_types_names_its_host(user, target):
    user.run("fetch", f"http://127.0.0.1:{target.port}/x.torrent", *QUIET)
    assert target.hits == ["/x.torrent"]
    with suppress(NetworkError):
        user.run("trust", "add", "f" * 64, "--index", f"http://127.0.0.1:{target.port}/keep")
    assert target.hits[-1] == "/keep/index.json"


@pytest.mark.parametrize(
    "words",
    [
        ("fetch", "{url}/x.torrent", *QUIET),
        ("trust", "add", "f" * 64, "--index", "{url}/keep"),
        ("trust", "add", "{url}/keep", "--yes"),
        ("preserve", "--from", ".", "--repo", "Qwen/Tiny", "--commit", str(COMMIT), "--git", "{url}/Qwen/Tiny"),
    ],
    ids=["90-fetch", "90-trust", "90-trust-by-url", "90-git"],
)
def test_a_url_that_the_user_pastes_may_be_a_strangers(user, names, target, tmp_path, words):
    names["evil.example"] = [["127.0.0.1"]]
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "config.json").write_text("{}")
    url = f"http://evil.example:{target.port}"
    ended = user.run(*(str(tmp_path / "model") if word == "." else word.format(url=url) for word in words))
    assert ended.code == (0 if "--git" in words else 5), ended  # without the commit object it is unproven, and says so
    assert "evil.example" in names.asked
    assert target.hits == []


def test_config_toml_may_list_private_hosts(tmp_path, target):
    user = CommandLine(tmp_path, "http://hub.example")
    user.home.mkdir(parents=True)
    (user.home / "config.toml").write_text('[network]\nprivate_hosts = "nas.lan, 127.0.0.1"\n')
    fetch(user, sources=[f"http://127.0.0.1:{target.port}/{COMMIT}.torrent"])
    assert target.hits == [f"/{COMMIT}.torrent"]
    (user.home / "config.toml").write_text('[network]\nprivate_hosts = "a host"\n')
    assert user.run("list").code == 2


@pytest.mark.parametrize("words", [("add", "ab" * 32, "--index", "{url}"), ("add", "{url}", "--yes")])
def test_a_listed_host_counts_for_the_first_index_of_a_publisher_too(tmp_path, names, target, words):
    user = CommandLine(tmp_path)
    names["mirror.example"] = [["127.0.0.1"]]
    url = f"http://mirror.example:{target.port}"
    asked = [word.format(url=url) for word in words]
    assert user.run("trust", *asked).code == 5
    assert target.hits == []
    user.home.mkdir(parents=True, exist_ok=True)
    (user.home / "config.toml").write_text('[network]\nprivate_hosts = "mirror.example"\n')
    user.run("trust", *asked)
    assert target.hits
