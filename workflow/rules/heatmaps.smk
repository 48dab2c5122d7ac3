"""
Heatmaps: why the network said so, by each method, for each test scan by the model of its own fold.

IN   splits/<split>/fold-<k>/model.pt, predictions.tsv; the registered scans; atlas/
OUT  splits/<split>/heatmaps/<method>/relevance.tsv   relevance of every scan by atlas region
     splits/<split>/heatmaps/<method>/groups.tsv      scans and subjects of each group of maps
     splits/<split>/heatmaps/<method>/maps/           mean maps by group, single maps where asked: NIfTI, each with JSON

A method is a module of voxelwhy/heatmaps and a line in the config.
"""


rule compute_heatmaps:
    """Explain the test scans of {wildcards.split} by {wildcards.method}."""
    input:
        selected=selected_of,
        mask=rules.prepare_template.output.mask,
        network_mask=rules.prepare_mask.output.mask,
        labels=study("atlas/labels.nii.gz"),
        regions=study("atlas/regions.tsv"),
        models=models_of_folds,
        predictions=lambda w: [study(f"splits/{w.split}/fold-{k}/predictions.tsv") for k in folds_of(w.split)],
    output:
        relevance=study("splits/{split}/heatmaps/{method}/relevance.tsv"),
        groups=study("splits/{split}/heatmaps/{method}/groups.tsv"),
        maps=directory(study("splits/{split}/heatmaps/{method}/maps")),
    log:
        study("logs/compute_heatmaps/{split}/{method}.log"),
    benchmark:
        study("benchmarks/compute_heatmaps/{split}/{method}.tsv")
    conda:
        "../../envs/voxelwhy.yaml"
    threads: 1
    resources:
        mem_mb=network_mem_mb,
        runtime=1440,
        device=config["training"]["device"],
        gpu=GPUS,
    params:
        settings=heatmap_settings,
        code=heatmap_code,
    script:
        "../../scripts/compute_heatmaps.py"
