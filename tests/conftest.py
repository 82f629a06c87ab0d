"""What holds for every test, however the run was started."""

from __future__ import annotations

import signal

# Its pytest plugin would import it at the very end of a run that needs it nowhere, deep in the stack, where the
# parser of CPython 3.11 fails ("AST constructor recursion depth mismatch").
import hypothesis  # noqa: F401

# A run in a script's background starts with SIGINT ignored, and so would the commands that tests interrupt. A handler
# of ours is not inherited; the default is.
signal.signal(signal.SIGINT, signal.default_int_handler)
