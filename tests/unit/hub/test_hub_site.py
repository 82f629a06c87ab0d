"""A Hub's address and the web seeds it offers."""

from __future__ import annotations

import pytest

from p2pqwen.app import App
from p2pqwen.config.settings import Config, HubConfig
from p2pqwen.errors import UsageError
from p2pqwen.hub.hub_site import HubSite
from p2pqwen.library.home import Home
from p2pqwen.modelscope.site import ModelScopeSite
from p2pqwen.values.hub_token import HubToken
from p2pqwen.values.origin_site import OriginSeeds, Sites
from p2pqwen.values.snapshot_id import RepoId, RepoKind


def test_the_hubs_candidates():
    whole, partial = (
        "https://hub.example/Qwen/Qwen3-0.6B/resolve/",
        "https://hub.example/api/resolve-cache/models/Qwen/Qwen3-0.6B/",
    )
    for endpoint in ("https://hub.example", "https://hub.example/"):
        assert HubSite(endpoint).web_seeds(RepoId("Qwen/Qwen3-0.6B")) == OriginSeeds(whole, partial)
    assert OriginSeeds(whole, partial).all == (whole, partial)
    assert OriginSeeds(whole).all == (whole,)


def test_a_dataset_has_bases_of_its_own():
    found = HubSite("https://hub.example").web_seeds(RepoId("Org/Rows", RepoKind.DATASET))
    assert found.whole == "https://hub.example/datasets/Org/Rows/resolve/"
    assert found.partial == "https://hub.example/api/resolve-cache/datasets/Org/Rows/"


def test_a_token_is_not_shown():
    assert "secret" not in repr(HubSite("https://hub.example", "secret"))


def test_only_what_reads_with_the_token_asks_for_it(tmp_path):
    """A token that can be none stops no publishing, which asks as a stranger would."""
    app = App(Config(Home(tmp_path), hub=HubConfig(given_token=HubToken("two words", "a file"))))
    assert app.site == Sites(HubSite(app.config.hub.endpoint), ModelScopeSite(app.config.modelscope.endpoint))
    with pytest.raises(UsageError):
        _ = app.access
