"""The paper's figure: mean maps of the patients and of the controls, raw and scaled."""

from pathlib import Path

import pandas as pd

from voxelwhy.jobs.doors import door
from voxelwhy.report.figures.relevance import draw_group_maps

with door(snakemake) as job:
    heatmaps = job.settings["heatmaps"]
    folders = dict(zip(heatmaps["methods"], job.input.maps, strict=True))
    counts = pd.read_csv(job.input.groups[0], sep="\t", index_col="group")
    for name, out in job.output.stems().items():
        scaled = name.endswith("_scaled")
        group = name.removeprefix("heatmaps_").removesuffix("_scaled")
        kind = "_scaled" if scaled else ""
        draw_group_maps(
            {method: Path(folder, f"mean_{group}{kind}.nii.gz") for method, folder in folders.items()},
            job.input.t1,
            out,
            group=group,
            n_subjects=int(counts.loc[group, "n_subjects"]),
            n_scans=int(counts.loc[group, "n_scans"]),
            settings=heatmaps,
            simulated=job.settings["simulated"],
            of=job.settings["of"],
            scaled=scaled,
            n_folds=job.settings["n_folds"],
            **job.settings["shown"],
        )
