"""What readers accept and refuse by the common rules of torrents/SPEC.md, section 1.

Also the public keys of section 5, and the contents of plain files of section 2 (LFS pointers are refused).

This is the source of tests/vectors/common.json. JSON documents, file contents and keys are given as hex.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.support.publishing import key

_OID = b"4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + _OID + b"\nsize 12345\n"

RULES: dict[str, dict[str, list[Any]]] = {
    "json": {
        "accepted": [
            document.hex()
            for document in (
                b"0",
                b"-1",
                b"9007199254740991",
                b"-9007199254740991",
                b' {"a": [true, null, "\\u00e9"]}\n',
                b'"\\ud83d\\ude00"',
                b"[" * 16 + b"]" * 16,
                b'{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":{"a":[[[[[[[0]]]]]]]}}}}}}}}}',
            )
        ],
        "refused": [
            document.hex()
            for document in (
                b"",
                b"{",
                b"{}{}",
                b"1.0",
                b"1e2",
                b"-0",
                b"NaN",
                b"Infinity",
                b"-Infinity",
                b"01",
                b"+1",
                b"9007199254740992",
                b"-9007199254740992",
                b'{"a":1,"a":1}',
                b'{"a":1,"\\u0061":2}',
                b'"\\ud800"',
                b'{"\\udc00":0}',
                b'"\xff"',
                b'"\x01"',
                b"\xef\xbb\xbf{}",
                b"[" * 17 + b"]" * 17,
                b"// x\n{}",
                b"[1,]",
                b"'a'",
                b"True",
                '"é"'.encode("utf-16"),
            )
        ],
    },
    "content of a plain file": {
        "accepted": [
            content.hex()
            for content in (
                b"",
                b"\n",
                b"{}\n",
                POINTER + b"more\n",
                POINTER + b"ext-0-foo x\n",
                POINTER[:-12],
                POINTER.replace(b"12345", b"-1"),
                POINTER.replace(b"12345", b"9223372036854775808"),
                POINTER.replace(b"spec/v1", b"spec/v2"),
                POINTER.replace(b"sha256:4", b"sha256:"),
                POINTER.replace(b"sha256", b"sha1"),
                POINTER.replace(b"oid", b"other x\noid"),
                b"".join(sorted(POINTER.splitlines(keepends=True))),
                POINTER.ljust(1025),
            )
        ],
        "refused": [
            content.hex()
            for content in (
                POINTER,
                POINTER[:-1],
                POINTER + b"\n",
                b"\n " + POINTER + b"\t\r\n",
                POINTER.replace(b"\n", b"\r\n"),
                POINTER.replace(b"\n", b"\n\n"),
                POINTER.replace(b"https://git-lfs.github.com/spec/v1", b"https://hawser.github.com/spec/v1"),
                POINTER.replace(b"https://git-lfs.github.com/spec/v1", b"http://git-media.io/v/2"),
                POINTER.replace(b"oid", b"ext-0-foo x\noid"),
                b"ext-0-foo x\n" + POINTER,
                POINTER.replace(_OID, _OID.upper()),
                POINTER.replace(_OID, _OID + b" and more"),
                POINTER.replace(b"12345", b"012345"),
                POINTER.replace(b"12345", b"+12345"),
                POINTER.replace(b"12345", b"9223372036854775807"),
                POINTER.ljust(1024),
            )
        ],
    },
    "base64": {
        "accepted": ["", "AA==", "AAA=", "AAAA", "+/+/"],
        "refused": ["AA", "AAA", "AB==", "AAB=", "-_-_", "AA==\n", " AAAA", "AA AA", "AAAA=", "====", "ÄÄÄÄ"],
    },
    "time": {
        "accepted": ["2026-11-23T21:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "2024-02-29T12:30:01Z"],
        "refused": [
            "",
            "2026-11-23",
            "2026-11-23T21:00:00",
            "2026-11-23T21:00:00+00:00",
            "2026-11-23t21:00:00z",
            "2026-11-23 21:00:00Z",
            "2026-11-23T21:00:00.0Z",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-11-23T24:00:00Z",
            "2016-12-31T23:59:60Z",
            "0000-01-01T00:00:00Z",
            "2026-11-23T21:00Z",
            "٢026-11-23T21:00:00Z",
            "2026-11-23T21:00:00Z\n",
        ],
    },
    "repository": {
        "accepted": ["Qwen/Qwen3-0.6B", "a/b", "_a_/b.c-d", "x/" + "y" * 94],
        "refused": [
            "",
            "Qwen",
            "/",
            "a/",
            "/b",
            "a/b/c",
            "../b",
            "a/..",
            "a/.b",
            "a/b.",
            "-a/b",
            "a-/b",
            "a/b--c",
            "a/b..c",
            "a/b.git",
            "a/b c",
            "a/b\\c",
            "a/é",
            "a/b\n",
            "x/" + "y" * 95,
        ],
    },
    "path": {
        "accepted": [
            "a",
            "a/b.c",
            ".gitattributes",
            "com0",
            "console",
            "é/文/🜁",
            "a b",
            "-",
            "x" * 255,
            "/".join("a" * 64),
        ],
        "refused": [
            "",
            "/",
            "/a",
            "a/",
            "a//b",
            ".",
            "..",
            "a/../b",
            "a/./b",
            "a\\b",
            "C:/a",
            "a\0b",
            "a\nb",
            "a\u202eb",
            "a\u200bb",
            "a\u2028b",
            "e\u0301",
            "a.",
            "a ",
            "a./b",
            ".git",
            ".GIT/config",
            "a/.pad/7",
            "con",
            "NUL.txt",
            "aux .h",
            "com1",
            "LPT9.a.b",
            "a?",
            "a*",
            'a"',
            "a|b",
            "a<b",
            "a>b",
            "a:b",
            "x" * 256,
            "é" * 128,
            "/".join(["x" * 200] * 6),
            "/".join("a" * 65),
        ],
    },
    "paths of one snapshot": {
        "accepted": [["a", "b"], ["a/b", "a/c"], ["a/x", "ab"], ["a-b", "a/b"]],
        "refused": [
            ["a", "a"],
            ["a", "A"],
            ["a", "a/b"],
            ["a/b", "a"],
            ["a/b", "A/c"],
            ["ﬁ", "fi"],
            ["ß", "SS"],
            ["x/K", "x/\u212a"],
        ],
    },
    "web address": {
        "accepted": [
            "https://huggingface.co/Qwen/Tiny/resolve/",
            "http://127.0.0.1:8080",
            "http://[::1]:80/x",
            "http://[::ffff:192.0.2.1]/",
            "https://a:1/",
            "https://a:65535/",
            "https://a.b-c.example/~x/%41;y=1",
            "http://nas/",
            "https://EXAMPLE.org/a..b/.../",
            "https://a/" + "x" * 2038,
        ],
        "refused": [
            "",
            "https://",
            "https:///x",
            "HTTPS://a/",
            "ftp://a/",
            "file:///etc/passwd",
            "//a/b",
            "https://u@a/",
            "https://u:p@a/",
            "https://a/?q",
            "https://a/#f",
            "https://a/b c",
            "https://a/\n",
            "https://a\\@b/",
            "https://xn--80ak6aa92e.com/",
            "https://a.XN--b/",
            "https://\u0430pple.com/",
            "https://-a/",
            "https://a./",
            "https://a_b/",
            "https://a:/",
            "https://a:123456/",
            "https://a:99999/",
            "https://a:65536/",
            "https://a:0/",
            "https://a:00000/x",
            "http://[::::]/",
            "http://[1.2.3.4]/",
            "http://[12345::]/",
            "https://a:b/",
            "https://a/../b",
            "https://a/..",
            "https://a/é",
            "https://a/`x`",
            "https://a/{x}",
            "https://[::1/",
            "https://[g]/",
            "https://a/" + "x" * 2039,
            "https://" + "a" * 255 + "/",
        ],
    },
}

# Not on the curve, not canonical, of small order, of another length.
BAD_KEYS = (
    b"",
    bytes(31),
    bytes(33),
    bytes(32),
    b"\1" + bytes(31),
    b"\1" + bytes(30) + b"\x80",
    b"\2" + bytes(31),
    (2**255 - 20).to_bytes(32, "little"),
    (2**255 - 19).to_bytes(32, "little"),
    (2**255 - 18).to_bytes(32, "little"),
    bytes.fromhex("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"),
    bytes.fromhex("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc85"),
    b"\xff" * 32,
)


def common_rules(names: Iterable[str]) -> dict[str, dict[str, list[Any]]]:
    """Every rule, with what it accepts and refuses; `names` are keys of the vectors."""
    keys = {"accepted": [key(name).public.raw.hex() for name in names], "refused": [point.hex() for point in BAD_KEYS]}
    return {**RULES, "public key": keys}
