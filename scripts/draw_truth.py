"""Draw what was planted in the embedded cohort, and how well each method detected it."""

import pandas as pd

from voxelwhy.io.tables import TRUTH, read_table
from voxelwhy.jobs.doors import door
from voxelwhy.report.figures.truth import draw_truth_map, draw_truth_scores

with door(snakemake) as job:
    out, group, shown = job.output.stems(), job.settings["classes"]["positive"], job.settings["shown"]
    counts = pd.read_csv(job.input.groups[0], sep="\t", index_col="group")
    draw_truth_map(
        job.input.log_jacobian,
        job.input.t1,
        out["truth_map"],
        threshold=job.settings["threshold"],
        simulated=job.settings["simulated"],
        planted=job.settings["planted"],
        **shown,
    )
    draw_truth_scores(
        read_table(job.input.truth, TRUTH),
        out["truth_scores"],
        settings=job.settings["heatmaps"],
        n_subjects=int(counts.loc[group, "n_subjects"]),
        n_scans=int(counts.loc[group, "n_scans"]),
        group=group,
        simulated=job.settings["simulated"],
        planted=job.settings["planted"],
        dpi=shown["dpi"],
    )
