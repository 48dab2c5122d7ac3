"""Compare each method's map of the patients with the disease that was planted in the embedded cohort."""

from pathlib import Path

import nibabel as nib
import numpy as np

from voxelwhy.evaluation.shuffled import join_folds
from voxelwhy.evaluation.truth import PlantedRegions, resample_log_jacobian, score_truth
from voxelwhy.io.images import Grid, save_image
from voxelwhy.io.tables import ATLAS, REGIONS, SCORED_REGIONS, SHUFFLED, TRUTH, TRUTH_DRAWS, read_table, write_table
from voxelwhy.jobs.doors import door

with door(snakemake) as job:
    positive, settings = job.settings["classes"]["positive"], job.settings
    grid, brain = Grid.of(job.input.mask), np.asarray(nib.load(job.input.mask).dataobj) > 0
    # A null cohort has no planted disease: detections are false where an effect of 1 would have changed the brain.
    reference = Path(job.input.truth, "reference.nii.gz")
    planted_in = reference if reference.exists() else Path(job.input.truth, "log_jacobian.nii.gz")
    log_jacobian = resample_log_jacobian(nib.load(planted_in), grid)
    card = {"units": "log of the volume relative to the template", "simulated": True}
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
    truth, drawn = score_truth(
        maps,
        enrichment,
        planted,
        brain,
        threshold=settings["threshold"],
        n_permutations=settings["permutations"],
        seed=settings["seed"],
        shuffled={method: own[ids].to_numpy() for method, own in draws.items()},
    )
    write_table(truth, job.output.scores, TRUTH)
    write_table(drawn, job.output.draws, TRUTH_DRAWS)
    write_table(planted.table(enrichment, settings["threshold"]), job.output.regions, SCORED_REGIONS)
