"""Say at once, before any scan is registered, when the network cannot work on the study's grid."""

import nibabel as nib
import numpy as np

from voxelwhy.io.images import write_json
from voxelwhy.jobs.doors import door
from voxelwhy.networks.build import build_network
from voxelwhy.training.volumes import Volumes

with door(snakemake) as job:
    brain = np.asarray(nib.load(job.input.mask).dataobj) > 0
    shape, channels = Volumes([], brain, crop=job.settings["crop"]).shape, job.settings["channels"]
    options = job.settings.get("options", {})
    network = build_network(job.settings["network"], shape, image_channels=len(channels), **options)
    weights = sum(p.numel() for p in network.parameters())
    card = {"network": job.settings["network"], "channels": channels, "spatial_shape": shape, "weights": weights}
    write_json(job.output[0], card)
