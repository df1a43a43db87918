"""`python -m riverrun`: the command line, for launchers that start modules."""

import sys

from riverrun.cli import main

if __name__ == "__main__":
    sys.exit(main())
