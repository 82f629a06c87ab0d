"""Attacks 1 to 14: on signatures."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from typing import Any

import pytest

from p2pqwen.index.document import INDEX_TYPE, encode_file
from p2pqwen.index.root import INDEX_ROLE, ROOT_TYPE, Role, parse_root
from p2pqwen.signing.envelope import sign
from p2pqwen.values.strict_json import canonical
from tests.attacks.victim import RULES, SIGNERS, Victim, edited
from tests.support.publishing import (
    Rules,
    chain,
    key,
    keyid,
    make_document,
    make_index,
    make_root,
    sign_index,
    sign_root,
)

L = 2**252 + 27742317777372353535851937790883648493
SMALL_ORDER_KEY = (1).to_bytes(32, "little")


def signatures(victim: Victim, change: Callable[[list[dict[str, Any]]], Any]) -> bytes:
    """The honest next version with its list of signatures replaced."""
    return edited(victim.next_file(), lambda value: value.update(signatures=change(value["signatures"])))


def malleable(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """S + L instead of S: the same signature to a verifier that does not reduce."""
    raw = base64.b64decode(rows[0]["sig"])
    other = raw[:32] + (int.from_bytes(raw[32:], "little") + L).to_bytes(32, "little")
    return [{**rows[0], "sig": base64.b64encode(other).decode()}, *rows[1:]]


def resized(size: int) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    def change(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        raw = (base64.b64decode(rows[0]["sig"]) + b"\0")[:size]
        return [{**rows[0], "sig": base64.b64encode(raw).decode()}, *rows[1:]]

    return change


def spelled(spell: Callable[[str], str]) -> Callable[[list[dict[str, Any]]], list[dict[str, Any]]]:
    return lambda rows: [{**rows[0], "sig": spell(rows[0]["sig"])}, *rows[1:]]


def with_stray_bits(text: str) -> str:
    """86 characters and `==`: the last one carries 4 bits that no byte has."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    return text[:85] + alphabet[alphabet.index(text[85]) | 1] + "=="


REFUSED = {
    "01-no-signatures": lambda rows: [],
    "01-signatures-null": lambda rows: None,
    "01-signatures-an-object": lambda rows: {"0": rows[0]},
    "03-one-of-two": lambda rows: rows[:1],
    "05-one-signature-twice": lambda rows: [rows[0], rows[0]],
    "06-one-signature-under-two-keyids": lambda rows: [rows[0], {**rows[0], "keyid": str(keyid("index2"))}],
    "07-one-keyid-two-signatures": lambda rows: [rows[0], {**rows[1], "keyid": rows[0]["keyid"]}],
    "12-url-safe-base64": spelled(lambda text: text.replace("+", "-").replace("/", "_").rstrip("=") + "__"),
    "12-unpadded": spelled(lambda text: text.rstrip("=")),
    "12-trailing-newline": spelled(lambda text: text + "\n"),
    "12-blank-inside": spelled(lambda text: text[:10] + " " + text[10:]),
    "12-stray-bits": spelled(with_stray_bits),
    "12-hexadecimal": spelled(lambda text: base64.b64decode(text).hex()),
    "12-keyid-upper-case": lambda rows: [{**rows[0], "keyid": rows[0]["keyid"].upper()}, rows[1]],
    "13-s-plus-l": malleable,
    "13-63-bytes": resized(63),
    "13-65-bytes": resized(65),
    "13-all-zero": lambda rows: [{**rows[0], "sig": base64.b64encode(bytes(64)).decode()}, rows[1]],
}


@pytest.mark.parametrize("change", REFUSED.values(), ids=REFUSED.keys())
def test_too_few_good_signatures(victim: Victim, change):
    victim.refuses(signatures(victim, change), step=4)


ACCEPTED = {
    "09-threshold-and-garbage": lambda rows: [{"keyid": "?", "sig": "garbage"}, *rows],
    "09-threshold-and-empty": lambda rows: [{}, *rows, {"keyid": rows[0]["keyid"], "sig": ""}],
    "09-threshold-and-no-object": lambda rows: [None, 7, "x", *rows],
    "09-threshold-and-a-stranger": lambda rows: [*rows, {**rows[0], "keyid": str(keyid("stranger"))}],
    "09-threshold-and-a-bad-third": lambda rows: [*rows, {**rows[0], "keyid": str(keyid("index3"))}],
    "07-threshold-and-a-repetition": lambda rows: [*rows, rows[0]],
}


@pytest.mark.parametrize("change", ACCEPTED.values(), ids=ACCEPTED.keys())
def test_bad_signatures_beside_enough_good_ones_harm_nothing(victim: Victim, change):
    victim.accepts(signatures(victim, change))


@pytest.mark.parametrize(
    "signers",
    [
        pytest.param(("stranger", "stranger2"), id="02-strangers"),
        pytest.param(("root1", "root2"), id="02-root-keys-are-no-index-keys"),
        pytest.param(("index1", "stranger"), id="03-one-of-two-and-a-stranger"),
    ],
)
def test_wrong_keys(victim: Victim, signers):
    victim.refuses(victim.next_file(signers), step=4)


def test_10_a_signature_for_another_payload_type_does_not_count(victim: Victim):
    signed = victim.next()
    rows = [sign(ROOT_TYPE, canonical(signed), key(name)) for name in SIGNERS]
    victim.refuses(encode_file(victim.roots, signed, rows), step=4)


@pytest.mark.parametrize("document_type", ["root", "manifest", "Index", None])
def test_10_a_document_of_another_type_is_no_index(victim: Victim, document_type):
    victim.refuses(victim.next_file(type=document_type), step=1)


def test_10_a_root_signed_by_index_keys_is_no_root(victim: Victim):
    root = make_root(RULES, victim.roots[0].root)
    forged = [sign(INDEX_TYPE, root.payload, key(name)) for name in ("root1", "root2")]
    roots = (*victim.roots, type(victim.roots[0])(root, forged))
    victim.refuses(make_index(roots, make_document(roots, 6), SIGNERS), step=3)


def test_11_printed_differently_the_same_document_is_the_same(victim: Victim):
    value = json.loads(victim.good)
    again = json.dumps(value, indent=7, ensure_ascii=True, sort_keys=True).encode()
    result = victim.offer(again)
    assert result.state == "unchanged"


def test_11_another_meaning_in_the_same_clothes_is_refused(victim: Victim):
    data = edited(victim.next_file(), lambda value: value["signed"]["entries"].pop())
    victim.refuses(data, step=4)


def test_14_what_was_verified_is_what_is_read(victim: Victim):
    """A second `signed` could be read by one parser and verified by another: repeated keys are refused."""
    data = victim.next_file()
    evil = json.dumps(victim.next(entries=[])).encode()
    victim.refuses(data.rstrip()[:-1] + b', "signed": ' + evil + b"}", step=1)


# Roots whose rules are wrong by themselves.


def broken_root(change: Callable[[dict[str, Any]], Any]) -> Callable[[Victim], bytes]:
    """An otherwise honest root 2 that breaks the format; signed by everybody."""

    def make(victim: Victim) -> bytes:
        document = json.loads(json.dumps(make_root(RULES, victim.roots[0].root).document))
        change(document)
        rows = [sign(ROOT_TYPE, canonical(document), key(name)) for name in (*RULES.root, "stranger")]
        signed = victim.next(root_version=2)
        outer = {
            "roots": [victim.roots[0].to_json(), {"signed": document, "signatures": rows}],
            "signed": signed,
            "signatures": sign_index(signed, RULES.index),
        }
        return json.dumps(outer).encode()

    return make


def add_key(document: dict[str, Any], name: str, public: bytes) -> None:
    document["keys"][name] = {"public": base64.b64encode(public).decode(), "label": name}
    document["roles"]["index"]["keyids"].append(name)


BROKEN_ROOTS = {
    "04-threshold-above-keys": lambda root: root["roles"]["index"].update(threshold=4),
    "04-threshold-zero": lambda root: root["roles"]["index"].update(threshold=0),
    "04-threshold-negative": lambda root: root["roles"]["root"].update(threshold=-1),
    "04-threshold-true": lambda root: root["roles"]["index"].update(threshold=True),
    "04-no-keys": lambda root: root["roles"]["index"].update(keyids=[]),
    "06-keyid-twice-in-a-role": lambda root: root["roles"]["index"]["keyids"].append(str(keyid("index1"))),
    "06-one-key-two-names": lambda root: add_key(root, "0" * 64, key("index1").public.raw),
    "08-keyid-of-another-key": lambda root: add_key(root, str(keyid("stranger")), key("stranger2").public.raw),
    "08-unknown-keyid": lambda root: root["roles"]["index"]["keyids"].append("0" * 64),
    "13-key-empty": lambda root: add_key(root, str(keyid("stranger")), b""),
    "13-key-of-31-bytes": lambda root: add_key(root, "1" * 64, bytes(31)),
}


@pytest.mark.parametrize("change", BROKEN_ROOTS.values(), ids=BROKEN_ROOTS.keys())
def test_roots_that_break_their_format(victim: Victim, change):
    victim.refuses(broken_root(change)(victim), step=1)


def test_13_a_key_of_small_order_is_refused_with_its_right_keyid(victim: Victim):
    from p2pqwen.values.digest import Sha256

    name = str(Sha256.of(SMALL_ORDER_KEY))
    result = victim.refuses(broken_root(lambda root: add_key(root, name, SMALL_ORDER_KEY))(victim), step=1)
    assert "small order" in result.detail


def test_the_honest_root_that_the_broken_ones_come_from_is_accepted(victim: Victim):
    data = broken_root(lambda root: None)(victim)
    assert victim.offer(data).state == "newer"
    assert victim.version() == (0, 6)


def test_06_a_key_in_both_roles_counts_for_each(tmp_path):
    rules = Rules(root=("both",), index=("both",))
    root = parse_root(make_root(rules).document)
    assert root.roles[INDEX_ROLE] == Role((keyid("both"),), 1)
    assert sign_root(root, ["both"]).root.digest == chain(rules)[0].root.digest
