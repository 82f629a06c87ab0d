"""The protocol of a child process that hashes, child's end; `hash_process` is the parent's end.

Each line on stdin is JSON. Each answer on stdout begins with the SHA-256 of that line, so that nothing else is taken
for an answer. A child that cannot answer exits: the caller then reads the file itself, and gets the error. The process
ends when stdin does.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from hashlib import sha256
from typing import Any

NOT_READ = 3
"""The exit code if the file is the reason, so that another file could be hashed."""


class OtherFileError(Exception):
    """A file is not the one that its reader opened, or has changed."""


def serve(answer: Callable[[Any], bytes]) -> None:
    """Answer each line in turn; `answer` may raise `OSError` and `OtherFileError`."""
    try:
        for line in sys.stdin.buffer:
            sys.stdout.buffer.write(sha256(line).digest() + answer(json.loads(line)))
            sys.stdout.buffer.flush()
    except (OSError, OtherFileError):
        sys.exit(NOT_READ)
    except KeyboardInterrupt:
        sys.exit(1)
