"""The local Hub's Xet against the real client: `hf download` with hf_xet, as users have it, is refused nothing."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.simulators.hub import HubSimulator
from tests.support.models import ATTRIBUTES

REPO = "Qwen/Big"
WEIGHTS = "model.safetensors"
HF = Path(sys.executable).with_name("hf")


@pytest.fixture
def hub(tmp_path):
    folder = tmp_path / "source"
    folder.mkdir()
    (folder / ".gitattributes").write_bytes(ATTRIBUTES)
    (folder / WEIGHTS).write_bytes(os.urandom(70_000_000))  # two xorbs
    hub = HubSimulator(tokens=["hf_right"])
    hub.add(REPO, folder)
    with hub:
        yield hub


def download(hub: HubSimulator, tmp_path: Path, **environment: str) -> str:
    """Run the real client and return the SHA-256 of what it brought."""
    settings = {"HF_ENDPOINT": hub.endpoint, "HF_HOME": str(tmp_path / "hf"), "HF_XET_CLIENT_RETRY_BASE_DELAY": "50ms"}
    target = tmp_path / "target"
    done = subprocess.run(
        [HF, "download", REPO, WEIGHTS, "--local-dir", target],
        env={**os.environ, **settings, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return hashlib.sha256((target / WEIGHTS).read_bytes()).hexdigest()


@pytest.mark.parametrize("versions", [{"v1", "v2"}, {"v1"}])
def test_a_file_in_two_xorbs(hub, tmp_path, versions):
    hub.xet.versions = versions
    file = hub.repository(REPO).lfs_file
    sha256 = download(hub, tmp_path)
    assert file(sha256) is not None
    asked = [call.url.split("/")[3] for call in hub.calls(kind="cas") if call.status == 200]
    assert asked[0] == max(versions)
    assert hub.count(kind="xorb") == 2
    assert {call.range for call in hub.calls(kind="xorb")} == {"bytes=0-65543999", "bytes=0-4464551"}
    assert hub.count(kind="cdn") == 0


def test_each_part_has_a_host_of_its_own_and_the_hubs_token_stays_at_the_hub(hub, tmp_path):
    hub.repository(REPO).private = True
    download(hub, tmp_path, HF_TOKEN="hf_right")
    for kind in ("cas", "xorb"):
        assert not [call for call in hub.calls(kind=kind) if "hf_right" in str(call.authorization)], kind
    assert {call.authorization for call in hub.calls(kind="xet-token")} == {"Bearer hf_right"}
    ports = {call.url.split("/")[2] for kind in ("resolve", "cas", "xorb") for call in hub.calls(kind=kind)}
    assert len(ports) == 3


def test_a_signed_range_that_is_over_is_signed_again(hub, tmp_path):
    hub.fault("403", on=["xorb"], times=1)
    download(hub, tmp_path)
    assert hub.count(kind="cas") > 1


@pytest.mark.parametrize("kind", ["cas", "xorb"])
@pytest.mark.parametrize("fault", ["500", "429", "refuse", "reset"])
def test_what_passes_is_outlived(hub, tmp_path, kind, fault):
    hub.fault(fault, on=[kind], times=1)
    assert hub.repository(REPO).lfs_file(download(hub, tmp_path)) is not None


def test_a_small_file_comes_over_xet_too(hub, tmp_path):
    """The real client asks no size: whatever is listed with a Xet hash it fetches there."""
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / ".gitattributes").write_bytes(ATTRIBUTES)
    (folder / WEIGHTS).write_bytes(os.urandom(100_000))
    hub.add(REPO, folder)
    assert hub.repository(REPO).lfs_file(download(hub, tmp_path)) is not None
    assert hub.count(kind="xorb") == 1
    assert hub.count(kind="cdn", method="GET") == 0


def test_a_hub_without_xet_offers_none(hub, tmp_path):
    hub.xet.served = False
    download(hub, tmp_path)
    assert hub.count(kind="cdn", method="GET") == 1
    assert not [call for kind in ("xet-token", "cas", "xorb") for call in hub.calls(kind=kind)]
