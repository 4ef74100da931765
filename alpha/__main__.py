"""``python -m alpha``."""

import sys

from alpha.cli.main import main

sys.exit(main())
