"""Every example of the README runs as printed.

Blocks of `console` hold commands after `$ ` and the stdout they gave; `…` stands for what differs between runs (a line
of it alone for any lines). `<!-- as: NAME -->` before a block says on whose machine it runs: each name is a user with
an empty home of its own, in one folder; blocks of one name go on in one shell.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from p2pqwen.demo.tiny_model import write_tiny_model
from tests.simulators.hub import HubSimulator
from tests.support.other_clients import free_port
from tests.support.processes import ROOT

README = ROOT / "README.md"
MARK = "-- end of command --"
_BLOCK = re.compile(r"(?:<!-- as: (\w+) -->\n)?```console\n(.*?)```", re.DOTALL)
_PORT = re.compile(r":16\d{3}\b")
SECONDS = 90


@dataclass(frozen=True)
class Step:
    user: str
    command: str
    expected: str


def steps() -> list[Step]:
    """Return the commands in order, on ports that are free now: the same examples may be running beside us."""
    found = []
    text = README.read_text(encoding="utf-8")
    for port in set(_PORT.findall(text)):
        text = text.replace(port, f":{free_port()}")
    for user, block in _BLOCK.findall(text):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, expected = part.partition("\n")
            while command.endswith("\\"):
                more, _, expected = expected.partition("\n")
                command = f"{command}\n{more}"
            found.append(Step(user or "reader", command, expected))
    return found


class Shell:
    """A bash with a home of its own; `run` gives a command's stdout."""

    def __init__(self, home: Path, folder: Path, endpoint: str) -> None:
        home.mkdir()
        environment = {
            "HOME": str(home),
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HF_ENDPOINT": endpoint,
            "LANG": "C.UTF-8",
        }
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


def matches(expected: str, got: str) -> bool:
    pattern = "".join(
        r"(?:.*\n)*" if line == "…" else r"[^\n]*".join(re.escape(part) for part in line.split("…")) + r"\n"
        for line in expected.strip().splitlines()
    )
    return re.fullmatch(pattern, got + "\n" if got else "") is not None


@pytest.mark.timeout(SECONDS * 7)
def test_every_example_gives_what_is_printed(tmp_path):
    found = steps()
    assert len(found) >= 10
    folder = tmp_path / "work"
    folder.mkdir()
    shells: dict[str, Shell] = {}
    with HubSimulator() as hub:
        hub.add("Qwen/Qwen3-0.6B", write_tiny_model(tmp_path / "model"))
        try:
            for step in found:
                if step.user not in shells:
                    shells[step.user] = Shell(tmp_path / step.user, folder, hub.endpoint)
                got = shells[step.user].run(step.command)
                assert matches(step.expected, got), f"$ {step.command}\n{got}\n--- the README says:\n{step.expected}"
        finally:
            for shell in shells.values():
                shell.close()
