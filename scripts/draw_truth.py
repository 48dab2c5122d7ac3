"""Draw what was planted in the embedded cohort, and how well each method detected it."""

from pathlib import Path

import pandas as pd

from voxelwhy.io.images import read_json
from voxelwhy.io.tables import TRUTH, read_table
from voxelwhy.jobs.doors import door
from voxelwhy.report.figures.truth import draw_cam, draw_truth_map, draw_truth_scores

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
    truth = read_table(job.input.truth, TRUTH)
    draw_truth_scores(
        truth,
        out["truth_scores"],
        settings=job.settings["heatmaps"],
        n_subjects=int(counts.loc[group, "n_subjects"]),
        n_scans=int(counts.loc[group, "n_scans"]),
        group=group,
        simulated=job.settings["simulated"],
        planted=job.settings["planted"],
        dpi=shown["dpi"],
    )
    if job.input.cam:
        own = dict(zip(job.settings["heatmaps"]["methods"], job.input.maps, strict=True))["grad_cam"]
        cam = dict(zip(("facts", "cellwise", "ceiling"), job.input.cam[:3], strict=True))
        columns = {"ceiling": cam["ceiling"], "grad_cam": Path(own, f"mean_{group}_scaled.nii.gz")}
        draw_cam(
            columns | {"cellwise": cam["cellwise"]},
            job.input.t1,
            out["truth_cam"],
            facts=read_json(cam["facts"]),
            own=next(row for row in truth.itertuples() if row.method == "grad_cam"),
            simulated=job.settings["simulated"],
            **shown,
        )
