"""Train the network of one fold and predict its test scans; or train it again, for the section Trust."""

import shutil
from pathlib import Path

import nibabel as nib

from voxelwhy.io.tables import FOLDS, HISTORY, PREDICTIONS, SELECTED, read_table, write_table
from voxelwhy.jobs.doors import door
from voxelwhy.networks.weights import save_model
from voxelwhy.training.fold import train_fold
from voxelwhy.training.volumes import registered_paths

# results/<study>/checkpoints/<split>/fold-<k>, outside the declared outputs, which are deleted when a job dies. A study
# within another one, such as a run of a comparison, lies deeper in results/.
place = Path(snakemake.output.model).parent
splits = place.parents[4 if hasattr(snakemake.wildcards, "repeat") else 1]
checkpoints = splits.parent / "checkpoints" / place.relative_to(splits)

with door(snakemake) as job:
    repeat = int(job.wildcards.get("repeat", 0))
    selected = read_table(job.input.selected, SELECTED)
    model, card, history, predictions = train_fold(
        read_table(job.input.folds, FOLDS),
        registered_paths(selected, job.settings["training"]["channels"]),
        nib.load(job.input.mask),
        job.settings["training"],
        fold=int(job.wildcards.fold),
        classes=job.settings["classes"],
        seed=job.settings["seed"],
        code=dict(job.code),
        checkpoints=checkpoints,
        repeat=repeat,
        device=snakemake.resources.device,
    )
    save_model(job.output.model, model, card)
    if not repeat:
        write_table(history, job.output.history, HISTORY)
        write_table(predictions, job.output.predictions, PREDICTIONS)

shutil.rmtree(checkpoints, ignore_errors=True)
