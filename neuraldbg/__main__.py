"""``python -m neuraldbg``."""

import sys

from neuraldbg.cli import main

sys.exit(main())
