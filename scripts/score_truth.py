"""Compare each method's mean map of the patients with the disease that was planted in the embedded cohort."""

from pathlib import Path

import nibabel as nib
import numpy as np

from voxelwhy.evaluation.truth import resample_log_jacobian, score_truth
from voxelwhy.io.images import Grid, save_image
from voxelwhy.io.tables import ATLAS, SHUFFLED, TRUTH, read_table, write_table
from voxelwhy.jobs.doors import door

with door(snakemake) as job:
    positive = job.settings["classes"]["positive"]
    maps = {
        method: np.asarray(nib.load(Path(folder, f"mean_{positive}_scaled.nii.gz")).dataobj)
        for method, folder in zip(job.settings["methods"], job.input.maps, strict=True)
    }
    grid = Grid.of(job.input.mask)
    # A null cohort has no planted disease: detections are false where an effect of 1 would have changed the brain.
    reference = Path(job.input.truth, "reference.nii.gz")
    planted_in = reference if reference.exists() else Path(job.input.truth, "log_jacobian.nii.gz")
    planted = resample_log_jacobian(nib.load(planted_in), grid)
    card = {"units": "log of the volume relative to the template", "simulated": True}
    save_image(job.output.log_jacobian, planted, grid.affine, card)
    truth = score_truth(
        maps,
        planted,
        np.asarray(nib.load(job.input.mask).dataobj) > 0,
        np.asarray(nib.load(job.input.labels).dataobj).astype(int),
        read_table(job.input.regions, ATLAS),
        threshold=job.settings["threshold"],
        n_permutations=job.settings["permutations"],
        seed=job.settings["seed"],
        shuffled=[read_table(path, SHUFFLED) for path in job.input.shuffled],
    )
    write_table(truth, job.output.truth, TRUTH)
