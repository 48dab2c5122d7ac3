"""
Keeping: what is removed once it has been used, in a study whose config says `keep: results`.

IN   report.html, cohort/selected.tsv
OUT  cohort/dropped_images.json    how many registered images (t1.nii and maps in registered/<scan_id>/) were removed

The sums of the parts of heatmaps are temporary outputs in such a study (kept() in paths.smk). Everything else stays:
tables, quality figures and pictures of registrations, models, maps, figures.
"""


rule drop_images:
    """Remove the registered images once the report is there."""
    input:
        report=study("report.html"),
        selected=study("cohort/selected.tsv"),
    output:
        study("cohort/dropped_images.json"),
    log:
        study("logs/drop_images.log"),
    benchmark:
        study("benchmarks/drop_images.tsv")
    conda:
        "../../envs/voxelwhy.yaml"
    threads: 1
    resources:
        mem_mb=table_mem_mb,
        runtime=short_runtime,
        store=config["registration"]["store"],
    params:
        settings={},
        code=code("drop_images.py"),
    script:
        "../../scripts/drop_images.py"
