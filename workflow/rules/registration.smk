"""
Registration: every scan onto the template grid.

IN   the scan's own file (path from cohort/scans.tsv), template/
OUT  template/grid.json                       the grid of the scans, where the study takes theirs
     template/t1.nii.gz, brain_mask.nii.gz    ICBM152 on the study's grid
     template/background.nii.gz               the same at 1 mm (or finer, as the study), over which maps are drawn
     template/head.nii.gz                     with its skull, for a study of whole heads
     registered/<scan_id>/t1.nii              the scan on that grid, int16 with scale
     registered/<scan_id>/brain_mask.nii.gz   for a whole head: the brain mask in the scan's own space
     registered/<scan_id>/quality.json        status, reason, quality measures; check.png to look at
     batches/<number>.tsv                     which scans a batch has registered (above 10,000 scans)
     cohort/selected.tsv, excluded.tsv        what the study uses, and what it does not use, by reason and class
     cohort/image_properties.tsv              what the audit of shortcuts needs of each image
     cohort/region_means.tsv                  the mean of each region, with which a new scan is compared

One single-threaded job per scan: bit-for-bit reproducible, and as fast in total. Scans that others have registered
(transform: none) are taken over in batches, since each takes a fraction of a second. A scan that cannot be registered is a
result (status "failed"), not an error: select_scans excludes it and records why.

Registrations of another study are linked from registration.store, which is not a setting of the study and not in any
params, since the files are the same. A batch declares its manifest as output but not the folders of its scans, which
Snakemake would delete with every job that dies; the batch itself skips scans that are done. Manifests lie next to
registered/, not in it, since a scan may have any name.
"""

if study.grid_of_scans:

    rule find_grid:
        """Find the grid that all scans share."""
        input:
            scans=once_read(study.scan_paths),
        output:
            grid="<results>/template/grid.json",
        params:
            settings=study.grid_settings,
        script:
            "../../scripts/prepare_template.py"


rule prepare_template:
    """Bring the ICBM152 template and its brain mask to the study's grid."""
    input:
        grid=study.grid_of_scans,
    output:
        t1="<results>/template/t1.nii.gz",
        mask="<results>/template/brain_mask.nii.gz",
        background="<results>/template/background.nii.gz",
        cards=expand("<results>/template/{image}.json", image=["t1", "brain_mask", "background"]),
    group:
        "prepare"
    resources:
        **ask.volumes,
    params:
        settings={key: config["registration"][key] for key in ("resolution_mm", "grid")},
    script:
        "../../scripts/prepare_template.py"


rule prepare_head_template:
    """Bring the whole-head ICBM152 template to the study's grid; it is fetched unless the config names a file."""
    input:
        study.own_files["head"],
    output:
        t1="<results>/template/head.nii.gz",
        card="<results>/template/head.json",
    # Compute nodes are offline.
    localrule: True
    # The location of the file and its hash change no number: if they are set later, nothing is registered again.
    resources:
        **ask.volumes,
        head_file=config["scans"].get("template", ""),
        head_sha256=config["scans"].get("template_sha256", ""),
    params:
        settings={key: config["registration"][key] for key in ("resolution_mm", "grid")},
    script:
        "../../scripts/prepare_template.py"


rule register_scan:
    """Register {wildcards.scan} to the template."""
    input:
        scan=once_read(study.scan_path),
        t1=rules.prepare_template.output.t1,
        mask=rules.prepare_template.output.mask,
        head=once_read(study.head_template),
    output:
        folder=directory("<results>/registered/{scan}"),
    group:
        ask.registration_group
    resources:
        **ask.registration,
        store=config["registration"]["store"],
    params:
        settings=study.registration,
        code=code_digest(SCRIPTS / "register_scan.py", [study.registration_module]),
    script:
        "../../scripts/register_scan.py"


rule register_batch:
    """Register batch {wildcards.batch} of the scans to the template, one after another."""
    input:
        scans=once_read(study.batch_paths),
        t1=rules.prepare_template.output.t1,
        mask=rules.prepare_template.output.mask,
        head=once_read(study.head_template),
    output:
        manifest="<results>/batches/{batch}.tsv",
    resources:
        mem_mb=ask.registration_mb,
        runtime=ask.batch_minutes,
        store=config["registration"]["store"],
    params:
        settings=study.batch_settings,
        code=code_digest(SCRIPTS / "register_scan.py", [study.registration_module]),
    script:
        "../../scripts/register_scan.py"


rule select_scans:
    """Keep what was registered; record for everything else why it is not used."""
    input:
        scans="<results>/cohort/scans.tsv",
        dropped="<results>/cohort/dropped.tsv",
        registered=once_read(study.registered_scans),
    output:
        selected="<results>/cohort/selected.tsv",
        excluded="<results>/cohort/excluded.tsv",
    group:
        "cohort"
    params:
        settings={
            "heatmap_scans": config["heatmaps"]["scans"],
            "limits": config["registration"]["limits"],
            "skip": config["registration"]["skip"],
        },
    script:
        "../../scripts/select_scans.py"


rule measure_scans:
    """Measure the registered images: noise and gradients of brightness, and the mean of each region."""
    input:
        selected="<results>/cohort/selected.tsv",
        t1=rules.prepare_template.output.t1,
        mask=rules.prepare_template.output.mask,
        labels="<results>/atlas/labels.nii.gz",
        regions="<results>/atlas/regions.tsv",
    output:
        measured="<results>/cohort/image_properties.tsv",
        region_means="<results>/cohort/region_means.tsv",
    group:
        "cohort"
    resources:
        mem_mb=ask.map_mb,
        runtime=ask.measuring_minutes,
    params:
        settings={"channels": ["t1", *study.registration["maps"]]},
    script:
        "../../scripts/read_properties.py"
