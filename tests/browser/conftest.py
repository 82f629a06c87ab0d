"""One browser and one honest site for the tests of the catalogue."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

import pytest

from tests.support.browser import Reader, chromium
from tests.support.catalogue import CatalogueSite, Model, many
from tests.support.publishing import NOW


@pytest.fixture(scope="package")
def browser() -> Iterator:
    with chromium() as started:
        yield started


@pytest.fixture
def reader(browser) -> Iterator[Reader]:
    someone = Reader(browser)
    yield someone
    someone.close()


def some_models() -> list[Model]:
    """Twelve models, one of them in two revisions."""
    models = many(12)
    earlier = {"config.json": 5, "model.safetensors": 1_000_000_000}
    older = replace(models[0], message="earlier", added=NOW - timedelta(days=90), sizes=earlier)
    return [*models, older]


@pytest.fixture(scope="package")
def honest_site(tmp_path_factory) -> CatalogueSite:
    """What `site` is a copy of."""
    made = CatalogueSite(tmp_path_factory.mktemp("honest"))
    made.publish(some_models())
    return made


@pytest.fixture
def site(tmp_path, honest_site) -> CatalogueSite:
    return honest_site.copy(tmp_path)
