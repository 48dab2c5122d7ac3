"""`python -m voxelwhy.commands` is the command `voxelwhy` of a checkout in which nothing was installed."""

import sys

from voxelwhy.commands.main import main

sys.exit(main())
