"""`python -m procq.cli`, the same as `procq`."""

from __future__ import annotations

import sys

from procq.cli import main

sys.exit(main())
