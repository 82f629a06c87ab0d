"""A seed behind a NAT gives to a fetch that it hears of: over TCP it is not taken in, over uTP it is."""

from __future__ import annotations

from p2pqwen.torrent.metainfo import parse_metainfo
from tests.support.nat import OUTSIDE, natted_house
from tests.support.other_clients import opentracker
from tests.support.preserved import COMMITS, REPO, Preserver, small_model, tree
from tests.support.processes import p2pqwen, running
from tests.support.waiting import wait_until

CONFIG = '[network]\ndht = false\nlsd = false\nupnp = false\nweb_seeds = "never"\n'


def test_a_seed_behind_a_nat_reaches_a_fetch_outside(tmp_path):
    with natted_house() as lab:
        keeper = Preserver(tmp_path)
        torrent = parse_metainfo(keeper.preserve(small_model()).read_bytes())
        with opentracker(torrent, address=OUTSIDE, within=lab.within(lab.world, [])) as announce:
            keeper.user.ok("publish", "--out", keeper.site, "--tracker", announce)
            user = keeper.trusted_by("user")
            for someone in (user, keeper.user):
                (someone.home / "config.toml").write_text(CONFIG)
            fetch = p2pqwen("fetch", REPO, "--no-hf-cache", "--timeout", "120")
            seed = p2pqwen("seed", "--listen", "0.0.0.0:6881", "--json")
            with running(lab.within(lab.world, fetch), user.environment) as command:
                wait_until(lambda: "0 peers" in command.stderr, 40, "the fetch to have announced and found nobody")
                with running(lab.within(lab.house, seed), keeper.user.environment) as node:
                    node.line(60, containing='"seeding"')
                    assert command.wait(110) == 0, command.stderr
    assert tree(user.home / "library" / REPO / COMMITS[0]) == small_model()
