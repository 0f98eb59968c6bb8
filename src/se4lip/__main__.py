"""``python -m se4lip`` is the command line."""

import sys

from se4lip.cli import main

if __name__ == "__main__":
    sys.exit(main())
