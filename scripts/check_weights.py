"""Say at once, before any scan is registered, when the weights of the config do not fit the study."""

import nibabel as nib

from voxelwhy.io.images import write_json
from voxelwhy.jobs.doors import door
from voxelwhy.training.existing_weights import open_weights

with door(snakemake) as job:
    settings = job.settings
    mask = nib.load(job.input.mask)
    _, card = open_weights(settings["model"], settings["training"], mask, classes=settings["classes"])
    write_json(job.output[0], card["source"] | {"weights_sha256": card["weights_sha256"]})
