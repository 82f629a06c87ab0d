"""Find the console examples of a document, and run them as printed, by users with new homes.

`console` blocks have commands after `$ ` and their stdout. `…` matches any text in a line; alone on a line, it matches
any lines. A prompt `NAME$ `, or `<!-- as: NAME -->` before a block, names the user; the default is `reader`. A user's
commands run in one shell, and all shells share one working folder. `<!-- examples: WORLD -->` says what happens before
the first example: see `WORLDS`.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.other_clients import free_port

READER = "reader"
PUBLISHER = "publisher"
MARK = "-- end of command --"
SECONDS = 90
_BLOCK = re.compile(r"(?:<!-- as: (\w+) -->\n)?```console\n(.*?)```", re.DOTALL)
_WORLD = re.compile(r"<!-- examples: (\w+) -->")
_PROMPT = re.compile(r"^([a-z]*)\$ ", re.MULTILINE)
_PORT = re.compile(r":16\d{3}\b")
_CONFIG = '[network]\nlisten = "127.0.0.1:16881"\ndht = false\nlsd = false\nupnp = false\n'


@dataclass(frozen=True)
class Step:
    """One command; `expected` is None for a step that the document does not print."""

    user: str
    command: str
    expected: str | None


def _as(user: str, *commands: str) -> list[Step]:
    return [Step(user, command, None) for command in commands]


_PUBLISHED = _as(
    PUBLISHER,
    "p2pqwen preserve Qwen/Qwen3-0.6B",
    'p2pqwen keys init --name "Qwen Preservation" --no-passphrase',
    "p2pqwen publish --out site",
    "p2pqwen keys show | awk '$1 == \"publisher\" {print $2}' > publisher-id",
)
_SEEDED = _as(PUBLISHER, "p2pqwen seed > seed.log &", "until grep -q seeding seed.log; do sleep 0.1; done")
_TRUSTED = _as(READER, "p2pqwen trust add $PUBLISHER --index site")
_HELD = _as(READER, "p2pqwen fetch Qwen/Qwen3-0.6B --peer 127.0.0.1:16881 --no-web-seeds")
WORLDS: dict[str, list[Step]] = {
    "empty": [],
    "published": [*_PUBLISHED],
    "trusted": [*_PUBLISHED, *_TRUSTED],
    "seeded": [*_PUBLISHED, *_SEEDED],
    "held": [*_PUBLISHED, *_SEEDED, *_TRUSTED, *_HELD],
}
"""What happens first: a publisher's site is in `site` and is seeded; `reader` trusts it, or holds the model."""


def world_of(text: str) -> str:
    """Return the world that a document names, `empty` by default."""
    found = _WORLD.search(text)
    return found[1] if found else "empty"


def printed_steps(text: str) -> list[Step]:
    """Return the commands that a document prints, in order."""
    found = []
    for user, block in _BLOCK.findall(text):
        parts = iter(_PROMPT.split(block)[1:])
        for prompt, part in zip(parts, parts, strict=True):
            command, _, expected = part.partition("\n")
            while command.endswith("\\"):
                more, _, expected = expected.partition("\n")
                command = f"{command}\n{more}"
            found.append(Step(prompt or user or READER, command, expected))
    return found


def matches(expected: str, got: str) -> bool:
    """Tell whether output matches what a document prints."""
    pattern = "".join(
        r"(?:.*\n)*" if line == "…" else r"[^\n]*".join(re.escape(part) for part in line.split("…")) + r"\n"
        for line in expected.strip().splitlines()
    )
    return re.fullmatch(pattern, got + "\n" if got else "") is not None


class Machines:
    """A shell for each user, with a new home; the ports in documents are replaced by free ones.

    The steps of a world run once. Every document in it finds the same publisher, but has its own readers and other
    users. Nothing contacts the networks around this machine: peers are named, or the Hub serves the files.
    """

    def __init__(self, folder: Path, endpoint: str) -> None:
        self.work = folder / "work"
        self.work.mkdir()
        self._folder = folder
        self._environment = {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HF_ENDPOINT": endpoint,
            "LANG": "C.UTF-8",
            "COLUMNS": "200",
        }
        self._shells: dict[str, _Shell] = {}
        self._ports: dict[str, str] = {}
        self._done: set[Step] = set()
        self._document = ""

    def begin(self, document: str, world: str) -> None:
        """Prepare to run a document: do the steps of its world that were not done yet."""
        self._document = document
        for step in WORLDS[world]:
            if step.user != PUBLISHER or step not in self._done:
                self.run(step)
                self._done.add(step)

    def run(self, step: Step) -> str:
        """Run a command and return its stdout."""
        return self._shell(step.user).run(self.on_free_ports(step.command))

    def environment(self, user: str) -> dict[str, str]:
        """Return a user's environment; a new user's home is made."""
        home = self._folder / self._name(user)
        if not home.exists():
            settings = home / ".local" / "share" / "p2pqwen" / "config.toml"
            settings.parent.mkdir(parents=True)
            settings.parent.chmod(0o700)
            settings.write_text(self._config(user), encoding="utf-8")
        return {"HOME": str(home), **self._environment}

    def expected(self, step: Step) -> str:
        """Return a step's expected output, with the ports that are used here."""
        return self.on_free_ports(step.expected or "")

    def close(self) -> None:
        """End every shell and everything that it started."""
        for shell in self._shells.values():
            shell.close()

    def _name(self, user: str) -> str:
        return user if user == PUBLISHER else f"{user}-of-{self._document}"

    def _shell(self, user: str) -> _Shell:
        name = self._name(user)
        if name not in self._shells:
            self._shells[name] = _Shell(self.work, self.environment(user))
            self._shells[name].run("PUBLISHER=$(cat publisher-id)")  # users learn it by other means
        return self._shells[name]

    def _config(self, user: str) -> str:
        """Return a user's config.toml; port 16881 in documents is the publisher's node."""
        return self.on_free_ports(_CONFIG if user == PUBLISHER else _CONFIG.replace(":16881", f":{free_port()}"))

    def on_free_ports(self, text: str) -> str:
        """Return a text with its printed ports replaced by those that are used here."""
        return _PORT.sub(lambda found: self._ports.setdefault(found[0], f":{free_port()}"), text)

    def as_printed(self, text: str) -> str:
        """Return a text with the ports used here replaced by those that documents print."""
        for printed, used in self._ports.items():
            text = text.replace(used, printed)
        return text


class _Shell:
    """A bash; `run` gives a command's stdout."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self._bash = subprocess.Popen(
            ["bash", "--noprofile", "--norc"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            cwd=folder,
            env=environment,
        )

    def run(self, command: str) -> str:
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write(f"{command}\necho; echo {shlex.quote(MARK)}\n")
        self._bash.stdin.flush()
        lines = []
        for line in self._bash.stdout:
            if line.strip() == MARK:
                return "\n".join(lines).strip()
            lines.append(line.rstrip())
        raise AssertionError(f"the shell ended in {command!r}")

    def close(self) -> None:
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._bash.stdin.write("kill $(jobs -p) 2>/dev/null; wait\n")
        self._bash.stdin.close()
        self._bash.wait(SECONDS)
        self._bash.stdout.close()


@contextlib.contextmanager
def machines(folder: Path, endpoint: str) -> Iterator[Machines]:
    """Yield machines, and end what ran on them."""
    running = Machines(folder, endpoint)
    try:
        yield running
    finally:
        running.close()
