"""Read, with one regular expression, an index's rows in the form that this program prints.

Strict JSON parsing, printing the RFC 8785 form and parsing each field are most of the cost of reading 100,000 rows. The
expression matches an object with exactly the fields of an entry of the Hub, each once, in printed order
(`Entry.to_json`) or in RFC 8785 order, with any blanks between them. Its strings are printable ASCII without escapes,
its numbers are integers from 0, and the fields that must agree are textually equal. So it can be read in only one way,
and its RFC 8785 form has the same texts, reordered. The strict parser reads any other row, and `entry.check_row` checks
it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import repeat
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
from p2pqwen.values.snapshot_id import RepoKind, is_repo_name
from p2pqwen.values.strict_json import MAX_INTEGER, JsonObject
from p2pqwen.values.web_url import MAX_URL

MAX_PLAIN = 16 << 10
"""Characters; the strict parser, which has the limits, reads longer rows."""

_KIND = RepoKind.MODEL.value
_NO_V1 = ZEROS[:40]
_COMMA = re.compile(r"[ \t\n\r]*,[ \t\n\r]*")
_BLANKS = r"[ \t\n\r]*+"
_CHARACTER = r"[ !#-\[\]-~]"
_NUMBER = r"(?:0|[1-9][0-9]{0,15}+)"
_PART = r"[A-Za-z0-9._-]++"  # only characters that a magnet does not quote
_FIELDS: dict[str, tuple[str, ...]] = {  # a text that begins with < is a group; where it recurs, it is a back reference
    "repo": ('"', "<org>", "/", "<name>", '"'),
    "repo_type": (f'"{_KIND}"',),
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
class PlainRows:
    """Consecutive rows, all checked entries, in parallel lists.

    `canonical` are their RFC 8785 forms; the others are fields, with hashes as hex digits. `sources` is the magnet's
    text after the size, web seeds included.
    """

    canonical: list[bytes] = field(default_factory=list)
    repos: list[str] = field(default_factory=list)
    commits: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)
    licenses: list[str | None] = field(default_factory=list)
    upstream: list[str] = field(default_factory=list)
    added: list[str] = field(default_factory=list)
    v1: list[str] = field(default_factory=list)
    v2: list[str] = field(default_factory=list)
    manifests: list[str] = field(default_factory=list)
    sources: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.canonical)

    def rows(self) -> Iterator[tuple[bytes, JsonObject]]:
        """Yield each row in its RFC 8785 form and as an object."""
        return ((one, json.loads(one)) for one in self.canonical)

    def places(self) -> Iterator[tuple[str, str, str, int]]:
        """Yield the `entry.row_place` of each row."""
        return zip(self.repos, self.commits, repeat(_KIND), repeat(CURRENT.number))


def plain_rows(text: str, at: int) -> tuple[PlainRows, int] | None:
    """Return the rows at an offset of a text, as far as they have this form, and the offset of their end.

    None if there are none. `entry.check_row` would accept every returned row as an entry.
    """
    found = PlainRows()
    end = at
    for pattern, in_order in ((_AS_PRINTED, _of_printed), (_AS_CANONICAL, _of_canonical)):
        read = pattern.match(text, at)
        while read is not None and read.end() - at <= MAX_PLAIN and _take(found, *in_order(read.groups())):
            end = read.end()
            if (comma := _COMMA.match(text, end)) is None:
                break
            at = comma.end()
            read = pattern.match(text, at)
        if found.canonical:
            return found, end
    return None


def _take(  # noqa: PLR0913, PLR0917 - its fields
    rows: PlainRows,
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
) -> bool:
    """Take a row if it is valid."""
    repo, quoted, urls = f"{org}/{name}", f"{org}%2F{name}", seeds.split('"')[1::2]
    if not is_repo_name(repo):
        return False
    try:
        named = _named_seed(urls[0]) if len(urls) == 1 else quoted_seeds(tuple(urls))
        entry_time(added)
    except FormatError:
        return False
    size_, files_ = int(size), int(files)
    magnet = f"magnet:?xt=urn:btih:{v1}&xt=urn:btmh:1220{v2}&dn={quoted}%40{commit}&xl={size}{sources}"
    if not (
        sources.startswith(named)
        and only_sources(sources[len(named) :].replace(f"{quoted}%2F{commit}.torrent", "x"))
        and v1 != _NO_V1
        and v2 != ZEROS
        and size_ <= MAX_INTEGER
        and 1 <= files_ <= MAX_FILES
        and int(length) == CURRENT.piece_length(size_)
        and len(license_) <= MAX_LICENSE
        and len(magnet) <= MAX_MAGNET
    ):
        return False
    listed = '["' + '","'.join(urls) + '"]' if urls else "[]"
    rows.canonical.append(
        (
            f'{{"added":"{added}","commit":"{commit}","files":{files},"infohash_v1":"{v1}","infohash_v2":"{v2}",'
            f'"license":{license_},"magnet":"{magnet}","manifest_sha256":"{manifest}","piece_length":{length},'
            f'"provenance":"{provenance}","recipe":{CURRENT.number},"repo":"{repo}","repo_type":"{_KIND}",'
            f'"size":{size},"torrent":"{repo}/{commit}.torrent","upstream":"{upstream}","web_seeds":{listed}}}'
        ).encode()
    )
    rows.repos.append(repo)
    rows.commits.append(commit)
    rows.sizes.append(size_)
    rows.licenses.append(None if license_ == "null" else license_[1:-1])
    rows.upstream.append(upstream)
    rows.added.append(added)
    rows.v1.append(v1)
    rows.v2.append(v2)
    rows.manifests.append(manifest)
    rows.sources.append(sources)
    return True


def _named_seed(url: str) -> str:
    """Return a web seed as a parameter of our magnets; raises `FormatError` for an invalid one."""
    if len(url) <= MAX_URL and ".." not in url and "xn--" not in url.lower() and _SIMPLE_URL.fullmatch(url):
        return "&ws=" + url.replace(":", "%3A").replace("/", "%2F")
    return quoted_seeds((url,))


# URLs that, without the two texts above, pass all rules for web addresses, and of which magnets quote only : and /.
_SIMPLE_URL = re.compile(r"https?://[A-Za-z0-9](?:[A-Za-z0-9.-]{0,252}[A-Za-z0-9])?/[A-Za-z0-9._/-]*")


def _pattern(order: list[str]) -> re.Pattern[str]:
    """Return the expression for an object with its fields in this order."""
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
