"""Draw how far the maps of the classes and of the methods differ, and how many predictions are saturated."""

import pandas as pd

from voxelwhy.io.tables import AGREEMENT, read_table
from voxelwhy.jobs.doors import door
from voxelwhy.report.figures.agreement import draw_agreement
from voxelwhy.report.figures.relevance import draw_saturation

with door(snakemake) as job:
    out, group = job.output.stems(), job.settings["classes"]["positive"]
    how = {key: job.settings[key] for key in ("simulated", "of", "dpi")}
    counts = pd.read_csv(job.input.groups[0], sep="\t", index_col="group")
    counts = counts[counts["n_scans"] > 0]
    draw_agreement(
        read_table(job.input.agreement, AGREEMENT),
        out["agreement"],
        group=group,
        n_subjects=int(counts.loc[group, "n_subjects"]),
        n_scans=int(counts.loc[group, "n_scans"]),
        **how,
    )
    shares, scans = counts["share_saturated"].to_dict(), counts["n_scans"].to_dict()
    draw_saturation(shares, out["saturation"], n_scans=scans, **how)
