"""`p2pqwen --version`: this program, and what it runs on."""

from __future__ import annotations

from dataclasses import dataclass

from p2pqwen import __version__
from p2pqwen.cli.output import Output


@dataclass(frozen=True, slots=True)
class VersionAnswer:
    """The answer of `--version --json`. A library is None if it is not installed."""

    version: str
    python: str
    platform: str
    libtorrent: str | None
    huggingface_hub: str | None


def print_version(*, as_json: bool) -> None:
    """Print the version; as JSON also those of Python, the system and the main libraries.

    The libraries are not imported for this: libtorrent alone would take longer than everything else.
    """
    import platform

    answer = VersionAnswer(
        __version__,
        platform.python_version(),
        platform.platform(),
        _installed("libtorrent"),
        _installed("huggingface_hub"),
    )
    with Output(as_json=as_json) as out:
        out.result(answer, [f"p2pqwen {__version__}"])


def _installed(name: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
