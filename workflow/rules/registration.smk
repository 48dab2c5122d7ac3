"""
Registration: every scan onto the template grid.

IN   the scan's own file (path from cohort/scans.tsv), template/
OUT  template/t1.nii.gz, brain_mask.nii.gz    ICBM152 on the study's grid
     registered/<scan_id>/t1.nii              the scan on that grid, int16 with scale
     registered/<scan_id>/quality.json        status, reason, figures; check.png to look at
     cohort/selected.tsv, excluded.tsv        what the study uses, and all that it does not use, by reason and class

One single-threaded job a scan: bit-for-bit reproducible, and as fast in sum. A scan that cannot be registered is a
result (status "failed"), not an error: select_scans leaves it out and says why.
"""


rule prepare_template:
    """Bring the ICBM152 template and its brain mask to the study's grid."""
    output:
        t1=study("template/t1.nii.gz"),
        mask=study("template/brain_mask.nii.gz"),
        cards=[study("template/t1.json"), study("template/brain_mask.json")],
    log:
        study("logs/prepare_template.log"),
    benchmark:
        study("benchmarks/prepare_template.tsv")
    conda:
        "../../envs/voxelwhy.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        settings={key: config["registration"][key] for key in ("resolution_mm", "grid")},
        code=code("prepare_template.py"),
    script:
        "../../scripts/prepare_template.py"


rule register_scan:
    """Register {wildcards.scan} to the template."""
    input:
        scan=scan_path,
        t1=rules.prepare_template.output.t1,
        mask=rules.prepare_template.output.mask,
    output:
        directory(study("registered/{scan}")),
    log:
        study("logs/register_scan/{scan}.log"),
    benchmark:
        study("benchmarks/register_scan/{scan}.tsv")
    conda:
        "../../envs/voxelwhy.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        settings=config["registration"],
        code=code("register_scan.py"),
    script:
        "../../scripts/register_scan.py"


rule select_scans:
    """Keep what was registered; say of everything else why it is not used."""
    input:
        scans=study("cohort/scans.tsv"),
        dropped=study("cohort/dropped.tsv"),
        registered=registered_scans,
    output:
        selected=study("cohort/selected.tsv"),
        excluded=study("cohort/excluded.tsv"),
    log:
        study("logs/select_scans.log"),
    benchmark:
        study("benchmarks/select_scans.tsv")
    conda:
        "../../envs/voxelwhy.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        settings={"heatmap_scans": config["heatmaps"]["scans"]},
        code=code("select_scans.py"),
    script:
        "../../scripts/select_scans.py"
