"""The demo's config with what it does not use itself, for tests that ask which jobs there would be."""

from __future__ import annotations

import yaml

from helpers.paths import ROOT
from voxelwhy.io.tables import SELECTED

DEMO = yaml.safe_load((ROOT / "config" / "config.yaml").read_text())


def with_others(folder, **sections):
    """The demo with an imported map, tested on the cohort `elsewhere`, whose table of no scans is made in `folder`."""
    cohort = folder / "results" / "elsewhere" / "cohort"
    cohort.mkdir(parents=True, exist_ok=True)
    (cohort / "selected.tsv").write_text("\t".join(SELECTED.columns) + "\n")
    (folder / "maps.npz").touch()
    others = [{"name": "theirs", "file": "maps.npz", "group": "AD"}]
    return DEMO | {"evaluate_on": ["elsewhere"], "heatmaps": DEMO["heatmaps"] | {"others": others}} | sections
