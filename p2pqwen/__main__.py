"""The program: the command `p2pqwen`, and `python -m p2pqwen`.

Python's garbage collector runs while modules are imported, though nothing of them is garbage, and once more before the
process ends, though the system then takes all memory back. A quick command would spend a seventh of its time on that.
"""

import gc
import sys

gc.disable()
from p2pqwen.cli.main import main  # noqa: E402 - with the collector off

gc.freeze()
gc.enable()


def run() -> int:
    """Run the command line of this process and return its exit code."""
    code = main()
    gc.freeze()
    return code


if __name__ == "__main__":
    sys.exit(run())
