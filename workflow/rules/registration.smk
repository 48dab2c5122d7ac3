"""
Registration: every scan onto the template grid.

IN   the scan's own file (path from cohort/scans.tsv), template/
OUT  template/t1.nii.gz, brain_mask.nii.gz    ICBM152 on the study's grid
     template/head.nii.gz                     with its skull, for a study of whole heads
     registered/<scan_id>/t1.nii              the scan on that grid, int16 with scale
     registered/<scan_id>/brain_mask.nii.gz   of a whole head: the brain mask in the scan's own space
     registered/<scan_id>/quality.json        status, reason, figures; check.png to look at
     batches/<number>.tsv                     which scans a batch has registered, beyond 10,000 scans
     cohort/selected.tsv, excluded.tsv        what the study uses, and all that it does not use, by reason and class

One single-threaded job a scan: bit-for-bit reproducible, and as fast in sum. A scan that cannot be registered is a
result (status "failed"), not an error: select_scans leaves it out and says why.

What another study has registered is linked from registration.store: no setting, and so in no params, since the files
are the same. A batch declares its manifest and not the folders of its scans, which Snakemake would delete with every
job that dies; the batch itself skips what is done. Manifests lie beside registered/, not in it: any name may be a scan's.
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
    group:
        "prepare"
    conda:
        "../../envs/voxelwhy.yaml"
    threads: 1
    resources:
        mem_mb=grid_mem_mb,
        runtime=grid_runtime,
    params:
        settings={key: config["registration"][key] for key in ("resolution_mm", "grid")},
        code=code("prepare_template.py"),
    script:
        "../../scripts/prepare_template.py"


rule prepare_head_template:
    """Bring the whole-head ICBM152 template to the study's grid; fetched here unless the config names a file."""
    input:
        head_source,
    output:
        t1=study("template/head.nii.gz"),
        card=study("template/head.json"),
    log:
        study("logs/prepare_head_template.log"),
    benchmark:
        study("benchmarks/prepare_head_template.tsv")
    # Compute nodes are offline.
    localrule: True
    conda:
        "../../envs/voxelwhy.yaml"
    threads: 1
    # Where the file lies and what it hashes to changes no number: naming it later registers nothing again.
    resources:
        mem_mb=grid_mem_mb,
        runtime=grid_runtime,
        head_file=config["scans"].get("template", ""),
        head_sha256=config["scans"].get("template_sha256", ""),
    params:
        settings={key: config["registration"][key] for key in ("resolution_mm", "grid")},
        code=code("prepare_head_template.py"),
    script:
        "../../scripts/prepare_head_template.py"


rule register_scan:
    """Register {wildcards.scan} to the template."""
    input:
        scan=scan_path,
        t1=rules.prepare_template.output.t1,
        mask=rules.prepare_template.output.mask,
        head=head_template,
    output:
        directory(study("registered/{scan}")),
    log:
        study("logs/register_scan/{scan}.log"),
    benchmark:
        study("benchmarks/register_scan/{scan}.tsv")
    group:
        REGISTRATION_GROUP
    conda:
        "../../envs/voxelwhy.yaml"
    threads: 1
    resources:
        mem_mb=registration_mem_mb,
        runtime=registration_runtime,
        store=config["registration"]["store"],
    params:
        settings=REGISTRATION,
        code=code("register_scan.py"),
    script:
        "../../scripts/register_scan.py"


rule register_batch:
    """Register batch {wildcards.batch} of the scans to the template, one after another."""
    input:
        scans=batch_paths,
        t1=rules.prepare_template.output.t1,
        mask=rules.prepare_template.output.mask,
        head=head_template,
    output:
        manifest=study("batches/{batch}.tsv"),
    log:
        study("logs/register_batch/{batch}.log"),
    benchmark:
        study("benchmarks/register_batch/{batch}.tsv")
    conda:
        "../../envs/voxelwhy.yaml"
    threads: 1
    resources:
        mem_mb=registration_mem_mb,
        runtime=batch_runtime,
        store=config["registration"]["store"],
    params:
        settings=batch_settings,
        code=code("register_batch.py"),
    script:
        "../../scripts/register_batch.py"


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
    group:
        "cohort"
    conda:
        "../../envs/voxelwhy.yaml"
    threads: 1
    resources:
        mem_mb=table_mem_mb,
        runtime=short_runtime,
    params:
        settings={
            "heatmap_scans": config["heatmaps"]["scans"],
            "limits": config["registration"]["limits"],
            "skip": config["registration"]["skip"],
        },
        code=code("select_scans.py"),
    script:
        "../../scripts/select_scans.py"
