"""Who may ask at the Hub's place."""

from __future__ import annotations

import base64

import pytest

from p2pqwen.errors import UsageError
from p2pqwen.server.hub_access import HubAccess, parse_networks

TOKEN = "0123456789abcdef"
BASIC = base64.b64encode(f"user:{TOKEN}".encode()).decode()
OPEN = HubAccess(TOKEN, parse_networks(["192.168.1.0/24", "fd00::1"]), frozenset({"nas.local"}))


@pytest.mark.parametrize(
    ("access", "peer", "headers", "status"),
    [
        (HubAccess(), "127.0.0.1", {}, None),
        (HubAccess(), "::1", {}, None),
        (HubAccess(), "::ffff:127.0.0.1", {}, None),
        (HubAccess(), "192.168.1.7", {}, 403),
        (HubAccess(), "", {}, 403),
        (OPEN, "192.168.1.7", {}, None),
        (OPEN, "fd00::1%eth0", {}, None),
        (OPEN, "192.168.2.7", {}, 401),
        (OPEN, "192.168.2.7", {"Authorization": f"Bearer {TOKEN}"}, None),
        (OPEN, "192.168.2.7", {"Authorization": f"Basic {BASIC}"}, None),
        (OPEN, "192.168.2.7", {"Authorization": f"Bearer {TOKEN}x"}, 401),
        (OPEN, "192.168.2.7", {"Authorization": "Basic !"}, 401),
        (OPEN, "192.168.2.7", {"Authorization": "Bearer \udcff"}, 401),
        (OPEN, "192.168.1.7", {"Host": "nas.local:8080"}, None),
        (OPEN, "192.168.1.7", {"Host": "NAS.local"}, None),
        (OPEN, "192.168.1.7", {"Host": "evil.example"}, 403),
        (OPEN, "127.0.0.1", {"Host": "localhost.evil.example"}, 403),
        (OPEN, "127.0.0.1", {"Host": ""}, 403),
        (OPEN, "127.0.0.1", {"Origin": "null"}, 403),
        (OPEN, "127.0.0.1", {"Sec-Fetch-Site": "same-site"}, 403),
        (OPEN, "127.0.0.1", {"Sec-Fetch-Site": "same-origin"}, None),
    ],
)
def test_requests(access, peer, headers, status):
    refused = access.refusal({"Host": "127.0.0.1:8080", **headers}, peer)
    assert (None if refused is None else refused.status) == status


@pytest.mark.parametrize("text", ["", "nas", "192.168.1.0/33", "10.0.0.0/8 "])
def test_what_is_no_network(text):
    with pytest.raises(UsageError):
        parse_networks([text])
