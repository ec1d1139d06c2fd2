"""`python -m bertsmith`: the command line."""

import sys

from bertsmith.cli.main import main

sys.exit(main())
