"""Attacks 15 to 20: on the parser. (17 to 19 over a real connection are in tests/loopback/test_mirrors.py.)"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import pytest

from p2pqwen.index.acceptance import TrustedState, accept
from p2pqwen.index.document import MAX_INDEX_SIZE, MAX_VALUES
from p2pqwen.values.strict_json import MAX_INTEGER
from tests.attacks.victim import NOW, Victim, edited
from tests.support.publishing import make_entry, make_index


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


BYTES: dict[str, Callable[[bytes], bytes]] = {
    "15-repeated-outer-key": lambda data: data.rstrip()[:-1] + b', "signatures": []}',
    "15-repeated-inner-key": lambda data: data.replace(b'"version": 6', b'"version": 5, "version": 6'),
    "15-repeated-key-escaped": lambda data: data.replace(b'"version": 6', b'"versio\\u006e": 5, "version": 6'),
    "16-not-an-object": lambda data: b"[" + data + b"]",
    "16-brackets": lambda data: b"[" * 1_000_000,
    "16-objects": lambda data: b'{"a":' * 100_000,
    "16-float": lambda data: data.replace(b'"version": 6', b'"version": 6.0'),
    "16-exponent": lambda data: data.replace(b'"version": 6', b'"version": 6e0'),
    "16-nan": lambda data: data.replace(b'"version": 6', b'"version": NaN'),
    "16-infinity": lambda data: data.replace(b'"version": 6', b'"version": Infinity'),
    "16-minus-zero": lambda data: data.replace(b'"version": 6', b'"version": -0'),
    "16-a-million-digits": lambda data: data.replace(b'"version": 6', b'"version": ' + b"9" * 1_000_000),
    "16-lone-surrogate": lambda data: data.replace(b'"dht"', b'"\\ud800": 0, "dht"'),
    "16-byte-order-mark": lambda data: b"\xef\xbb\xbf" + data,
    "16-nul-byte": lambda data: data.replace(b'"index"', b'"ind\x00ex"'),
    "16-not-utf-8": lambda data: data.replace(b'"dht"', b'"\xff": 0, "dht"'),
    "16-utf-16": lambda data: data.decode().encode("utf-16"),
    "16-truncated": lambda data: data[: len(data) // 2],
    "16-trailing-bytes": lambda data: data + b"{}",
    "16-empty": lambda data: b"",
    "16-comment": lambda data: b"// index\n" + data,
    "19-html": lambda data: b"<!DOCTYPE html><html><body>404, but with status 200</body></html>",
}


@pytest.mark.parametrize("change", BYTES.values(), ids=BYTES.keys())
def test_bytes_that_are_no_index(victim: Victim, change):
    victim.refuses(change(victim.next_file()), step=1)


FIELDS: dict[str, tuple[dict[str, Any], int]] = {
    "16-version-2^53": ({"version": 2**53}, 1),
    "16-version-0": ({"version": 0}, 1),
    "16-version-text": ({"version": "6"}, 1),
    "16-version-true": ({"version": True}, 1),
    "16-epoch-negative": ({"epoch": -1}, 1),
    "16-nesting": ({"more": nested(20)}, 1),
    "16-issued-a-number": ({"issued": 1795467600}, 7),
    "16-issued-with-offset": ({"issued": "2026-11-23T21:00:00+00:00"}, 7),
    "16-issued-lower-case": ({"issued": "2026-11-23t21:00:00z"}, 7),
    "16-issued-no-such-day": ({"issued": "2026-02-30T21:00:00Z"}, 7),
    "16-entries-null": ({"entries": None}, 7),
    "16-entries-of-text": ({"entries": ["Qwen/Tiny"]}, 7),
    "16-spec-2": ({"spec": 2}, 1),
    "16-spec-true": ({"spec": True}, 1),
}


@pytest.mark.parametrize(("changes", "step"), FIELDS.values(), ids=FIELDS.keys())
def test_fields_that_are_wrong_although_signed(victim: Victim, changes, step):
    if step == 1:  # judged before signatures are, and some of it nobody could sign
        data = edited(victim.next_file(), lambda value: value["signed"].update(changes))
    else:
        data = victim.next_file(**changes)
    victim.refuses(data, step=step)


def test_16_17_a_file_over_the_limit_is_not_parsed(victim: Victim):
    victim.source.write_bytes(b"{")
    os.truncate(victim.source, MAX_INDEX_SIZE + 1)  # a hole, which takes no room
    (result,) = victim.update().sources
    assert (result.state, result.step) == ("refused", 1)
    assert "too large" in result.detail


@pytest.mark.parametrize("value", ["[],", "{},", '"ab",', "1000,"], ids=lambda value: f"16-values-{value[:-1]}")
def test_a_file_of_very_many_small_values_is_not_parsed(victim: Victim, value):
    """Within the limit of bytes, such a file would take gigabytes of memory: three bytes become seventy."""
    bomb = b'"dht": null, "more": [' + value.encode() * MAX_VALUES + b"0]"
    result = victim.refuses(victim.next_file().replace(b'"dht": null', bomb), step=1)
    assert "too many values" in result.detail


def test_20_unknown_fields_are_kept_and_ignored(victim: Victim):
    signed = victim.next(colour="blue")
    signed["entries"] = [{**row, "rating": {"stars": 5}} for row in signed["entries"]]
    gone = make_entry(9).id
    row = {"repo": gone.repo.text, "commit": str(gone.commit), "reason": "license", "by": "Bob"}
    signed |= {"withdrawn": [row], "dht": {"key": "0" * 64, "salt": "s", "since": 2026}}
    data = make_index(victim.roots, signed, ("index1", "index3"))
    data = edited(data, lambda value: value.update(note="outside the signature"))
    victim.accepts(data)
    document = accept(data, TrustedState(victim.publisher), NOW).document
    assert document.to_json() == signed


def test_20_an_unknown_field_is_covered_by_the_signature(victim: Victim):
    data = victim.next_file(colour="blue")
    victim.refuses(edited(data, lambda value: value["signed"].update(colour="red")), step=4)


def test_16_the_largest_version_is_still_a_version(victim: Victim):
    victim.accepts(victim.next_file(version=MAX_INTEGER))
