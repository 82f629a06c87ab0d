"""Change an index file as somebody would who holds the keys: bytes at random hardly ever get past a signature.

A file is changed in its tree; then, as chance has it, left as it is, signed again, or mended: chain linked and signed
again, header fitted to it. What comes of that reaches every rule of acceptance, the last one too.
"""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from p2pqwen.errors import FormatError
from p2pqwen.index.document import INDEX_TYPE
from p2pqwen.index.root import ROOT_TYPE
from p2pqwen.signing.envelope import sign
from p2pqwen.signing.keys import PrivateKey
from p2pqwen.values.digest import Sha256
from p2pqwen.values.strict_json import canonical

VECTORS = Path(__file__).parents[1] / "vectors"
KEYS = [
    PrivateKey.from_seed(bytes.fromhex(row["seed"])) for row in json.loads((VECTORS / "keys.json").read_text()).values()
]
EDGES: list[Any] = [
    None,
    True,
    False,
    0,
    1,
    -1,
    2,
    7,
    255,
    16384,
    262144,
    2**31,
    2**53 - 1,
    2**53,
    -(2**53),
    "",
    " ",
    "x",
    "0" * 40,
    "0" * 64,
    "f" * 64,
    "main",
    "..",
    "a/b",
    "A/b.git",
    "con/x",
    "\u202e",
    "\x00",
    "\ufeff",
    "\u00e9",
    "e\u0301",
    "\U0001f600",
    "2026-11-23T21:00:00Z",
    "2026-02-30T00:00:00Z",
    "0000-01-01T00:00:00Z",
    "9999-12-31T23:59:60Z",
    "https://a.example/",
    "http://[::1]/",
    "https://xn--a/",
    "https://a/..",
    "https://a/?q",
    "https://u@a/",
    "https://a:99999/",
    "HTTPS://a/",
    "https://a..b/%zz",
    "magnet:?",
    "proven",
    "gone",
    [],
    {},
    [[]],
    {"": 0},
    [0],
    ["https://a.example/"],
    {"key": "0" * 64, "salt": "s"},
]
SCRAPS = ["", " ", "/", "..", "%", "%41", "+", "&", "&x.pe=10.0.0.1%3A1", "&tr=udp%3A%2F%2Ft%3A1", "&dn=x", "&so=1",
          "&xs=https%3A%2F%2Fa%2Fb%3Fq", "=", "\u202e", "\n", "0", "A", "-", "_", "==", "Z", ".git"]  # fmt: skip


def damaged(data: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    """Return a file with a few of its bytes flipped, dropped, or put in from elsewhere; never an empty one."""
    changed = bytearray(data)
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(changed) or 1)
        match chance.randrange(4):
            case 0 if changed:
                changed[at] ^= 1 << chance.randrange(8)
            case 1:
                del changed[at : at + chance.randrange(1, 40)]
            case 2:
                changed[at:at] = chance.choice([b"[", b"{", b'"', b",", b"0", b"-", b"null", b"\\u0000", b"\xff"])
            case _:
                other = chance.choice(others)
                cut = chance.randrange(len(other))
                changed[at:at] = other[cut : cut + chance.randrange(1, 200)]
    return bytes(changed) or b"0"


def mutate(data: bytes, chance: random.Random) -> bytes:
    """Return an index file that is a changed one; bytes that are no JSON object come back as they were."""
    try:
        outer = json.loads(data)
    except (ValueError, RecursionError):
        return data
    if not isinstance(outer, dict):
        return data
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        change(outer, chance)
    try:
        match chance.randrange(4):
            case 0:
                pass
            case 1:
                mend(outer)
            case _:
                resign(outer)
        return json.dumps(outer, indent=chance.choice((None, 1)), ensure_ascii=chance.random() < 0.2).encode()
    except (FormatError, TypeError, LookupError, AttributeError, UnicodeEncodeError):
        return json.dumps(outer).encode()


def change(outer: Any, chance: random.Random) -> None:
    """Change one place of a tree."""
    places = list(_places(outer))
    if not places:
        return
    holder, key = chance.choice(places)
    value = copy(holder[key])
    match chance.randrange(6):
        case 0:
            holder[key] = copy(chance.choice(EDGES))
        case 1:
            del holder[key]
        case 2 if isinstance(holder, list):
            holder.insert(chance.randrange(len(holder) + 1), value)
        case 2:
            holder[chance.choice(("colour", "", "\ufb33", "\U0001f600", str(key).upper()))] = value
        case 3:
            other_holder, other_key = chance.choice(places)
            holder[key] = copy(other_holder[other_key])
        case _ if isinstance(value, str):
            at = chance.randrange(len(value) + 1)
            holder[key] = value[:at] + chance.choice(SCRAPS) + value[at + chance.randrange(3) :]
        case _ if isinstance(value, int) and not isinstance(value, bool):
            holder[key] = value + chance.choice((-1, 1, 2, 1000))
        case _ if isinstance(value, list):
            chance.shuffle(value)
            holder[key] = value
        case _:
            holder[key] = copy(chance.choice(EDGES))


def copy(value: Any) -> Any:
    """Nothing may come to stand inside itself, or change the table it was taken from."""
    return json.loads(json.dumps(value))


EXTRA_PARAMETERS = [
    "xs=https%3A%2F%2Fa%2Fb",
    "tr=udp%3A%2F%2Ft%3A1",
    "XT=x",
    "xt.1=urn:btih:" + "1" * 40,
    "x.pe=",
    "x.pe=1.2.3.4%3A5",
    "ws=",
    "so=1",
    "xs=",
    "tr=x",
    "xs.2=https%3A%2F%2Fa",
    "xl=01",
    "dn=x",
    "kt=a+b",
    "=",
    "",
    "xt=urn:sha1:a",
    "xt=urn:BTIH:" + "1" * 40,
    "%78t=1",
    "xs=https://a/b?q=1",
    "tr=http%3A%2F%2Fa%00",
    "xs=http%3A%2F%2F%5B%3A%3A1",
    "xs=HTTP%3A%2F%2Fa",
]
SPELLINGS = [str.upper, str.lower, lambda text: text.replace("%2F", "/"), lambda text: text.replace(":", "%3A"), str]


def change_magnet(magnet: str, chance: random.Random) -> str:
    """Return a magnet with parameters added, dropped, repeated, moved or spelled in another way."""
    pairs = magnet.removeprefix("magnet:?").split("&")
    for _ in range(chance.randrange(1, 4)):
        at = chance.randrange(len(pairs) or 1)
        match chance.randrange(5):
            case 0:
                chance.shuffle(pairs)
            case 1:
                pairs.insert(at, chance.choice(EXTRA_PARAMETERS))
            case 2:
                pairs[at:at] = pairs[at : at + 1]
            case 3:
                del pairs[at : at + 1]
            case _ if pairs:
                key, _, value = pairs[at].partition("=")
                name = chance.choice((key, key, key.upper(), f"{key}.1"))
                pairs[at] = f"{name}={chance.choice(SPELLINGS)(value)}"
    return "magnet:?" + "&".join(pairs)


def resign(outer: Any) -> None:
    """Sign the index by every key there is."""
    outer["signatures"] = _signatures(INDEX_TYPE, outer["signed"])


def mend(outer: Any) -> None:
    """Link the roots, sign them and the index, and make the header name the last of them."""
    before = None
    for row in outer["roots"]:
        if before is not None:
            row["signed"]["previous"] = before
        row["signatures"] = _signatures(ROOT_TYPE, row["signed"])
        before = str(Sha256.of(canonical(row["signed"])))
    first, last, signed = outer["roots"][0]["signed"], outer["roots"][-1]["signed"], outer["signed"]
    if first.get("version") == 1:
        signed["publisher"] = str(Sha256.of(canonical(first)))
    signed["root_version"], signed["epoch"] = last.get("version"), last.get("index_epoch")
    resign(outer)


def _signatures(kind: str, document: Any) -> list[Any]:
    payload = canonical(document)
    return [sign(kind, payload, key) for key in KEYS]


def _places(value: Any) -> Any:
    inner = (
        list(value.items()) if isinstance(value, dict) else list(enumerate(value)) if isinstance(value, list) else []
    )
    for key, below in inner:
        yield value, key
        yield from _places(below)
