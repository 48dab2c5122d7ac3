"""
Imported maps: average heatmaps that somebody else made, shown next to the study's own.

IN   the files of heatmaps.others, NIfTI or .npz, on the study's grid; atlas/
OUT  imported_maps/maps/<name>_<group>.nii.gz, .json    the map, 0 outside the brain; what is known of it, and its hash
     imported_maps/maps/<name>_<group>.tsv              its relevance by region
     imported_maps/figures/heatmaps_<group>             over the template, drawn as the study's own mean maps
     imported_maps/tables/regions_<group>               the regions with the most relevance; a mean map has no interval

Nothing is resampled: a map on another grid is refused.
"""

if study.imported:

    rule import_heatmap:
        """Import the map {wildcards.imported}."""
        input:
            file=lambda wildcards: study.imported[wildcards.imported]["file"],
            mask=rules.prepare_template.output.mask,
            labels="<results>/atlas/labels.nii.gz",
            regions="<results>/atlas/regions.tsv",
        output:
            map="<results>/imported_maps/maps/{imported}.nii.gz",
            card="<results>/imported_maps/maps/{imported}.json",
            regions="<results>/imported_maps/maps/{imported}.tsv",
        wildcard_constraints:
            imported=one_of(study.imported),
        priority: 100
        group:
            "imported_maps"
        resources:
            **ask.volumes,
        params:
            settings=lambda wildcards: study.imported[wildcards.imported],
        script:
            "../../scripts/import_heatmap.py"

    use rule draw_heatmaps as draw_imported_maps with:
        input:
            maps=study.imported_files(".nii.gz"),
            cards=study.imported_files(".json"),
            t1=rules.prepare_template.output.background,
        output:
            **figures("imported_maps/figures", shown.imported_figures, "heatmaps"),
        group:
            "imported_maps"
        params:
            settings=facts("shown"),

    use rule publish_relevance as publish_imported_maps with:
        input:
            cards=study.imported_files(".json"),
            regions=study.imported_files(".tsv"),
        output:
            **tables("imported_maps/tables", shown.imported_tables),
        group:
            "imported_maps"
        params:
            settings=facts("atlas", "top"),
