"""What a request and the home's configuration make of a session."""

from __future__ import annotations

import pytest

from p2pqwen.app import App
from p2pqwen.assembly import fetching
from p2pqwen.config.settings import Config, NetworkConfig
from p2pqwen.errors import NotFoundError
from p2pqwen.events import ignore
from p2pqwen.library.home import Home
from p2pqwen.operations.fetch.request import FetchRequest
from p2pqwen.operations.node.limits import NO_LIMITS, Allowance
from p2pqwen.swarm.settings import SwarmSettings
from p2pqwen.values.network_choices import UNRESTRICTED

TARGET = "Qwen/Tiny@" + "c0ffee" * 6 + "c0de"


def settings_of(monkeypatch, app: App, request: FetchRequest, allowed: Allowance = NO_LIMITS) -> SwarmSettings:
    """The settings of the session in which a request is carried out."""
    seen: list[SwarmSettings] = []

    def stopped(_target, _options, context, *_, **__):
        seen.append(context.network)
        raise NotFoundError("enough was seen")

    monkeypatch.setattr(fetching, "fetch", stopped)
    with pytest.raises(NotFoundError, match="enough was seen"):
        fetching.carry_out(app, request, ignore, allowed=allowed)
    return seen[0]


@pytest.mark.parametrize("lan", [True, False])
def test_a_fetch_speaks_to_private_networks_where_the_configuration_lets_it(tmp_path, monkeypatch, lan):
    app = App(Config(Home(tmp_path), network=NetworkConfig(lan=lan)))
    assert settings_of(monkeypatch, app, FetchRequest(TARGET)).allows_lan is lan


@pytest.mark.parametrize(
    ("asked", "allowed", "expected"),
    [
        ((0, 0), NO_LIMITS, (0, 0)),
        ((5, 7), NO_LIMITS, (5, 7)),
        ((5, 7), Allowance(download=6, upload_of_fetches=9), (5, 6)),
        ((0, 0), Allowance(download=6, upload_of_fetches=9), (9, 6)),
    ],
)
def test_a_request_keeps_its_choices_under_the_lower_of_two_rates(tmp_path, monkeypatch, asked, allowed, expected):
    choices = UNRESTRICTED.without("lsd", "upnp").limited(upload=asked[0], download=asked[1])
    settings = settings_of(monkeypatch, App(Config(Home(tmp_path))), FetchRequest(TARGET, choices=choices), allowed)
    assert settings.choices == choices.limited(upload=expected[0], download=expected[1])
    assert not settings.accepts_peers
