"""Which proxy a URL is asked through."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from p2pqwen.errors import UsageError
from p2pqwen.values.proxy import Proxies, Proxy

A, B = "http://a.example:3128", "http://b.example:8080"


@pytest.mark.parametrize(
    ("environment", "url", "chosen"),
    [
        ({}, "http://hub.example/", None),
        ({"http_proxy": A}, "http://hub.example/", A),
        ({"http_proxy": A}, "https://hub.example/", None),
        ({"HTTPS_PROXY": A}, "https://hub.example/", A),
        ({"HTTP_PROXY": A, "http_proxy": B}, "http://hub.example/", B),
        ({"http_proxy": " ", "HTTP_PROXY": A}, "http://hub.example/", A),
        ({"ALL_PROXY": A, "https_proxy": B}, "http://hub.example/", A),
        ({"ALL_PROXY": A, "https_proxy": B}, "https://hub.example/", B),
        ({"all_proxy": "a.example:3128"}, "http://hub.example/", A),
        ({"all_proxy": f" {A}/\r"}, "http://hub.example/", A),
        ({"all_proxy": A}, "http://127.0.0.1:8000/", None),
        ({"all_proxy": A}, "http://localhost/", None),
        ({"all_proxy": A}, "http://[::1]:80/", None),
        ({"all_proxy": A}, "http://192.168.1.1/", A),
        ({"all_proxy": A, "no_proxy": "*"}, "http://hub.example/", None),
        ({"all_proxy": A, "no_proxy": "hub.example"}, "http://hub.example/", None),
        ({"all_proxy": A, "no_proxy": "hub.example"}, "http://www.hub.example/", None),
        ({"all_proxy": A, "no_proxy": ".hub.example"}, "http://www.hub.example/", None),
        ({"all_proxy": A, "no_proxy": "*.hub.example"}, "http://www.hub.example/", None),
        ({"all_proxy": A, "NO_PROXY": "x, HUB.example"}, "http://Hub.Example./", None),
        ({"all_proxy": A, "no_proxy": "b.example"}, "http://hub.example/", A),
        ({"all_proxy": A, "no_proxy": "hub.example:8080"}, "http://hub.example/", A),
        ({"all_proxy": A, "no_proxy": "hub.example:8080"}, "http://hub.example:8080/", None),
        ({"all_proxy": A, "no_proxy": "hub.example:443"}, "https://hub.example/", None),
        ({"all_proxy": A, "no_proxy": "10.0.0.0/8"}, "http://10.1.2.3/", None),
        ({"all_proxy": A, "no_proxy": "10.0.0.0/8"}, "http://11.1.2.3/", A),
        ({"all_proxy": A, "no_proxy": "10.1.2.3"}, "http://10.1.2.3:99/", None),
        ({"all_proxy": A, "no_proxy": "2001:db8::/32"}, "http://[2001:db8::1]/", None),
        ({"all_proxy": A, "no_proxy": "[2001:db8::1]"}, "http://[2001:db8::1]/", None),
        ({"all_proxy": A, "no_proxy": "3"}, "http://10.1.2.3/", A),
    ],
)
def test_the_choice(environment, url, chosen):
    found = Proxies.of(environment).choose(url)
    assert (None if found is None else found.address) == chosen


def test_credentials_are_kept_and_not_shown():
    proxies = Proxies.of({"all_proxy": "socks5h://me:p%40ss%3Aword@[::1]"})
    proxy = proxies.choose("https://hub.example/")
    assert proxy == Proxy("socks5h", "::1", 1080, "me", "p@ss:word")
    assert proxy.url == "socks5h://me:p%40ss%3Aword@[::1]:1080"
    assert proxies.passwords == ("p@ss:word",)
    for shown in (proxy.address, repr(proxy), repr(proxies)):
        assert "ss:word" not in shown
        assert "ss%3A" not in shown


@pytest.mark.parametrize(
    "bad",
    [
        "ftp://a.example", "socks4://a.example", "http://", "http://me:secret@", "http://me:secret@a.example:0",
        "me:secret@a.example:99999", "http://me:secret@a.example/path", "http://me:secret@a b", "//me:secret@x?y",
    ],
)  # fmt: skip
def test_what_is_no_proxy_is_named_without_its_password(bad):
    with pytest.raises(UsageError, match=r"all_proxy names no (usable )?proxy") as caught:
        Proxies.of({"all_proxy": bad}).choose("http://hub.example/")
    assert "secret" not in caught.value.message


@given(st.text(max_size=40), st.text(max_size=40))
def test_junk_never_raises_anything_else(text, url):
    try:
        Proxies.of({"all_proxy": text, "no_proxy": text}).choose(f"http://{url}")
    except (UsageError, ValueError):
        return
