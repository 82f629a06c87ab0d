"""How a process that hashes for another one is asked and answers; `hash_process` is the other end.

Each line on stdin is JSON. The answer to it on stdout begins with the SHA-256 of that line, so that nothing else is
taken for an answer. What cannot be answered is answered by an end: the caller reads the file again, and then has the
error itself. The process ends when stdin does.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from hashlib import sha256
from typing import Any

NOT_READ = 3
"""The exit code where the reason is the file, and another one could be hashed."""


class OtherFileError(Exception):
    """A file is not the one that its reader opened, or has changed."""


def serve(answer: Callable[[Any], bytes]) -> None:
    """Answer one line after the other; `answer` may raise `OSError` and `OtherFileError`."""
    try:
        for line in sys.stdin.buffer:
            sys.stdout.buffer.write(sha256(line).digest() + answer(json.loads(line)))
            sys.stdout.buffer.flush()
    except (OSError, OtherFileError):
        sys.exit(NOT_READ)
    except KeyboardInterrupt:
        sys.exit(1)
