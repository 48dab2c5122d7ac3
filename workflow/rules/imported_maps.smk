"""
Heatmaps of others: average maps that somebody else made, beside our own.

IN   the files of heatmaps.others, NIfTI or .npz, on the study's grid; atlas/
OUT  others/maps/<name>_<group>.nii.gz, .json    the map, 0 outside the brain; what is known of it, with its file's hash
     others/maps/<name>_<group>.tsv              its relevance by region
     others/figures/heatmaps_<group>             over the template, as our own mean maps are drawn
     others/tables/regions_<group>               the regions with the most relevance; a mean map has no interval

Nothing is resampled: a map on another grid is refused.
"""

OTHERS = {f"{other['name']}_{other['group']}": other for other in config["heatmaps"]["others"]}
OTHERS_MAPS = {
    "maps": [study(f"others/maps/{other}.nii.gz") for other in OTHERS],
    "cards": [study(f"others/maps/{other}.json") for other in OTHERS],
    "regions": [study(f"others/maps/{other}.tsv") for other in OTHERS],
}

if OTHERS:

    rule import_heatmap:
        """Bring the map {wildcards.other} of others into the study."""
        input:
            file=lambda wildcards: OTHERS[wildcards.other]["file"],
            mask=rules.prepare_template.output.mask,
            labels=study("atlas/labels.nii.gz"),
            regions=study("atlas/regions.tsv"),
        output:
            map=study("others/maps/{other}.nii.gz"),
            card=study("others/maps/{other}.json"),
            regions=study("others/maps/{other}.tsv"),
        log:
            study("logs/import_heatmap/{other}.log"),
        benchmark:
            study("benchmarks/import_heatmap/{other}.tsv")
        wildcard_constraints:
            other="|".join(OTHERS),
        priority: 100
        group:
            "others"
        conda:
            "../../envs/voxelwhy.yaml"
        threads: 1
        resources:
            mem_mb=grid_mem_mb,
            runtime=grid_runtime,
        params:
            settings=lambda wildcards: OTHERS[wildcards.other],
            code=code("import_heatmap.py"),
        script:
            "../../scripts/import_heatmap.py"

    rule draw_others:
        """Maps of others over the template, by group."""
        input:
            maps=OTHERS_MAPS["maps"],
            cards=OTHERS_MAPS["cards"],
            t1=rules.prepare_template.output.t1,
        output:
            **{f"heatmaps_{group}": figure(f"others/figures/heatmaps_{group}", "heatmaps") for group in OTHERS_GROUPS},
        log:
            study("logs/draw_others.log"),
        benchmark:
            study("benchmarks/draw_others.tsv")
        group:
            "others"
        conda:
            "../../envs/voxelwhy.yaml"
        threads: 1
        resources:
            mem_mb=grid_mem_mb,
            runtime=grid_runtime,
        params:
            settings={"shown": SHOWN},
            code=code("draw_others.py"),
        script:
            "../../scripts/draw_others.py"

    rule publish_others:
        """The regions with the most relevance in maps of others, by group."""
        input:
            cards=OTHERS_MAPS["cards"],
            regions=OTHERS_MAPS["regions"],
        output:
            **{f"regions_{group}": table_files(f"others/tables/regions_{group}") for group in OTHERS_GROUPS},
        log:
            study("logs/publish_others.log"),
        benchmark:
            study("benchmarks/publish_others.tsv")
        group:
            "others"
        conda:
            "../../envs/voxelwhy.yaml"
        threads: 1
        resources:
            mem_mb=grid_mem_mb,
            runtime=grid_runtime,
        params:
            settings={"atlas": ATLAS_TITLE, "top": config["figures"]["top_regions"]},
            code=code("publish_others.py"),
        script:
            "../../scripts/publish_others.py"
