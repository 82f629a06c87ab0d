"""What search engines and catalogues of research data read in the pages: schema.org and DCAT as JSON-LD."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from tests.support.catalogue import CatalogueSite, many

MIRROR = "https://mirror.example/x/"


def metadata(page: Path) -> Any:
    (text,) = re.findall(r'<script type="application/ld\+json">(.*?)</script>', page.read_text(), re.DOTALL)
    return json.loads(text)


@pytest.fixture(params=[(), (MIRROR,)], ids=["without a mirror", "with a mirror"])
def site(request, tmp_path) -> CatalogueSite:
    made = CatalogueSite(tmp_path)
    made.publish(many(3, scale=1e-6), mirrors=request.param)
    return made


def test_the_list_is_a_catalogue(site):
    said, mirrors = metadata(site.out / "index.html"), site.accepted.document.mirrors
    assert said["@type"] == ["DataCatalog", "dcat:Catalog"]
    assert said["identifier"] == str(site.publisher.id)
    assert said.get("url") == (MIRROR if mirrors else None)


def test_a_model_is_a_dataset_of_it_with_its_downloads(site):
    for entry in site.accepted.document.entries:
        said = metadata(site.out / entry.id.repo.text / "index.html")
        assert said["@type"] == ["Dataset", "dcat:Dataset"]
        assert said["name"] == entry.id.repo.text
        assert f"urn:btih:{entry.infohash.v1}" in said["identifier"]
        urls = [entry.magnet, *([MIRROR + entry.torrent] if site.accepted.document.mirrors else [])]
        assert [one["contentUrl"] for one in said["distribution"]] == urls
        assert [one["dcat:downloadURL"]["@id"] for one in said["distribution"]] == urls
        assert {one["dcat:byteSize"] for one in said["distribution"]} == {entry.size}
        assert said["includedInDataCatalog"].get("@id") == (MIRROR if site.accepted.document.mirrors else None)


def test_terms_beside_schema_org_have_their_vocabularies(site):
    said = metadata(site.out / "index.html")
    known = said["@context"][1]
    page = next(site.out.glob("*/*/index.html")).read_text()
    assert set(re.findall(r'"(dcat|dcterms|[a-z]+):[A-Z]?[A-Za-z]+":', page)) <= set(known)


def test_the_sitemap_names_every_page_where_an_address_is_known(site):
    path = site.out / "sitemap.xml"
    if not site.accepted.document.mirrors:
        assert not path.exists()
        return
    found = {one.text for one in ET.parse(path).iter("{http://www.sitemaps.org/schemas/sitemap/0.9}loc")}
    pages = {f"{MIRROR}{entry.id.repo.text}/index.html" for entry in site.accepted.document.entries}
    assert found == {f"{MIRROR}index.html", *pages}
