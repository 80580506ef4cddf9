"""`python -m aerocam`: the same as the `aerocam` command."""

import sys

from aerocam.cli import main

sys.exit(main())
