"""Every command that takes REPO@COMMIT takes the commit as it is printed: its first seven digits."""

from __future__ import annotations

import typing
from collections.abc import Callable, Iterator

import pytest

from tests.support.models import small_model
from tests.support.nodes import quiet_config
from tests.support.preserved import Preserver
from tests.support.registered import registered

COMMIT = "c0ffee" * 6 + "c0de"
SHORT = f"Qwen/Tiny@{COMMIT[:7]}"
# What each is called with, and the exit code; a name that is not understood ends with 2 or 4.
CALLS: dict[str, tuple[tuple[str, ...], int]] = {
    "export": ((SHORT, "{folder}/export"), 0),
    "fetch": ((SHORT, "--no-web-seeds"), 0),
    "health": ((SHORT, "--no-look"), 0),
    "library move": ((SHORT, "--to", "{library}"), 0),
    "library scrub": ((SHORT,), 0),
    "pause": ((SHORT,), 0),
    "pin": ((SHORT,), 0),
    "priority": ((SHORT, "low"), 0),
    "publish": (("--withdraw", SHORT, "--reason", "x", "--out", "{folder}/site", "--no-check", "--dry-run"), 0),
    "remove": ((SHORT, "--yes"), 0),
    "resume": ((SHORT,), 0),
    "unpin": ((SHORT,), 0),
    "upstream check": ((SHORT,), 5),  # no Hub is there to ask
    "upstream show": ((SHORT,), 0),
    "verify": ((SHORT,), 0),
    "webseed check": ((SHORT, "--web-seed", "http://127.0.0.1:9/"), 5),
}
# What `preserve` takes is a revision of the Hub's, which may be any word; `index show` takes a file.
OTHERWISE = {"preserve"}


@pytest.fixture(scope="module")
def publisher(tmp_path_factory):
    made = Preserver(tmp_path_factory.mktemp("publisher"))
    made.preserve(small_model(), COMMIT)
    quiet_config(made.user)
    return made


def commands() -> Iterator[tuple[str, Callable[..., object]]]:
    app = registered()
    groups = [("", app), *((f"{one.name} ", one.typer_instance) for one in app.registered_groups)]
    for prefix, group in groups:
        for one in group.registered_commands:
            assert one.callback is not None
            yield f"{prefix}{one.name or one.callback.__name__}", one.callback


def words(command: Callable[..., object]) -> str:
    """What is said of a command's arguments and options."""
    hints = typing.get_type_hints(command, include_extras=True).values()
    said = [one for hint in hints for one in getattr(hint, "__metadata__", ())]
    return " ".join(f"{getattr(one, 'metavar', '')} {getattr(one, 'help', '')}" for one in said)


def test_no_command_is_left_out():
    found = {name for name, command in commands() if "@COMMIT" in words(command)}
    assert found - OTHERWISE == CALLS.keys()


@pytest.mark.parametrize("name", sorted(CALLS, key=lambda one: (one == "remove", one)))  # it takes the snapshot away
def test_a_short_commit_is_understood(publisher, name):
    arguments, code = CALLS[name]
    given = [one.format(folder=publisher.folder, library=publisher.user.home / "library") for one in arguments]
    done = publisher.user.run(*name.split(), *given)
    assert done.code == code, done.stderr


@pytest.mark.parametrize("name", sorted(CALLS.keys() - {"publish"}))
def test_one_that_fits_nothing_is_said_to(publisher, name):
    given = [
        one.format(folder=publisher.folder, library=publisher.user.home / "library").replace(COMMIT[:7], "fffffff")
        for one in CALLS[name][0]
    ]
    done = publisher.user.run(*name.split(), *given)
    assert done.code == 4, done.stderr
    assert "Qwen/Tiny@fffffff" in done.stderr
