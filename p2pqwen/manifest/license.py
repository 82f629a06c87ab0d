"""A snapshot's license, read from its own README.md, and whether it permits redistribution.

The table is help, not legal advice. `clear` is used only for well-known texts that let anybody redistribute, for any
purpose, while keeping notices.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum
from fnmatch import fnmatchcase
from itertools import takewhile

MAX_FRONT_MATTER = 256 * 1024
# huggingface_hub's REGEX_YAML_BLOCK also accepts blank lines before the first `---`.
_FRONT_MATTER = re.compile(r"\A\ufeff?(?:\s*\n)?---[ \t]*\n(.*?)^(?:---|\.\.\.)[ \t]*$", re.DOTALL | re.MULTILINE)
_KEYS = {
    key: re.compile(rf"""^(?:{key}|"{key}"|'{key}')[ \t]*:(?:[ \t]+|$)(.*)$""", re.MULTILINE)
    for key in ("license", "license_name")
}
_BLOCK = re.compile(r"[|>][1-9+-]{0,2}")
_WITHOUT_IDENTIFIER = "other"
_ITEM = re.compile(r"^[ \t]*-[ \t]+(.*)$")
_SCALAR = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._+()/-]{0,99}", re.ASCII)
_NULLS = frozenset({"null", "Null", "NULL", "true", "True", "TRUE", "false", "False", "FALSE"})


class Redistribution(StrEnum):
    """May the files be redistributed? `clear`: yes. `conditional`: under conditions. `unknown`: p2pqwen cannot tell."""

    CLEAR = "clear"
    CONDITIONAL = "conditional"
    UNKNOWN = "unknown"


# (verdict, reason, the Hub's names of such licenses)
_TABLE = (
    (
        Redistribution.CLEAR,
        "permits redistribution when its notice is kept",
        (
            "apache-2.0 mit bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear bsl-1.0 isc zlib afl-3.0 artistic-2.0 "
            "ecl-2.0 ms-pl ncsa postgresql ofl-1.1 openmdw-1.0 cdla-permissive-1.0 cdla-permissive-2.0 "
            "etalab-2.0 lppl-1.3c"
        ),
    ),
    (Redistribution.CLEAR, "waives every condition", "unlicense cc0-1.0 wtfpl pddl"),
    (
        Redistribution.CLEAR,
        "permits redistribution under the same license",
        (
            "gpl gpl-2.0 gpl-3.0 agpl-3.0 lgpl lgpl-2.1 lgpl-3.0 lgpl-lr mpl-2.0 epl-1.0 epl-2.0 eupl-1.1 eupl-1.2 "
            "osl-3.0 gfdl odbl cdla-sharing-1.0 cc-by-sa-3.0 cc-by-sa-4.0"
        ),
    ),
    (
        Redistribution.CLEAR,
        "permits redistribution when the authors are named",
        "cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 odc-by",
    ),
    (
        Redistribution.CONDITIONAL,
        "use restrictions must be passed on to every recipient",
        "openrail openrail++ bigscience-openrail-m bigscience-bloom-rail-1.0 creativeml-openrail-m bigcode-openrail-m",
    ),
    (
        Redistribution.CONDITIONAL,
        "no commercial use",
        (
            "cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cc-by-nc-nd-3.0 "
            "cc-by-nc-nd-4.0 fair-noncommercial-research-license deepfloyd-if-license"
        ),
    ),
    (Redistribution.CONDITIONAL, "unmodified copies only", "cc-by-nd-4.0"),
    (
        Redistribution.CONDITIONAL,
        "a vendor's terms must be passed on, and some uses or users are excluded",
        "qwen tongyi-qianwen llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 gemma grok2-community apple-ascl c-uda",
    ),
    (
        Redistribution.CONDITIONAL,
        "for research only",
        "qwen-research tongyi-qianwen-research apple-amlr intel-research h-research",
    ),
)
_FORMALITIES = re.compile(r"-licen[cs]e(?:-agreement)?$")
_TERMS = {name: (verdict, why) for verdict, why, names in _TABLE for name in names.split()}


def redistribution(license: str | None) -> Redistribution:  # noqa: A002 - the manifest's own word
    """Tell whether a license, by its name on the Hub, lets anybody redistribute the files."""
    return _terms(license)[0]


def reason(license: str | None) -> str:  # noqa: A002 - the manifest's own word
    """Return the reason for the verdict of `redistribution`, as the end of a sentence about the license."""
    return _terms(license)[1]


def is_licensed(license: str | None, patterns: Iterable[str]) -> bool:  # noqa: A002 - the manifest's own word
    """Tell whether a license's name matches any of these globs, ignoring case; None matches nothing."""
    return license is not None and any(fnmatchcase(license.lower(), pattern.lower()) for pattern in patterns)


def _terms(name: str | None) -> tuple[Redistribution, str]:
    if name is None:
        return Redistribution.UNKNOWN, "the snapshot's README.md names no license"
    unknown = (Redistribution.UNKNOWN, "p2pqwen does not know its terms: read them before redistributing it")
    # `license_name` is free text: "Qwen RESEARCH LICENSE AGREEMENT"
    spoken = _FORMALITIES.sub("", re.sub(r"[\s_]+", "-", name.strip().lower()))
    return _TERMS.get(name.lower()) or _TERMS.get(spoken, unknown)


def license_of_readme(readme: bytes) -> str | None:
    """Return the license that a README's YAML front matter names, None unless it is a single plain value.

    It is the value of `license`. If that is `other`, the Hub's name for a license without an identifier, it is the
    value of `license_name`, if that is plain. A list of one counts as its item; a longer one is ambiguous. Only the
    forms that can name a license are read, without a YAML parser.
    """
    text = readme[:MAX_FRONT_MATTER].decode(errors="replace").replace("\r\n", "\n")
    front_matter = _FRONT_MATTER.match(text)
    if front_matter is None:
        return None
    name = _value(front_matter[1], "license")
    if name is not None and name.lower() == _WITHOUT_IDENTIFIER:
        return _value(front_matter[1], "license_name") or name
    return name


def _value(front_matter: str, key: str) -> str | None:
    keys = list(_KEYS[key].finditer(front_matter))
    if len(keys) != 1:  # YAML forbids repeated keys
        return None
    first, below = keys[0][1].strip(), front_matter[keys[0].end() :].splitlines()
    if _BLOCK.fullmatch(_without_comment(first)):
        return _plain(_indented(below))
    return _flow(_without_comment(first), below)


def _flow(first: str, below: list[str]) -> str | None:
    """Read a scalar, a list of one, or either on the lines below its key."""
    lines = [_without_comment(line) for line in _indented(below)]
    value = " ".join(line for line in (first, *lines) if line)
    if not first and (not value or _ITEM.match(value)):
        return _only_item(below)
    if value.startswith("[") and value.endswith("]"):
        value = value[1:-1].strip().removesuffix(",").rstrip()
    return _scalar(value)


def _indented(lines: list[str]) -> list[str]:
    """Return the non-blank lines that belong to the key above them."""
    return [line for line in takewhile(lambda line: not line or line[0] in " \t", lines) if line.strip()]


def _plain(lines: list[str]) -> str | None:
    """Return the content of a block scalar, literal or folded, if it is one line."""
    value = lines[0].strip() if len(lines) == 1 else ""
    return value if _SCALAR.fullmatch(value) else None


def _only_item(below: list[str]) -> str | None:
    items: list[str] = []
    for line in below:
        content = _without_comment(line)
        if not content:
            continue
        item = _ITEM.match(content)
        if item is None:
            if line[0] in " \t":
                return None
            break
        items.append(item[1])
    return _scalar(items[0]) if len(items) == 1 else None


def _scalar(value: str) -> str | None:
    if len(value) >= 2 and value[0] == value[-1] and value[0] in "'\"":
        value = value[1:-1]
    elif value in _NULLS or re.fullmatch(r"[0-9._+-]+", value):
        return None
    return value if _SCALAR.fullmatch(value) else None


def _without_comment(line: str) -> str:
    return re.sub(r"(?:^|[ \t])#.*", "", line).strip()
