"""A requested fetch, in plain values: a command hands it to a running node, or carries it out itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from p2pqwen.errors import FormatError, UsageError
from p2pqwen.operations.fetch.context import DEFAULT_TIMEOUT, FetchOptions
from p2pqwen.operations.fetch.target import TorrentTarget, parse_target
from p2pqwen.swarm.endpoint import Endpoint
from p2pqwen.values.json_value import FLAT, object_json
from p2pqwen.values.network_choices import UNRESTRICTED, NetworkChoices
from p2pqwen.values.snapshot_id import RepoId
from p2pqwen.values.strict_json import JsonObject
from p2pqwen.webseed.policy import WebSeedUse

MAX_ITEMS = 1000
"""Most peers, web seeds or globs of a request."""


def _is_texts(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) <= MAX_ITEMS and all(isinstance(one, str) for one in value)


# What JSON may hold for a field, by its annotation. `true` is not a number.
_KINDS: Mapping[str, tuple[str, Callable[[object], bool]]] = {
    "str": ("a text", lambda value: isinstance(value, str)),
    "str | None": ("a text or null", lambda value: value is None or isinstance(value, str)),
    "bool": ("true or false", lambda value: isinstance(value, bool)),
    "int": ("a number of 0 or more", lambda value: type(value) is int and value >= 0),
    "float": ("a number of 0 or more", lambda value: type(value) in {int, float} and value >= 0),  # type: ignore[operator]
    "tuple[str, ...]": ("a list of texts", _is_texts),
    "tuple[str, ...] | None": ("a list of texts or null", lambda value: value is None or _is_texts(value)),
    "Literal['fetch', 'adopt', 'repair']": (
        "fetch, adopt or repair",
        lambda value: value in {"fetch", "adopt", "repair"},
    ),
}


@dataclass(frozen=True, slots=True)
class FetchRequest:
    """Everything that a fetch depends on, except the node's home.

    `kind`: `adopt` fetches for the node's archive, which may give the snapshot up again; other fetches are a person's.
    `repair` repairs the held snapshot that `target` names. `hub_cache` None: do not lay it into that cache;
    `insist_on_cache`: it is an error if it cannot be laid there.
    """

    target: str
    kind: Literal["fetch", "adopt", "repair"] = "fetch"
    peers: tuple[str, ...] = ()
    web_seeds: tuple[str, ...] = ()
    use_web_seeds: str = "auto"
    use_peers: bool = True
    include: tuple[str, ...] | None = None
    timeout: float = DEFAULT_TIMEOUT
    repo: str | None = None
    hub_cache: str | None = None
    insist_on_cache: bool = False
    move_ref: bool = False
    trust_unverified: bool = False
    choices: NetworkChoices = field(default=UNRESTRICTED, metadata=FLAT)

    def __post_init__(self) -> None:
        for name in ("insist_on_cache", "move_ref", "trust_unverified"):
            if not isinstance(getattr(self, name), bool):  # "no" is not true
                raise UsageError(f"setting {name} of a fetch", expected="true or false", got=repr(getattr(self, name)))
        self.options()  # raises for invalid values at once

    def options(self) -> FetchOptions:
        """Return the request as `FetchOptions`; raises `UsageError`."""
        try:
            repo = None if self.repo is None else RepoId.parse(self.repo)
            use = WebSeedUse(self.use_web_seeds)
        except FormatError as error:
            raise UsageError.of(error) from error
        except ValueError as error:
            raise UsageError("web seeds", expected="auto, always or never", got=self.use_web_seeds) from error
        return FetchOptions(
            peers=tuple(Endpoint.parse(text) for text in self.peers),
            web_seeds=self.web_seeds,
            use_web_seeds=use,
            use_peers=self.use_peers,
            include=self.include,
            timeout=self.timeout,
            repo=repo,
            into_hub_cache=self.hub_cache is not None,
            insist_on_cache=self.insist_on_cache,
            move_ref=self.move_ref,
            trust_unverified=self.trust_unverified,
        )

    def to_json(self) -> JsonObject:
        """Return the request as sent and stored: flat, with the fields of `choices` among the rest.

        Raises `UsageError` for an infinite timeout.
        """
        try:
            return object_json(self)
        except ValueError as error:
            raise UsageError("--timeout", expected="a finite number of seconds", got=self.timeout) from error

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> FetchRequest:
        """Read a request; raises `UsageError` if it is invalid."""
        chosen = {one.name: str(one.type) for one in fields(NetworkChoices)}
        known = {one.name: str(one.type) for one in fields(cls) if one.name != "choices"} | chosen
        if unknown := set(value) - set(known):
            raise UsageError(f"a fetch has no setting {min(unknown)!r}", expected=", ".join(sorted(known)))
        if not isinstance(value.get("target"), str):
            raise UsageError("a fetch needs a target", expected="a text", got=repr(value.get("target"))[:40])
        given: dict[str, Any] = {}
        for name, kind in known.items():
            if name not in value:
                continue
            held = value[name]
            expected, fits = _KINDS[kind]
            if not fits(held):
                raise UsageError(f"setting {name!r} of a fetch", expected=expected, got=repr(held)[:40])
            given[name] = tuple(held) if isinstance(held, list) else held
        choices = NetworkChoices(**{name: given.pop(name) for name in chosen if name in given})
        return cls(**given, choices=choices)


def absolute(target: str) -> str:
    """Return a target that means the same in another folder: a file's absolute path; raises as `parse_target` does."""
    parsed = parse_target(target)
    return parsed.location if isinstance(parsed, TorrentTarget) else target
