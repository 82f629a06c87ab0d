"""The program: the command `p2pqwen`, and `python -m p2pqwen`.

Python looks for garbage while modules are imported, of which nothing becomes garbage, and once more before it ends,
when the system takes all memory back anyway. A quick command spends a seventh of its time on that.
"""

import gc
import sys

gc.disable()
from p2pqwen.cli.main import main  # noqa: E402 - typer comes with it

gc.freeze()
gc.enable()


def run() -> int:
    """Run the command line of this process and return its exit code."""
    code = main()
    gc.freeze()
    return code


if __name__ == "__main__":
    sys.exit(run())
