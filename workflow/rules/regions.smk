"""
Regions: relevance by atlas region, with intervals.

IN   splits/<split>/heatmaps/<method>/relevance.tsv
OUT  atlas/labels.nii.gz, regions.tsv            the atlas on the study's grid
     splits/<split>/regions/<method>.tsv         means over subjects with bootstrap intervals, and ranks, by group

An atlas that nilearn fetches is fetched where snakemake runs, since compute nodes are offline; all others are read in the
group of the other preparations.
"""


rule prepare_atlas:
    """Bring the atlas to the study's grid through the affines; fetched here where nilearn has it."""
    input:
        mask=rules.prepare_template.output.mask,
        own=[config["atlas"][part] for part in ("image", "table") if part in config["atlas"]],
    output:
        labels=study("atlas/labels.nii.gz"),
        card=study("atlas/labels.json"),
        regions=study("atlas/regions.tsv"),
    log:
        study("logs/prepare_atlas.log"),
    benchmark:
        study("benchmarks/prepare_atlas.tsv")
    # Compute nodes are offline; a job in a group would run there.
    group:
        None if ATLAS_IS_FETCHED else "prepare"
    localrule: ATLAS_IS_FETCHED
    conda:
        "../../envs/voxelwhy.yaml"
    threads: 1
    resources:
        mem_mb=grid_mem_mb,
        runtime=grid_runtime,
    params:
        settings=config["atlas"],
        code=code("prepare_atlas.py"),
    script:
        "../../scripts/prepare_atlas.py"


rule aggregate_regions:
    """Relevance by region and group of scans, for {wildcards.method}."""
    input:
        relevance=study("splits/{split}/heatmaps/{method}/relevance.tsv"),
        regions=study("atlas/regions.tsv"),
    output:
        regions=study("splits/{split}/regions/{method}.tsv"),
    log:
        study("logs/aggregate_regions/{split}/{method}.log"),
    benchmark:
        study("benchmarks/aggregate_regions/{split}/{method}.tsv")
    group:
        "results_{split}"
    conda:
        "../../envs/voxelwhy.yaml"
    threads: 1
    resources:
        mem_mb=table_mem_mb,
        runtime=short_runtime,
    params:
        settings={
            "classes": CLASSES,
            "bootstrap": config["evaluation"]["bootstrap"],
            "seed": SEED,
            "judged": ACCURACY,
        },
        code=code("aggregate_regions.py"),
    script:
        "../../scripts/aggregate_regions.py"
