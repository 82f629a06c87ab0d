"""`p2pqwen --version`: this program, and what it runs on."""

from __future__ import annotations

from p2pqwen import __version__
from p2pqwen.cli.output import Output

_DEPENDENCIES = ("libtorrent", "huggingface_hub")


def print_version(*, as_json: bool) -> None:
    """Print the version; as JSON with those of Python, the system and the libraries that shape what it does.

    The libraries are not imported for it: libtorrent alone would take longer than everything else.
    """
    import platform

    fields = {
        "version": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        **{name: _installed(name) for name in _DEPENDENCIES},
    }
    with Output(as_json=as_json) as out:
        out.result(fields, [f"p2pqwen {__version__}"])


def _installed(name: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None
