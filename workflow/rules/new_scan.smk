"""
New scans (--config new=PATH): scans of people who are in no fold, explained by the finished study.

IN   PATH, an image, a folder with one DICOM series, or a folder of images; with --config age=71 sex=F for a single scan
     report.html, and with it the whole study
OUT  new/<name>/page.html, viewer.html     one page for each scan, and the viewer of its maps
     new/<name>/result.json, *.tsv, map_<method>.nii.gz

The same as `voxelwhy explain results/<study> PATH` for a study that is finished; see docs/running/new_scan.md.
"""

NEW_PAGES = []

if NEW:
    from voxelwhy.commands.explain import list_scans

    try:
        NEW_SCANS = list_scans(NEW["new"])
    except VoxelwhyError as error:
        sys.exit(f"\n{error}\n")
    NEW_PAGES = expand("<results>/new/{new}", new=NEW_SCANS)

    rule explain_new:
        """Explain the new scan {wildcards.new} by the networks of the study."""
        input:
            scan=lambda wildcards: str(NEW_SCANS[wildcards.new]),
            report="<results>/report.html",
            published=PUBLISHED,
        output:
            page=directory("<results>/new/{new}"),
        log:
            "<logs>/explain_new/{new}.log",
        benchmark:
            "<benchmarks>/explain_new/{new}.tsv"
        wildcard_constraints:
            new=one_of(NEW_SCANS),
        conda:
            "../../envs/voxelwhy.yaml"
        resources:
            mem_mb=ask.heatmap_mb,
            runtime=ask.heatmap_minutes,
        params:
            study=lambda wildcards, output: str(Path(output.page).parents[1]),
            options=[f"--{name}={NEW[name]}" for name in ("age", "sex") if name in NEW],
        shell:
            "python -m voxelwhy.commands explain {params.study:q} {input.scan:q} --out {params.study:q}/new "
            "{params.options:q} > {log} 2>&1"
