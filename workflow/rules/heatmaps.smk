"""
Heatmaps: why the network said so, by each method, for each test scan by the model of its own fold.

IN   splits/<split>/fold-<k>/model.pt, predictions.tsv; the registered scans; atlas/
OUT  splits/<split>/heatmaps/<method>/parts/<n>-of-<N>/   sums, squares and counts over a part of the scans
     splits/<split>/heatmaps/<method>/relevance.tsv       relevance of every scan by atlas region
     splits/<split>/heatmaps/<method>/groups.tsv          scans and subjects of each group of maps
     splits/<split>/heatmaps/<method>/maps/               means and standard deviations by group, single maps where
                                                          asked: NIfTI, each with JSON

A method is a module of voxelwhy/heatmaps and a line in the config. A split is cut into parts of about half an hour, so
that a job that dies loses little. How many follows from the cohort and the settings, never from the machine: a sum over
parts has the same last bits wherever it is made.
"""


rule compute_heatmaps:
    """Explain part {wildcards.part} of the test scans of {wildcards.split} by {wildcards.method}."""
    input:
        selected=selected_of,
        mask=rules.prepare_template.output.mask,
        network_mask=rules.prepare_mask.output.mask,
        labels=study("atlas/labels.nii.gz"),
        regions=study("atlas/regions.tsv"),
        models=models_of_folds,
        predictions=predictions_of_folds,
    output:
        kept(directory(study("splits/{split}/heatmaps/{method}/parts/{part}"))),
    log:
        study("logs/compute_heatmaps/{split}/{method}/{part}.log"),
    benchmark:
        study("benchmarks/compute_heatmaps/{split}/{method}/{part}.tsv")
    conda:
        "../../envs/voxelwhy.yaml"
    threads: 1
    resources:
        mem_mb=heatmap_mem_mb,
        runtime=heatmap_runtime,
        device=config["training"]["device"],
        gpu=GPUS,
    params:
        settings=heatmap_settings,
        code=heatmap_code,
    script:
        "../../scripts/compute_heatmaps.py"


rule merge_heatmaps:
    """Put the parts of {wildcards.method} in {wildcards.split} together."""
    input:
        parts=heatmap_parts,
        mask=rules.prepare_template.output.mask,
        network_mask=rules.prepare_mask.output.mask,
    output:
        relevance=study("splits/{split}/heatmaps/{method}/relevance.tsv"),
        groups=study("splits/{split}/heatmaps/{method}/groups.tsv"),
        maps=directory(study("splits/{split}/heatmaps/{method}/maps")),
    log:
        study("logs/merge_heatmaps/{split}/{method}.log"),
    benchmark:
        study("benchmarks/merge_heatmaps/{split}/{method}.tsv")
    group:
        "results_{split}"
    conda:
        "../../envs/voxelwhy.yaml"
    threads: 1
    resources:
        mem_mb=map_mem_mb,
        runtime=short_runtime,
    params:
        settings=heatmap_settings,
        code=code("merge_heatmaps.py"),
    script:
        "../../scripts/merge_heatmaps.py"
