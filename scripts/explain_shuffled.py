"""Train networks on shuffled diagnoses in one fold and explain them, as the null reference of each method."""

import shutil
from pathlib import Path

import nibabel as nib

from voxelwhy.evaluation.shuffled import explain_shuffled
from voxelwhy.io.tables import ATLAS, FOLDS, SELECTED, SHUFFLED, read_table, write_table
from voxelwhy.jobs.doors import door
from voxelwhy.splits.permute import first_ages
from voxelwhy.training.volumes import registered_paths

split, fold, part = (getattr(snakemake.wildcards, name) for name in ("split", "fold", "part"))
checkpoints = Path(snakemake.output[0]).parents[3] / "checkpoints" / split / f"shuffled-{fold}-{part}"

with door(snakemake) as job:
    training, selected = job.settings["training"], read_table(job.input.selected, SELECTED)
    shown = explain_shuffled(
        read_table(job.input.folds, FOLDS),
        first_ages(selected),
        registered_paths(selected, training["channels"]),
        (nib.load(job.input.labels), read_table(job.input.regions, ATLAS), nib.load(job.input.mask)),
        nib.load(job.input.network_mask),
        training,
        job.settings["shuffled"],
        fold=int(fold),
        draws=job.settings["draws"],
        classes=job.settings["classes"],
        seed=job.settings["seed"],
        code=dict(job.code),
        checkpoints=checkpoints,
        device=snakemake.resources.device,
    )
    write_table(shown, job.output[0], SHUFFLED)

shutil.rmtree(checkpoints, ignore_errors=True)
