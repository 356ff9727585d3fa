"""``python -m pytest_spip.cli``."""

import sys

from pytest_spip.cli import main

if __name__ == "__main__":
    sys.exit(main())
