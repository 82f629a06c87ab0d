"""The unit of preservation: one repository at one commit."""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from p2pqwen.errors import FormatError
from p2pqwen.values.digest import CommitId

# huggingface_hub's validate_repo_id: 96 characters, no leading or trailing `-` or `.`, no `--` and no `..`.
_PART = r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_])?"
# The Hub's paths of repository kinds cannot be organisations.
_NAME = re.compile(rf"(?!(?:datasets|models|spaces)/)(?!.*(?:--|\.\.|\.git\Z)){_PART}/{_PART}", re.ASCII)
_SPELLINGS = (
    ("datasets", "datasets/"),
    ("dataset", "datasets/"),
    ("models", ""),
    ("model", ""),
    ("hf", ""),
    ("huggingface", ""),
    ("modelscope", "modelscope:"),
    ("ms", "modelscope:"),
)
"""Prefixes of names that people write, and the correct ones."""
_PAGE = re.compile(
    r"https?://(?:www\.)?(?:huggingface\.co|hf\.co)/((?:datasets/)?[^/?#]+/[^/?#]+)(?:/tree/[^/?#]+)?/?",
    re.ASCII | re.IGNORECASE,
)
_OTHER_SPELLING = re.compile(
    rf"(?P<before>{'|'.join(theirs for theirs, _ in _SPELLINGS)})[:/](?P<name>.+)", re.IGNORECASE
)
MAX_REPO_ID = 96
SHORTEST = 7
"""The digits of a commit id in output for people."""


class OriginName(enum.StrEnum):
    """Where a repository lies; the same name means different repositories at different origins."""

    HUB = "hub"
    MODELSCOPE = "modelscope"

    @property
    def words(self) -> str:
        """Its name in a sentence."""
        return "the Hub" if self is OriginName.HUB else "ModelScope"

    @property
    def label(self) -> str:
        """Its name outside a sentence."""
        return self.words.removeprefix("the ")


def words_of_origins(origins: Iterable[OriginName], joined: str = "and") -> str:
    """Return several origins for a sentence, such as `the Hub and ModelScope`; the Hub if there are none."""
    found = set(origins) or {OriginName.HUB}
    return f" {joined} ".join(one.words for one in OriginName if one in found)


class RepoKind(enum.StrEnum):
    """What a repository holds, and where; each kind has its own names. The value is `repo_type` (SPEC section 1).

    Repositories at another origin are separate kinds, so a reader that knows only the Hub ignores them and never takes
    them for the Hub's.
    """

    MODEL = "model"
    DATASET = "dataset"
    MODELSCOPE_MODEL = "modelscope-model"
    MODELSCOPE_DATASET = "modelscope-dataset"

    @property
    def origin(self) -> OriginName:
        """The origin where it lies."""
        return OriginName.MODELSCOPE if self.value.startswith("modelscope-") else OriginName.HUB

    @property
    def holds(self) -> RepoKind:
        """What it holds: the Hub's kind with the same contents."""
        return self.at(OriginName.HUB)

    def at(self, origin: OriginName) -> RepoKind:
        """Return the kind that holds the same at an origin."""
        held = self.value.removeprefix("modelscope-")
        return RepoKind(held if origin is OriginName.HUB else f"{origin}-{held}")


HUB_KINDS = tuple(kind for kind in RepoKind if kind.origin is OriginName.HUB)
"""The kinds that lie on the Hub."""


@dataclass(frozen=True, slots=True, order=True)
class RepoId:
    """A repository's name, `org/name`, and its kind, which includes the origin. Raises `FormatError`."""

    text: str
    kind: RepoKind = RepoKind.MODEL

    def __post_init__(self) -> None:
        if not is_repo_name(self.text):
            expected = "ORG/MODEL, datasets/ORG/NAME, or modelscope:ORG/MODEL"
            got = repr(self.text[:120])
            raise FormatError("not a repository name", expected=expected, got=got, hint=_hint_at_name(self.text))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse what `str` prints: `org/name`, `datasets/org/name`, `modelscope:org/name`; raises `FormatError`."""
        kind, name = _kind_and_name(text)
        return cls(name, kind)

    @property
    def owner(self) -> Owner:
        """The organisation or user, with the kind."""
        return Owner(self.org, self.kind)

    def at(self, origin: OriginName) -> RepoId:
        """Return the repository of this name at an origin, which need not be the same one."""
        return RepoId(self.text, self.kind.at(origin))

    def __hash__(self) -> int:
        # The generated hash would call the kind's, in Python code; tables of a million names need it fast.
        return hash(self.text)

    @property
    def org(self) -> str:
        """The organisation or user."""
        return self.text.split("/")[0]

    @property
    def name(self) -> str:
        """The name below its organisation."""
        return self.text.split("/")[1]

    def __str__(self) -> str:
        return _named(self.kind, self.text)


@dataclass(frozen=True, slots=True, order=True)
class Owner:
    """An organisation or user, and one kind of its repositories. Raises `FormatError`."""

    name: str
    kind: RepoKind = RepoKind.MODEL

    def __post_init__(self) -> None:
        try:
            RepoId(f"{self.name}/x", self.kind)
        except FormatError as error:
            got = repr(self.name[:80])
            hint = "leave out the address: the name alone, such as Qwen" if "://" in self.name else None
            expected = "Qwen, or datasets/Qwen"
            raise FormatError("not an organisation's name", expected=expected, got=got, hint=hint) from error

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse what `str` prints: `org`, `datasets/org` for datasets, `modelscope:org`; raises `FormatError`."""
        kind, name = _kind_and_name(text)
        return cls(name, kind)

    def __str__(self) -> str:
        return _named(self.kind, self.name)


def is_repo_name(text: str) -> bool:
    """Tell whether this is a valid `org/name`."""
    return len(text) <= MAX_REPO_ID and _NAME.fullmatch(text) is not None


def split_origin(text: str) -> tuple[OriginName, str]:
    """Split the origin from a name such as `modelscope:Qwen/Qwen3-0.6B`; without one it is the Hub."""
    before, colon, after = text.partition(":")
    origin = next((one for one in OriginName if colon and before == one and one is not OriginName.HUB), OriginName.HUB)
    return origin, text if origin is OriginName.HUB else after


def name_of_page(text: str) -> str | None:
    """Return the name in the URL of a repository's page on the Hub, None for any other text."""
    page = _PAGE.fullmatch(text)
    return None if page is None else page[1]


def hint_at_owner(text: str) -> str | None:
    """Return a hint for a repository's name without its organisation, None for any other text."""
    if re.fullmatch(_PART, text) is None:
        return None
    return f"put its organisation in front: ORG/{text}; `p2pqwen search {text}` shows those that are listed"


def _kind_and_name(text: str) -> tuple[RepoKind, str]:
    origin, name = split_origin(text)
    first, slash, rest = name.partition("/")
    held = next((one for one in HUB_KINDS if one is not RepoKind.MODEL and first == f"{one}s"), None)
    kind, name = (RepoKind.MODEL, name) if held is None or not slash else (held, rest)
    return kind.at(origin), name


def _hint_at_name(text: str) -> str | None:
    """Return a hint at the name that an invalid one may mean."""
    if (name := name_of_page(text)) is not None:
        return f"leave out the address: the name alone, {name}"
    if "://" in text:
        return "leave out the address: the name alone, such as Qwen/Qwen3-0.6B"
    match = _OTHER_SPELLING.fullmatch(text)
    if match is None or not _NAME.fullmatch(match["name"]):
        return None
    before = next(ours for theirs, ours in _SPELLINGS if theirs == match["before"].lower())
    return f"it is written {before}{match['name']}"


def _named(kind: RepoKind, text: str) -> str:
    if kind is RepoKind.MODEL:  # fast path: an index has hundreds of thousands of them
        return text
    name = text if kind.holds is RepoKind.MODEL else f"{kind.holds}s/{text}"
    return name if kind.origin is OriginName.HUB else f"{kind.origin}:{name}"


@dataclass(frozen=True, slots=True, order=True)
class SnapshotId:
    """A repository at one commit, printed `org/model@<40 hex>`, with the kind's prefix `datasets/` or `modelscope:`."""

    repo: RepoId
    commit: CommitId

    def __hash__(self) -> int:
        return hash((self.repo.text, self.commit.raw))

    @classmethod
    def parse(cls, text: str) -> Self:
        """Parse what `str` prints; raises `FormatError`."""
        repo, _, commit = text.partition("@")
        return cls(RepoId.parse(repo), CommitId.parse(commit))

    def __str__(self) -> str:
        return f"{self.repo}@{self.commit}"

    @property
    def short(self) -> str:
        """The name for people: `org/model@` and the first 7 digits of the commit, as git shortens it."""
        return f"{self.repo}@{str(self.commit)[:SHORTEST]}"
