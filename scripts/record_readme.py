#!/usr/bin/env python3
"""Record the README's picture, .github/images/quickstart.svg, from a real run.

A publisher preserves, publishes and seeds a tiny model from a local Hub. Then the commands of `SCENE` run one after
another in a terminal of 80 columns, and the screen becomes the picture. Nothing leaves this machine. Only names of this
run are replaced: the temporary home is shown as /home/you, the port as 16881.
"""

from __future__ import annotations

import argparse
import io
import os
import pty
import re
import subprocess
import sys
import tempfile
from html import unescape
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from rich.console import Console  # noqa: E402 - the project's root must be found first
from rich.terminal_theme import MONOKAI  # noqa: E402
from rich.text import Text  # noqa: E402

from p2pqwen.demo.local_hub import LocalHub  # noqa: E402
from p2pqwen.demo.tiny_model import write_tiny_model  # noqa: E402
from tests.support.examples import PUBLISHER, READER, Machines, Step, machines  # noqa: E402

PICTURE = ROOT / ".github" / "images" / "quickstart.svg"
COLUMNS = 80
SCENE = (
    "p2pqwen trust add $PUBLISHER --index site | head -3",
    "p2pqwen fetch Qwen/Qwen3-0.6B --peer 127.0.0.1:16881 --no-web-seeds",
    "p2pqwen verify Qwen/Qwen3-0.6B",
    "HF_HUB_OFFLINE=1 hf download Qwen/Qwen3-0.6B --quiet",
)
"""Each, without `| head`, is also an example of the manual, whose output the tests compare."""
_PROMPT = "$ "
_WORLD = "seeded"
_TEMPLATE = """\
<svg class="rich-terminal" viewBox="0 0 {width} {height}" xmlns="http://www.w3.org/2000/svg">
<title>p2pqwen in a terminal</title>
<style>
.{unique_id}-matrix {{ font-family: "DejaVu Sans Mono", Menlo, Consolas, monospace; \
font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: sans-serif; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}" />
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def record() -> list[tuple[str, str]]:
    """Run the scene and return each command with its output."""
    with tempfile.TemporaryDirectory(prefix="p2pqwen-readme-") as made, LocalHub() as hub:
        folder = Path(made)
        hub.add("Qwen/Qwen3-0.6B", write_tiny_model(folder / "model"))
        with machines(folder, hub.endpoint) as users:
            users.begin("the-picture", _WORLD)
            return [(command, _shown(_on_a_terminal(users, command), users)) for command in SCENE]


def _on_a_terminal(users: Machines, command: str) -> str:
    """Run one command with a terminal for its stdout; progress, on stderr, is left out."""
    leader, follower = pty.openpty()
    publisher = users.run(Step(READER, "echo $PUBLISHER", None))
    environment = {**users.environment(READER), "PUBLISHER": publisher, "COLUMNS": str(COLUMNS), "TERM": "dumb"}
    with subprocess.Popen(
        ["bash", "-c", users.on_free_ports(command)],
        cwd=users.work, env=environment, stdin=subprocess.DEVNULL, stdout=follower, stderr=subprocess.DEVNULL,
    ) as process:  # fmt: skip
        os.close(follower)
        said = bytearray()
        try:
            while block := os.read(leader, 1 << 16):
                said += block
        except OSError:  # Linux: the last writer has gone
            pass
        finally:
            os.close(leader)
    if process.returncode:
        raise SystemExit(f"{command} ended with {process.returncode}\n{said.decode()}")
    return said.decode().replace("\r\n", "\n")


def _shown(text: str, users: Machines) -> str:
    for user in (READER, PUBLISHER):
        text = text.replace(users.environment(user)["HOME"], "/home/you")
    return users.as_printed(text.replace(str(users.work), "/home/you"))


def draw(scene: list[tuple[str, str]]) -> str:
    """Return the picture of a terminal that shows commands and their output."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), force_terminal=True, color_system="truecolor")
    for number, (command, said) in enumerate(scene):
        if number:
            console.print()
        for row in _rows(_PROMPT + command):
            console.print(Text(row, style="bold green"), no_wrap=True, overflow="ignore", crop=False)
        for line in said.splitlines():
            for row in _rows(line):
                console.print(Text(row), no_wrap=True, overflow="ignore", crop=False)
    drawn = console.export_svg(title="p2pqwen", theme=MONOKAI, code_format=_TEMPLATE, unique_id="p2pqwen")
    return "\n".join(line.rstrip() for line in drawn.splitlines()) + "\n"


def _rows(line: str) -> list[str]:
    """Break a line as a terminal does: after its last column."""
    return [line[at : at + COLUMNS] for at in range(0, len(line), COLUMNS)] or [""]


def read(picture: str) -> list[tuple[str, str]]:
    """Return the commands of a picture and their output, as `record` returned them."""
    rows: dict[float, str] = {}
    for y, text in re.findall(r'<text class="p2pqwen-r\d+"[^>]* y="([\d.]+)"[^>]*>(.*?)</text>', picture):
        rows[float(y)] = rows.get(float(y), "") + unescape(text).replace("\xa0", " ")
    scene: list[tuple[str, list[str]]] = []
    whole = False  # the previous row filled the terminal, so this one continues it
    for y in sorted(rows):
        row = rows[y]
        if row.startswith(_PROMPT) and not whole:
            scene.append((row.removeprefix(_PROMPT), []))
        elif scene:
            lines = scene[-1][1]
            if whole and lines and not row.startswith(" "):  # p2pqwen indents lines that it wraps itself
                lines[-1] += row
            else:
                lines.append(row)
        whole = len(row) == COLUMNS
    return [(command, "\n".join(line.rstrip() for line in lines).strip()) for command, lines in scene]


def main() -> None:
    """Record and write."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    scene = record()
    drawn = draw(scene)
    if read(drawn) != [(command, said.strip()) for command, said in scene]:
        raise SystemExit("the picture does not say what was recorded")
    PICTURE.write_text(drawn, encoding="utf-8")


if __name__ == "__main__":
    main()
