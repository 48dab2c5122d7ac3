"""Publish what other tools read: derivatives, models, logs, a description of the run; or remove images not kept."""

from pathlib import Path

import nibabel as nib
import numpy as np
import yaml

from voxelwhy.io.images import read_json, write_json
from voxelwhy.io.tables import HISTORY, METRICS, SELECTED, TABLE1, read_table
from voxelwhy.jobs.doors import door
from voxelwhy.jobs.keeping import drop_images
from voxelwhy.networks.files.safetensors_file import save_safetensors
from voxelwhy.networks.weights import read_weights
from voxelwhy.report.crate import describe_run
from voxelwhy.report.derivatives import remove_images, write_derivatives
from voxelwhy.report.model_cards import write_card
from voxelwhy.report.training_logs import write_logs


def derivatives(job):
    """The maps and the registered scans of the study, as BIDS derivatives."""
    settings = job.settings["derived"]
    pairs = [tuple(pair) for pair in settings["maps"]]
    maps, regions = (dict(zip(pairs, paths, strict=True)) for paths in (job.input.maps, job.input.regions))
    selected, skull = read_table(job.input.selected, SELECTED), read_json(job.input.skull)["skull_stripped"]
    write_derivatives(job.output.derivatives, selected, maps, regions, settings, skull_stripped=skull)


def models(job):
    """The model of each fold of a split as safetensors, with its card."""
    mask, metrics = nib.load(job.input.mask), job.input.metrics
    tables = {"table1": read_table(job.input.table1, TABLE1)}
    tables["metrics"] = read_table(metrics[0], METRICS) if metrics else None
    for path in map(Path, job.input.models):
        place = Path(job.output.models, path.parent.name)
        place.mkdir(parents=True)
        weights, card = read_weights(path)
        save_safetensors(place / "model.safetensors", weights, card, np.asarray(mask.dataobj) > 0)
        how = {"split": job.settings["split_name"], "grid": mask.shape}
        write_card(place / "README.md", card, job.settings["carded"], **how, **tables)


def logs(job):
    """The histories of the folds of a split, for TensorBoard."""
    for path in map(Path, job.input.histories):
        write_logs(job.output.logs, read_table(path, HISTORY), int(path.parent.name.removeprefix("fold-")))


def crate(job):
    """All settings, and the description of the run."""
    report, output = Path(job.input.report), job.output
    Path(output.settings).write_text(yaml.safe_dump(job.settings["config"], sort_keys=False, allow_unicode=True))
    kept = Path(snakemake.output.settings).relative_to(report.parent).as_posix()
    write_json(output.crate, describe_run(report.parent, kept, job.settings))


def drop(job):
    """The registered images of a study that keeps results only, and the links to them."""
    remove_images(job.input.derivatives)
    registered = Path(job.input.selected).parents[1] / "registered"
    write_json(job.output[0], drop_images(sorted(registered.glob("*/*.nii")), store=snakemake.resources.store))


with door(snakemake) as job:
    publish = {"publish_derivatives": derivatives, "publish_models": models, "publish_logs": logs}
    publish |= {"publish_run": crate, "drop_images": drop}
    publish[snakemake.rule](job)
