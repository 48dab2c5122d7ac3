"""Compare each method's map of the patients with the disease that was planted in the embedded cohort."""

from importlib import import_module
from pathlib import Path

import nibabel as nib
import numpy as np
import pandas as pd

from voxelwhy.evaluation.draws import join_folds
from voxelwhy.evaluation.truth import PlantedRegions, resample_log_jacobian, score_truth
from voxelwhy.io.images import Grid, save_image, write_json
from voxelwhy.io.tables import (
    ATLAS,
    BASELINE_RELEVANCE,
    PREDICTIONS,
    REGIONS,
    SCORED_REGIONS,
    SELECTED,
    SHUFFLED,
    TRUTH,
    TRUTH_DRAWS,
    read_table,
    write_table,
)
from voxelwhy.jobs.doors import door
from voxelwhy.training.baseline_maps import baseline_enrichment, load_baseline_maps
from voxelwhy.training.volumes import counted_voxels, registered_paths

SETTINGS = {"threshold": "threshold", "n_permutations": "permutations", "seed": "seed"}

with door(snakemake) as job:

    def score(maps, enrichment, draws):
        how = {key: settings[name] for key, name in SETTINGS.items()}
        shuffled = {name: own[ids].to_numpy() for name, own in draws.items()}
        return score_truth(maps, enrichment, planted, brain, shuffled=shuffled, **how)

    positive, settings = job.settings["classes"]["positive"], job.settings
    grid, brain = Grid.of(job.input.mask), np.asarray(nib.load(job.input.mask).dataobj) > 0
    # A null cohort has no planted disease: detections are false where an effect of 1 would have changed the brain.
    reference = Path(job.input.truth, "reference.nii.gz")
    planted_in = reference if reference.exists() else Path(job.input.truth, "log_jacobian.nii.gz")
    log_jacobian = resample_log_jacobian(nib.load(planted_in), grid)
    card = {"units": "log of the volume relative to the template", "simulated": settings["simulated"]}
    save_image(job.output.log_jacobian, log_jacobian, grid.affine, card)
    labels = np.asarray(nib.load(job.input.labels).dataobj).astype(int)
    planted = PlantedRegions(log_jacobian, labels, brain, read_table(job.input.atlas, ATLAS))
    ids = planted.regions["region_id"]
    maps, enrichment = {}, {}
    for method, folder, table in zip(settings["methods"], job.input.maps, job.input.regions, strict=True):
        maps[method] = np.asarray(nib.load(Path(folder, f"mean_{positive}_scaled.nii.gz")).dataobj)
        regions = read_table(table, REGIONS)
        own = regions[regions["group"] == positive].set_index("region_id")
        enrichment[method] = own["enrichment"].loc[ids].to_numpy()
    draws = join_folds([read_table(path, SHUFFLED) for path in job.input.shuffled]) if job.input.shuffled else {}
    scored = [score(maps, enrichment, draws)]
    if job.input.baseline:
        # A family of its own: whether a method detects the disease does not depend on which baseline was chosen.
        *paths, relevance = job.input.baseline
        own, drawn = baseline_enrichment(read_table(relevance, BASELINE_RELEVANCE))
        enrichment |= {name: values.loc[ids].to_numpy() for name, values in own.items()}
        scored.append(score(load_baseline_maps(paths), enrichment, drawn))
    written = ((job.output.scores, TRUTH), (job.output.draws, TRUTH_DRAWS))
    for tables, (path, schema) in zip(zip(*scored, strict=True), written, strict=True):
        write_table(pd.concat(tables, ignore_index=True), path, schema)
    if job.input.models:
        # By name, because its code, and torch, are needed only by studies with Grad-CAM and a planted disease.
        examine_grad_cam = import_module("voxelwhy.evaluation.cam").examine_grad_cam
        scans = pd.concat([read_table(path, PREDICTIONS) for path in job.input.predictions])
        network_mask = nib.load(job.input.network_mask)
        facts, cam_maps = examine_grad_cam(
            dict(enumerate(job.input.models)),
            scans,
            registered_paths(read_table(job.input.selected, SELECTED)),
            labels,
            counted_voxels(nib.load(job.input.mask), network_mask),
            network_mask,
            planted,
            settings["cam"],
            positive=positive,
            **{name: settings[name] for name in ("threshold", "seed")},
        )
        for name, values in cam_maps.items():
            save_image(
                getattr(job.output, name), values.astype(np.float32), grid.affine, {"simulated": settings["simulated"]}
            )
        write_json(job.output.cam, facts)
    write_table(planted.table(enrichment, settings["threshold"]), job.output.regions, SCORED_REGIONS)
