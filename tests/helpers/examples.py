"""How many examples tests draw at random: few in `make test`, all in `make test-rest` and `make test-all`."""

from __future__ import annotations

import math
import os

SHARE = 1 if os.environ.get("VOXELWHY_EXAMPLES") == "all" else 0.1


def examples(number):
    """`number` where all examples are to be drawn, otherwise a tenth of it."""
    return math.ceil(SHARE * number)
