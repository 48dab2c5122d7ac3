"""Refuse a network or existing weights that do not fit the study, before any scan is registered."""

import nibabel as nib
import numpy as np

from voxelwhy.io.images import write_json
from voxelwhy.jobs.doors import door
from voxelwhy.networks.build import build_network
from voxelwhy.training.existing_weights import open_weights
from voxelwhy.training.volumes import Volumes


def check_network(mask, settings):
    brain = np.asarray(mask.dataobj) > 0
    shape, channels = Volumes([], brain, crop=settings["crop"]).shape, settings["channels"]
    options = settings.get("options", {}) | {key: settings[key] for key in ("first_pool",) if key in settings}
    network = build_network(settings["network"], shape, image_channels=len(channels), **options)
    weights = sum(p.numel() for p in network.parameters())
    return {"network": settings["network"], "channels": channels, "spatial_shape": shape, "weights": weights}


def check_weights(mask, settings):
    _, card = open_weights(settings["model"], settings["adopting"], mask, classes=settings["classes"])
    return card["source"] | {"weights_sha256": card["weights_sha256"]}


with door(snakemake) as job:
    check = check_weights if job.input.get("weights") else check_network
    write_json(job.output[0], check(nib.load(job.input.mask), job.settings))
