"""
Heatmaps: every test scan explained by the network that has not seen it, or every scan by existing weights.

IN   splits/<split>/fold-<k>/model.pt, predictions.tsv; the registered scans; atlas/
OUT  splits/<split>/heatmaps/<method>/parts/<n>-of-<N>/   part of the scans: sums of maps by group, single maps, regions
     splits/<split>/heatmaps/<method>/maps/*.nii.gz       means and SDs by group, raw and scaled; single maps
     splits/<split>/heatmaps/<method>/relevance.tsv       relevance in every region, for every scan
     splits/<split>/heatmaps/<method>/groups.tsv          subjects, scans and saturated predictions by group

One method at a time: each loads the models and adds up its maps in one pass over the scans. The scans are divided into
parts of about half an hour, so that a job that dies loses little. The number of parts follows from the cohort and the
settings, never from the machine: a sum over parts has the same last bits wherever it is computed.
"""


rule compute_heatmaps:
    """Explain part {wildcards.part} of the test scans of {wildcards.split} by {wildcards.method}."""
    input:
        selected=selected_of,
        mask=rules.prepare_template.output.mask,
        network_mask=rules.prepare_mask.output.mask,
        labels="<results>/atlas/labels.nii.gz",
        regions="<results>/atlas/regions.tsv",
        models=study.models,
        predictions=study.predictions,
    output:
        kept(directory("<results>/splits/{split}/heatmaps/{method}/parts/{part}")),
    resources:
        mem_mb=ask.heatmap_mb,
        runtime=ask.heatmap_minutes,
        device=config["training"]["device"],
        gpu=study.gpus,
    params:
        settings=facts.heatmap,
        code=lambda wildcards: code_digest(
            SCRIPTS / "compute_heatmaps.py", [METHODS[wildcards.method], study.network_module]
        ),
    script:
        "../../scripts/compute_heatmaps.py"


rule merge_heatmaps:
    """Merge the parts of {wildcards.method} in {wildcards.split}."""
    input:
        parts=once_read(ask.heatmap_parts),
        mask=rules.prepare_template.output.mask,
        network_mask=rules.prepare_mask.output.mask,
    output:
        relevance="<results>/splits/{split}/heatmaps/{method}/relevance.tsv",
        groups="<results>/splits/{split}/heatmaps/{method}/groups.tsv",
        maps=directory("<results>/splits/{split}/heatmaps/{method}/maps"),
    group:
        "results_{split}"
    resources:
        **ask.maps,
    params:
        settings=facts.heatmap,
    script:
        "../../scripts/merge_heatmaps.py"
