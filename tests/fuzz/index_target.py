"""What is fuzzed: reading and judging an index file, out of bytes that anybody may have written.

The first byte chooses what the reader believes before; the rest is the file. Only a `RefusedError` may come of junk;
and what is accepted must print to a file that is accepted again and says the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from p2pqwen.index.acceptance import Accepted, RefusedError, TrustedState, accept
from p2pqwen.index.document import encode_file, parse_file
from p2pqwen.index.entry import is_entry_row
from p2pqwen.values.strict_json import canonical

VECTORS = Path(__file__).parents[1] / "vectors" / "index"
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def _states() -> tuple[TrustedState, ...]:
    first = accept((VECTORS / "0.1.json").read_bytes(), TrustedState(None), NOW)
    third = accept((VECTORS / "0.3.json").read_bytes(), TrustedState(first.publisher), NOW)
    return TrustedState(None), TrustedState(first.publisher), first.state, third.state


STATES = _states()


def judge(data: bytes) -> Accepted | None:
    """Run one input; raises for anything but a refusal by a rule, and for an acceptance that does not hold."""
    if not data:
        return None
    state = STATES[data[0] % len(STATES)]
    try:
        accepted = accept(data[1:], state, NOW)
    except RefusedError as error:
        if error.step not in range(1, 8):
            raise AssertionError(f"refused by no rule: {error.step}") from error
        return None
    _check_that_it_holds(data[1:], accepted)
    return accepted


def _check_that_it_holds(data: bytes, accepted: Accepted) -> None:
    file = parse_file(data)
    # What may be null may be left out; printed, it is null.
    signed = {"previous": None, "dht": None, **file.signed}
    signed["entries"] = [{"license": None, **row} if is_entry_row(row) else row for row in signed["entries"]]
    if canonical(accepted.document.to_json()) != canonical(signed):
        raise AssertionError("the document prints to something else than was signed")
    again = accept(encode_file(accepted.roots, file.signed, file.signatures), accepted.state, NOW)
    if again.document != accepted.document or not again.unchanged:
        raise AssertionError("what was accepted is not accepted again")


def seeds() -> Iterator[bytes]:
    """The seed corpus: every golden index file, under every state."""
    for path in sorted(VECTORS.glob("*.json")):
        if path.name != "expected.json":
            for number in range(len(STATES)):
                yield bytes((number,)) + path.read_bytes()
