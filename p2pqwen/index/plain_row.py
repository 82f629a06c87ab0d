"""Rows of an index as this program prints them, read by one expression.

To parse JSON so that it has one meaning, to print it in the form of RFC 8785, and to take each field apart is most of
what reading a hundred thousand rows costs. What is matched here is an object of the fields of an entry of the Hub, each
once, in the order in which they are printed (`Entry.to_json`) or in that of RFC 8785, with any blanks between them. Its
texts are printable ASCII without escapes, its numbers integers from 0 on; the fields that must agree do, to the letter.
So there is one way to read it, and its RFC 8785 form is the same texts in that order. Any other row, however right, is
none of ours: the strict parser reads it, and `entry.check_row` checks it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from operator import itemgetter

from p2pqwen.errors import FormatError
from p2pqwen.index.entry import (
    MAX_FILES,
    MAX_LICENSE,
    MAX_MAGNET,
    ZEROS,
    entry_time,
    only_sources,
    quoted_seeds,
)
from p2pqwen.torrent.recipe import CURRENT
from p2pqwen.values.snapshot_id import is_repo_name
from p2pqwen.values.strict_json import MAX_INTEGER, JsonObject
from p2pqwen.values.web_url import MAX_URL

MAX_PLAIN = 16 << 10
"""Characters; a longer row is read by the strict parser, which has the limits."""

_BLANKS = r"[ \t\n\r]*+"
_CHARACTER = r"[ !#-\[\]-~]"
_NUMBER = r"(?:0|[1-9][0-9]{0,15}+)"
_PART = r"[A-Za-z0-9._-]++"  # nothing that a magnet quotes
_FIELDS: dict[str, tuple[str, ...]] = {  # a text that begins with < is a group, at its first place; then, what it held
    "repo": ('"', "<org>", "/", "<name>", '"'),
    "repo_type": ('"model"',),
    "commit": ('"', "<commit>", '"'),
    "size": ("<size>",),
    "files": ("<files>",),
    "piece_length": ("<length>",),
    "recipe": (str(CURRENT.number),),
    "infohash_v1": ('"', "<v1>", '"'),
    "infohash_v2": ('"', "<v2>", '"'),
    "magnet": (
        r'"magnet:\?xt=urn:btih:', "<v1>", "&xt=urn:btmh:1220", "<v2>", "&dn=", "<org>", "%2F", "<name>", "%40",
        "<commit>", "&xl=", "<size>", "<sources>", '"',
    ),
    "manifest_sha256": ('"', "<manifest>", '"'),
    "provenance": ('"', "<provenance>", '"'),
    "torrent": ('"', "<org>", "/", "<name>", "/", "<commit>", r'\.torrent"'),
    "web_seeds": ("<seeds>",),
    "license": ("<license>",),
    "added": ('"', "<added>", '"'),
    "upstream": ('"', "<upstream>", '"'),
}  # fmt: skip
_GROUPS = {
    "<org>": _PART,
    "<name>": _PART,
    "<commit>": "[0-9a-f]{40}",
    "<size>": _NUMBER,
    "<files>": _NUMBER,
    "<length>": _NUMBER,
    "<v1>": "[0-9a-f]{40}",
    "<v2>": "[0-9a-f]{64}",
    "<sources>": f"(?:&{_CHARACTER}*+)?+",
    "<manifest>": "[0-9a-f]{64}",
    "<provenance>": "proven|unproven",
    "<seeds>": rf'\[{_BLANKS}(?:"{_CHARACTER}*+"{_BLANKS}(?:,{_BLANKS}"{_CHARACTER}*+"{_BLANKS})*+)?+\]',
    "<license>": f'null|"{_CHARACTER}*+"',
    "<added>": f"{_CHARACTER}*+",
    "<upstream>": "present|gone|unknown",
}


@dataclass(slots=True)
class PlainRow:
    """A row that is an entry and was checked as one, and its RFC 8785 form."""

    row: JsonObject
    canonical: bytes


def plain_row(text: str, at: int) -> tuple[PlainRow, int] | None:
    """Return the row that begins at a place of a text, and where it ends; None where it takes more to read it.

    What is returned `entry.check_row` would have found right, and an entry.
    """
    if (found := _AS_PRINTED.match(text, at)) is not None:
        groups = _of_printed(found.groups())
    elif (found := _AS_CANONICAL.match(text, at)) is not None:
        groups = _of_canonical(found.groups())
    else:
        return None
    if (end := found.end()) - at > MAX_PLAIN:
        return None
    made = _made(*groups)
    return None if made is None else (made, end)


def _made(  # noqa: PLR0913, PLR0917 - its fields
    org: str,
    name: str,
    commit: str,
    size: str,
    files: str,
    length: str,
    v1: str,
    v2: str,
    sources: str,
    manifest: str,
    provenance: str,
    seeds: str,
    license_: str,
    added: str,
    upstream: str,
) -> PlainRow | None:
    repo, quoted, urls = f"{org}/{name}", f"{org}%2F{name}", seeds.split('"')[1::2]
    if not is_repo_name(repo):
        return None
    try:
        named = _named_seed(urls[0]) if len(urls) == 1 else quoted_seeds(tuple(urls))
        entry_time(added)
    except FormatError:
        return None
    size_, files_, length_ = int(size), int(files), int(length)
    magnet = f"magnet:?xt=urn:btih:{v1}&xt=urn:btmh:1220{v2}&dn={quoted}%40{commit}&xl={size}{sources}"
    if not (
        sources.startswith(named)
        and only_sources(sources[len(named) :].replace(f"{quoted}%2F{commit}.torrent", "x"))
        and v1 != ZEROS[:40]
        and v2 != ZEROS
        and size_ <= MAX_INTEGER
        and 1 <= files_ <= MAX_FILES
        and length_ == CURRENT.piece_length(size_)
        and len(license_) <= MAX_LICENSE
        and len(magnet) <= MAX_MAGNET
    ):
        return None
    torrent, listed = f"{repo}/{commit}.torrent", '["' + '","'.join(urls) + '"]' if urls else "[]"
    canonical = (
        f'{{"added":"{added}","commit":"{commit}","files":{files},"infohash_v1":"{v1}","infohash_v2":"{v2}",'
        f'"license":{license_},"magnet":"{magnet}","manifest_sha256":"{manifest}","piece_length":{length},'
        f'"provenance":"{provenance}","recipe":{CURRENT.number},"repo":"{repo}","repo_type":"model","size":{size},'
        f'"torrent":"{torrent}","upstream":"{upstream}","web_seeds":{listed}}}'
    )
    row: JsonObject = {
        "repo": repo,
        "repo_type": "model",
        "commit": commit,
        "size": size_,
        "files": files_,
        "piece_length": length_,
        "recipe": CURRENT.number,
        "infohash_v1": v1,
        "infohash_v2": v2,
        "magnet": magnet,
        "manifest_sha256": manifest,
        "provenance": provenance,
        "torrent": torrent,
        "web_seeds": [*urls],
        "license": None if license_ == "null" else license_[1:-1],
        "added": added,
        "upstream": upstream,
    }
    return PlainRow(row, canonical.encode())


def _named_seed(url: str) -> str:
    """Return a web seed as a magnet names it; raises `FormatError` for what no entry may name."""
    if len(url) <= MAX_URL and _SIMPLE_URL.fullmatch(url):
        return "&ws=" + url.replace(":", "%3A").replace("/", "%2F")
    return quoted_seeds((url,))


# What no rule for web addresses objects to, and in which a magnet quotes nothing else.
_SIMPLE_URL = re.compile(
    r"(?!.*(?:\.\.|xn--))https?://[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?/[A-Za-z0-9._/-]*"
)


def _pattern(order: list[str]) -> re.Pattern[str]:
    """Return the expression for an object whose fields stand in an order."""
    known: set[str] = set()

    def part(text: str) -> str:
        if text not in _GROUPS:
            return text
        if text in known:
            return f"(?P={text[1:-1]})"
        known.add(text)
        return f"(?P{text}{_GROUPS[text]})"

    fields = (rf'"{name}"{_BLANKS}:{_BLANKS}{"".join(map(part, _FIELDS[name]))}' for name in order)
    return re.compile(rf"\{{{_BLANKS}{rf'{_BLANKS},{_BLANKS}'.join(fields)}{_BLANKS}\}}", re.ASCII)


def _in_order(pattern: re.Pattern[str]) -> Callable[[tuple[str, ...]], tuple[str, ...]]:
    return itemgetter(*(pattern.groupindex[name[1:-1]] - 1 for name in _GROUPS))


_AS_PRINTED, _AS_CANONICAL = _pattern(list(_FIELDS)), _pattern(sorted(_FIELDS))
_of_printed, _of_canonical = _in_order(_AS_PRINTED), _in_order(_AS_CANONICAL)
