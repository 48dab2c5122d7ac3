"""
Regions: relevance by atlas region, with intervals.

IN   splits/<split>/heatmaps/<method>/relevance.tsv
     splits/<split>/shuffled/                    relevance of networks trained on shuffled diagnoses, if there are any
OUT  atlas/labels.nii.gz, regions.tsv            the atlas on the study's grid
     splits/<split>/regions/<method>.tsv         means over subjects with intervals, ranks, and z and p, by group
     splits/<split>/trust/class_regions/<method>.tsv    patients against controls, beyond chance
"""


rule prepare_atlas:
    """Bring the atlas to the study's grid through the affines; it is fetched if nilearn has it."""
    input:
        mask=rules.prepare_template.output.mask,
        own=study.own_files["atlas"],
    output:
        labels="<results>/atlas/labels.nii.gz",
        card="<results>/atlas/labels.json",
        regions="<results>/atlas/regions.tsv",
    # An atlas is fetched where snakemake runs: compute nodes are offline, and a job in a group would run there.
    group:
        None if study.atlas_is_fetched else "prepare"
    localrule: study.atlas_is_fetched
    resources:
        **ask.volumes,
    params:
        settings=config["atlas"],
    script:
        "../../scripts/prepare_atlas.py"


rule aggregate_regions:
    """Aggregate relevance by region and group of scans, for {wildcards.method}."""
    input:
        relevance="<results>/splits/{split}/heatmaps/{method}/relevance.tsv",
        regions="<results>/atlas/regions.tsv",
        shuffled=once_read(ask.shuffled_parts),
        selected=selected_of,
        covariates=covariates_of,
    output:
        regions="<results>/splits/{split}/regions/{method}.tsv",
        classes="<results>/splits/{split}/trust/class_regions/{method}.tsv",
    group:
        "results_{split}"
    params:
        settings=facts("classes", "judged", "target", "permutations", "seed"),
    script:
        "../../scripts/aggregate_regions.py"
