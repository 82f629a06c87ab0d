"""A node that trusts a publisher and is offered forgeries: what it answers, and what is on its disk afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from p2pqwen.index.acceptance import TrustedState, accept
from p2pqwen.library.home import Home
from p2pqwen.library.trust_store import TrustStore
from p2pqwen.operations.indexes.update import update
from p2pqwen.operations.indexes.updated import SourceResult, SourceState, Updated
from p2pqwen.values.digest import Sha256
from tests.support.publishing import NOW, Publisher, Rules, chain, digest, make_document, make_entry, make_index

RULES = Rules(
    root=("root1", "root2", "root3"), root_threshold=2, index=("index1", "index2", "index3"), index_threshold=2
)
SIGNERS = ("index1", "index2")
TRUSTED_VERSION = 5


class Victim:
    """A home that accepted version 5 of a publisher whose roots and indexes need two signatures of three keys."""

    def __init__(self, folder: Path) -> None:
        self.home = Home(folder / "home")
        self.store = TrustStore(self.home)
        self.source = folder / "mirror" / "index.json"
        self.source.parent.mkdir(parents=True)
        self.roots = chain(RULES)
        self.publisher: Sha256 = self.roots[0].root.digest
        self.entry = make_entry(1)
        self.trusted = make_document(self.roots, TRUSTED_VERSION, [self.entry])
        self.good = make_index(self.roots, self.trusted, SIGNERS)
        self.store.pin(self.publisher, [str(self.source)])
        self.store.store(accept(self.good, TrustedState(self.publisher), NOW), self.good, now=NOW)
        self.notices: list[str] = []

    def next(self, **changes: Any) -> dict[str, Any]:
        """The `signed` object of the honest next version, with changes."""
        document = make_document(
            self.roots, TRUSTED_VERSION + 1, [self.entry, make_entry(2)], previous=digest(self.trusted)
        )
        return {**document.to_json(), **changes}

    def next_file(self, signers: Iterable[str] = SIGNERS, **changes: Any) -> bytes:
        """The honest next version, changed and then signed."""
        return make_index(self.roots, self.next(**changes), signers)

    def offer(self, data: bytes) -> SourceResult:
        """What the only mirror's answer is worth."""
        self.source.write_bytes(data)
        (result,) = self.update().sources
        return result

    def update(self) -> Updated:
        return update(
            self.store,
            self.store.get(self.publisher, now=NOW),
            now=NOW,
            report=lambda event: self.notices.append(str(event)),
        )

    def on_disk(self) -> dict[str, bytes]:
        """Everything the trust store holds, evidence aside."""
        folder = self.home.trust
        return {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.parent.name != "evidence"
        }

    def evidence(self) -> set[bytes]:
        return {path.read_bytes() for path in (self.store.folder(self.publisher) / "evidence").glob("*.json")}

    def version(self) -> tuple[int, int] | None:
        """The trusted (epoch, version), verified as every command does."""
        document = self.store.get(self.publisher, now=NOW).document
        return None if document is None else (document.epoch, document.version)

    def refuses(self, data: bytes, step: int) -> SourceResult:
        """Assert that the offer is refused by this rule, and that nothing on disk moved."""
        before = self.on_disk()
        result = self.offer(data)
        assert (result.state, result.step) == (SourceState.REFUSED, step), result
        assert self.on_disk() == before
        assert self.version() == (0, TRUSTED_VERSION)
        return result

    def accepts(self, data: bytes) -> SourceResult:
        """Assert that the offer is taken, whole."""
        result = self.offer(data)
        assert result.state is SourceState.NEWER, result
        assert self.store.index_path(self.publisher).read_bytes() == data
        return result


def edited(data: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """An index file with something changed after it was signed."""
    value = json.loads(data)
    change(value)
    return json.dumps(value).encode()


__all__ = ["NOW", "RULES", "SIGNERS", "TRUSTED_VERSION", "Publisher", "Victim", "edited"]
