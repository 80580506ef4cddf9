"""`python -m aerocam`: the same as the `aerocam` command."""

import sys

from aerocam.cli import main

if __name__ == "__main__":  # a process that dask starts imports this module under another name
    sys.exit(main())
