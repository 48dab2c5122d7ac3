"""Effect sizes of the embedded cohort next to published ones; write docs/figures/effect_sizes.md.

`python -m bench.cohort_check` (make cohort-check) takes less than three minutes on two cores. It deforms people with
the settings of config/config.yaml and measures the regions of the atlas that scores the embedded cohort.
"""

from __future__ import annotations

import sys
import textwrap
import time

import yaml

from bench.results import ROOT
from voxelwhy.cohort.simulation.constants import load_study
from voxelwhy.cohort.simulation.effect_sizes import ADNI, ATLAS, NICHART, PUBLISHED, effect_sizes, simulate_volumes
from voxelwhy.io.images import Grid
from voxelwhy.regions.atlases import atlas_on_grid, load_atlas

PAGE = ROOT / "docs" / "figures" / "effect_sizes.md"
#: The seed differs from that of the embedded cohort, which is one draw of the same people.
SEED, PEOPLE = 1, 200
#: How far a ratio of simulated to published may be from 1.
TOLERANCE = 0.2
COHORTS = {ADNI: "A", NICHART: "B"}


def settings_of_the_embedded_cohort():
    """The section `simulation` of config/config.yaml, with all defaults."""
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))
    return load_study(config, ROOT / "workflow" / "schemas" / "config.schema.yaml")["simulation"]


def scored_regions():
    """The regions of PUBLISHED in the scoring atlas, left and right together: bool arrays on Grid.icbm(1)."""
    labels, table = atlas_on_grid(load_atlas({"name": ATLAS}), Grid.icbm(1))
    number = table.set_index("region")["region_id"]
    return [(labels == number[f"{name}_L"]) | (labels == number[f"{name}_R"]) for name, *_ in PUBLISHED.values()]


def deviations(table, tolerance=TOLERANCE):
    """The (region, measure) of each figure whose ratio to the published one is further than `tolerance` from 1."""
    return {
        (row["region"], name)
        for row in table.to_dict("records")
        for name in ("percent", "d")
        if abs(row[f"{name}_ratio"] - 1) > tolerance
    }


def page(table):
    """The page as Markdown."""
    rows = [
        "| region | published, % | simulated, % (95 %) | ratio | published d | simulated d (95 %) | ratio |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in table.to_dict("records"):
        cells = [row["region"]]
        for name, digits in (("percent", 1), ("d", 2)):
            cells += [
                f"{row[f'published_{name}']:+.{digits}f} {COHORTS[row[f'{name}_from']]}",
                f"{row[name]:+.{digits}f} ({row[f'{name}_low']:+.{digits}f} to {row[f'{name}_high']:+.{digits}f})",
                f"{row[f'{name}_ratio']:.2f}",
            ]
        rows.append(f"| {' | '.join(cells)} |")
    beyond = sorted(" of ".join(reversed(found)) for found in deviations(table))
    verdict = f"Beyond a fifth: {', '.join(beyond)}." if beyond else "All ratios are within a fifth of 1."
    text = f"""Volume of regions of {ATLAS}, left and right together, relative to the brain with its fluid, in
        Alzheimer's disease compared with controls (`make cohort-check`): difference of the means in % of the controls'
        mean, and Cohen's d. Published: A {ADNI}; B {NICHART}. Simulated: {int(table["people"].iloc[0])} people, each
        with and without the disease; 95 % intervals from a percentile bootstrap of people. {verdict}"""
    return "\n".join([textwrap.fill(" ".join(text.split()), 120), "", *rows, ""])


def main():
    """Deform the people, print the table and write the page; 1 if a figure deviates by more than a fifth."""
    started = time.monotonic()
    volumes = simulate_volumes(settings_of_the_embedded_cohort(), SEED, PEOPLE, scored_regions(), workers=2)
    table = effect_sizes(volumes)
    PAGE.write_text(page(table), encoding="utf-8")
    print(f"{PAGE.read_text(encoding='utf-8')}\n{time.monotonic() - started:.0f} s; wrote {PAGE}")
    return 1 if deviations(table) else 0


if __name__ == "__main__":
    sys.exit(main())
