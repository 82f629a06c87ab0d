"""`python -m p2pqwen` is the command `p2pqwen`."""

import sys

from p2pqwen.cli.main import main

sys.exit(main())
