"""One world for all tests of the command line; they leave it as it is."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulators.hub import HubSimulator
from tests.support.nodes import seeding
from tests.support.world import REPO, World


@pytest.fixture(scope="session")
def world(tmp_path_factory) -> Iterator[World]:
    with HubSimulator() as hub:
        made = World(tmp_path_factory.mktemp("world"), hub)
        with seeding(made.publisher) as (_, port):
            made.peer = f"127.0.0.1:{port}"
            made.reader.ok("fetch", REPO, "--peer", made.peer)
            yield made
