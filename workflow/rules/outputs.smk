"""
Outputs for other tools, and what is kept: of the whole study, and of its own splits.

IN   models, maps, registered scans, the report
OUT  splits/<split>/models/fold-<k>/       the model as safetensors, with a model card
     splits/<split>/tensorboard/           the histories of the trainings, with training.tensorboard
     derivatives/voxelwhy/                 a BIDS dataset of the maps and the registered scans, by links
     ro-crate-metadata.json, settings.yaml the run as an RO-Crate, and all its settings
     cohort/dropped_images.json            with keep: results, how many registered images were removed afterwards

A study with keep: results removes registered images after the report, and the sums of the parts of heatmaps once they
are merged; tables, quality measures, models, maps and figures always stay.
"""


rule drop_images:
    """Remove the registered images once the report is written, and the links to them among the derivatives."""
    input:
        report="<results>/report.html",
        derivatives="<results>/derivatives/voxelwhy",
        selected="<results>/cohort/selected.tsv",
        # What new scans are compared with, once the images are gone.
        measured=[rules.measure_scans.output.measured, rules.measure_scans.output.region_means],
    output:
        "<results>/cohort/dropped_images.json",
    resources:
        **ask.tables,
        store=config["registration"]["store"],
    params:
        settings={},
    script:
        "../../scripts/publish_results.py"


rule publish_models:
    """Write the model of each fold of {wildcards.split} as safetensors, each with a model card."""
    input:
        models=study.models,
        metrics=study.metrics,
        table1="<results>/splits/{split}/table1.tsv",
        mask=rules.prepare_mask.output.mask,
    output:
        models=directory("<results>/splits/{split}/models"),
    wildcard_constraints:
        split=one_of(study.own_splits),
    group:
        "results_{split}"
    resources:
        **ask.maps,
    params:
        settings=facts("carded", "split_name"),
    script:
        "../../scripts/publish_results.py"


rule publish_derivatives:
    """Link the registered scans and the maps of all methods into a BIDS dataset of derivatives."""
    input:
        selected="<results>/cohort/selected.tsv",
        skull="<results>/cohort/skull.json",
        maps=study.published_files("splits/{split}/heatmaps/{method}/maps"),
        regions=study.published_files("splits/{split}/regions/{method}.tsv"),
    output:
        derivatives=directory("<results>/derivatives/voxelwhy"),
    params:
        settings=facts("derived"),
    script:
        "../../scripts/publish_results.py"


rule publish_logs:
    """Write the histories of the trainings of {wildcards.split} as logs that TensorBoard reads."""
    input:
        histories=study.histories,
    output:
        logs=directory("<results>/splits/{split}/tensorboard"),
    wildcard_constraints:
        split=one_of(study.own_splits),
    group:
        "results_{split}"
    params:
        settings={},
    script:
        "../../scripts/publish_results.py"


PUBLISHED_SPLITS = [name for name in study.studied if name not in study.external]
PUBLISHED = [
    *rules.publish_derivatives.output,
    *rules.measure_scans.output,
    *expand(rules.publish_models.output, split=PUBLISHED_SPLITS),
]
if config["training"]["tensorboard"] and not study.model:
    PUBLISHED += expand(rules.publish_logs.output, split=PUBLISHED_SPLITS)


rule publish_run:
    """Describe the run for machines: which software made which files, from which settings."""
    input:
        PUBLISHED,
        report="<results>/report.html",
    output:
        crate="<results>/ro-crate-metadata.json",
        settings="<results>/settings.yaml",
    localrule: True
    params:
        settings=facts("study", "classes", "simulated", "splits", config=GIVEN),
    script:
        "../../scripts/publish_results.py"


DROPPED_IMAGES = rules.drop_images.output if config["keep"] == "results" else []
