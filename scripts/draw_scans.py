"""Draw the maps of single scans over their own anatomy."""

from pathlib import Path

import pandas as pd

from voxelwhy.io.tables import PREDICTIONS, SELECTED, read_table
from voxelwhy.jobs.doors import door
from voxelwhy.report.figures.relevance import draw_scan_maps
from voxelwhy.training.volumes import registered_paths

with door(snakemake) as job:
    heatmaps, out = job.settings["heatmaps"], Path(job.output[0])
    out.mkdir()
    anatomy = registered_paths(read_table(job.input.selected, SELECTED))
    predictions = pd.concat([read_table(path, PREDICTIONS) for path in job.input.predictions])
    folders = dict(zip(heatmaps["methods"], job.input.maps, strict=True))
    for scan in predictions[predictions["scan_id"].isin(heatmaps["scans"])].itertuples():
        draw_scan_maps(
            {method: Path(folder, f"scan_{scan.scan_id}.nii.gz") for method, folder in folders.items()},
            anatomy[scan.scan_id],
            job.input.t1,
            out / scan.scan_id,
            scan_id=scan.scan_id,
            label=scan.label,
            probability=scan.probability,
            unseen=job.settings["unseen"],
            classes=job.settings["classes"],
            settings=heatmaps,
            simulated=job.settings["simulated"],
            **job.settings["shown"],
        )
