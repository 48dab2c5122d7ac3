"""Train networks on shuffled diagnoses and explain them, as the null reference of each method."""

import shutil
from pathlib import Path

import nibabel as nib

from voxelwhy.evaluation.shuffled import explain_shuffled
from voxelwhy.io.tables import ATLAS, FOLDS, SELECTED, SHUFFLED, read_table, write_table
from voxelwhy.jobs.doors import door
from voxelwhy.training.volumes import registered_paths

split, draw = snakemake.wildcards.split, snakemake.wildcards.draw
checkpoints = Path(snakemake.output[0]).parents[3] / "checkpoints" / split / f"shuffled-{draw}"

with door(snakemake) as job:
    training = job.settings["training"]
    shown = explain_shuffled(
        read_table(job.input.folds, FOLDS),
        registered_paths(read_table(job.input.selected, SELECTED), training["channels"]),
        (nib.load(job.input.labels), read_table(job.input.regions, ATLAS), nib.load(job.input.mask)),
        nib.load(job.input.network_mask),
        training,
        job.settings["shuffled"],
        classes=job.settings["classes"],
        seed=job.settings["seed"],
        draw=int(draw),
        code=dict(job.code),
        checkpoints=checkpoints,
        device=snakemake.resources.device,
    )
    write_table(shown, job.output[0], SHUFFLED)

shutil.rmtree(checkpoints, ignore_errors=True)
