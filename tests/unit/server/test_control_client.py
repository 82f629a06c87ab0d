"""What comes over the control socket is what was asked for, or a clean error."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from p2pqwen.errors import InUseError, NetworkError, NotFoundError, P2pqwenError
from p2pqwen.library.durable import LockHeldError
from p2pqwen.server import control_client
from p2pqwen.server.control import ControlServer
from p2pqwen.server.control_client import ControlClient, _parsed
from p2pqwen.server.problem import Problem, Refusal, status_of


@dataclass(frozen=True, slots=True)
class Count:
    count: int


@dataclass(frozen=True, slots=True)
class Foreign:
    words: str
    count: str = "many"


def lines(_given) -> Iterator[Count]:
    yield Count(1)
    yield Count(2)
    raise P2pqwenError("it broke", got="the third")


def missing(_given):
    raise NotFoundError("no such thing", expected="one", hint="look elsewhere")


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    calls = {
        "GET /v1/node": lambda _: Count(1),
        "GET /v1/count": lambda given: Count(int(given["count"])),
        "GET /v1/foreign": lambda _: Foreign("hello"),
        "GET /v1/lines": lines,
        "GET /v1/missing": missing,
        "GET /v1/fault": lambda _: Count(b"raw"),
    }
    with ControlServer(home, calls, {}):
        yield ControlClient(home)


def test_an_answer_is_of_the_type_that_was_asked_for(client):
    assert client.answers
    assert client.call(Count, "GET", "/v1/count", {"count": 7}) == Count(7)


def test_an_answer_of_another_shape_is_a_clean_error(client):
    with pytest.raises(NetworkError, match="makes no sense") as refused:
        client.call(Count, "GET", "/v1/foreign")
    assert "Count.count" in (refused.value.got or "")
    assert "p2pqwen seed" in (refused.value.hint or "")


def test_an_error_comes_as_it_was_raised(client):
    with pytest.raises(NotFoundError) as refused:
        client.call(Count, "GET", "/v1/missing")
    assert (refused.value.what, refused.value.expected, refused.value.hint) == (
        "no such thing",
        "one",
        "look elsewhere",
    )


def test_a_fault_of_ours_has_the_fields_of_a_refusal(client):
    with pytest.raises(P2pqwenError, match="the call failed unexpectedly: TypeError"):
        client.call(Count, "GET", "/v1/fault")


def test_lines_come_typed_until_one_is_something_else(client):
    coming = client.stream(Count, "GET", "/v1/lines")
    assert [next(coming), next(coming)] == [Count(1), Count(2)]
    with pytest.raises(NetworkError, match="makes no sense"):
        next(coming)


@pytest.mark.parametrize(
    "data",
    [b"", b"{", b"[]", b"5", b"null", b'{"count": 1.5}', b'{"count": NaN}', b"[" * 100_000, b"\xff", b'{"count"'],
)
def test_damaged_bytes_are_a_clean_error(data):
    with pytest.raises(NetworkError, match="makes no sense"):
        _parsed(Count, data)


@pytest.mark.parametrize(
    "error", [P2pqwenError("plain"), NotFoundError("gone", got="nothing"), NetworkError("silent", hint="wait")]
)
def test_an_error_goes_over_the_wire_and_back(error):
    back = Refusal(Problem.of(error)).error.error
    assert (type(back), back.what, back.expected, back.got, back.hint) == (
        type(error), error.what, error.expected, error.got, error.hint,
    )  # fmt: skip


def test_an_answer_that_breaks_off_is_a_clean_error():
    class Broken:
        def read(self, most):
            raise http.client.IncompleteRead(b"{")

    with pytest.raises(NetworkError, match="stopped answering"):
        control_client._read(Broken())


def test_a_lock_that_is_held_is_known_as_such_at_the_other_end():
    held = LockHeldError(Path("Qwen--Tiny.lock"), "7", "wait for it")
    problem = Problem.of(held)
    assert (status_of(held), problem.kind) == (409, "InUseError")
    assert isinstance(problem.error, InUseError)
    assert problem.error.message == held.message
