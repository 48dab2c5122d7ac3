"""
Report: figures, tables, and one page to read from top to bottom.

IN   everything above
OUT  figures/, tables/                          of the cohort: flow, registration, what is excluded
     splits/<split>/figures/, tables/           of a split: png and svg; tsv, md and tex; each with its caption as JSON
     report.html                                self-contained; the figures are also marked for snakemake --report

The figures of one subject are drawn by one job.
"""


rule draw_cohort:
    """From rows to scans, and every registration, the worst first."""
    input:
        scans=study("cohort/scans.tsv"),
        dropped=study("cohort/dropped.tsv"),
        selected=study("cohort/selected.tsv"),
        excluded=study("cohort/excluded.tsv"),
        registered=registered_scans,
    output:
        **{name: figure(f"figures/{name}", "cohort") for name in COHORT_FIGURES},
    log:
        study("logs/draw_cohort.log"),
    benchmark:
        study("benchmarks/draw_cohort.tsv")
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
            "registration": REGISTERED_HOW,
            "classes": CLASSES,
            "simulated": MARK,
            "dpi": config["figures"]["dpi"],
        },
        code=code("draw_cohort.py"),
    script:
        "../../scripts/draw_cohort.py"


rule draw_heatmaps:
    """The paper's figure: mean maps, methods in columns and slices in rows."""
    input:
        maps=maps_by_method,
        groups=groups_by_method,
        t1=rules.prepare_template.output.t1,
    output:
        **split_figures("draw_heatmaps"),
    log:
        study("logs/draw_heatmaps/{split}.log"),
    benchmark:
        study("benchmarks/draw_heatmaps/{split}.tsv")
    group:
        "results_{split}"
    conda:
        "../../envs/voxelwhy.yaml"
    threads: 1
    resources:
        mem_mb=map_mem_mb,
        runtime=short_runtime,
    params:
        settings=lambda wildcards: {
            "heatmaps": HEATMAPS,
            "n_folds": None if MODEL or wildcards.split in EXTERNAL else len(folds_of(wildcards.split)),
            "shown": SHOWN,
        }
        | about(wildcards),
        code=code("draw_heatmaps.py"),
    script:
        "../../scripts/draw_heatmaps.py"


rule draw_scans:
    """The maps of single scans that the config names and that this split tests."""
    input:
        maps=maps_by_method,
        selected=study("cohort/selected.tsv"),
        predictions=predictions_of_folds,
        t1=rules.prepare_template.output.t1,
    output:
        report(
            directory(study("splits/{split}/figures/scans")),
            patterns=["{name}.png"],
            category="scans",
            labels={"figure": "{name}"},
        ),
    log:
        study("logs/draw_scans/{split}.log"),
    benchmark:
        study("benchmarks/draw_scans/{split}.tsv")
    group:
        "results_{split}"
    conda:
        "../../envs/voxelwhy.yaml"
    threads: 1
    resources:
        mem_mb=map_mem_mb,
        runtime=short_runtime,
    params:
        settings={
            "heatmaps": HEATMAPS,
            "unseen": ACCURACY,
            "classes": CLASSES,
            "simulated": MARK,
            "shown": SHOWN,
        },
        code=code("draw_scans.py"),
    script:
        "../../scripts/draw_scans.py"


rule draw_regions:
    """The regions with the most relevance, by method, with intervals."""
    input:
        regions=regions_by_method,
    output:
        **split_figures("draw_regions"),
    log:
        study("logs/draw_regions/{split}.log"),
    benchmark:
        study("benchmarks/draw_regions/{split}.tsv")
    group:
        "results_{split}"
    conda:
        "../../envs/voxelwhy.yaml"
    threads: 1
    resources:
        mem_mb=table_mem_mb,
        runtime=short_runtime,
    params:
        settings=lambda wildcards: {
            "heatmaps": HEATMAPS,
            "atlas": ATLAS_TITLE,
            "classes": CLASSES,
            "top": config["figures"]["top_regions"],
            "dpi": config["figures"]["dpi"],
        }
        | about(wildcards),
        code=code("draw_regions.py"),
    script:
        "../../scripts/draw_regions.py"


if ACCURACY:

    rule draw_performance:
        """How well it does: metrics, ROC, confusion, learning curves."""
        input:
            metrics=study("splits/{split}/evaluation/metrics.tsv"),
            roc=study("splits/{split}/evaluation/roc.tsv"),
            predictions=predictions_of_folds,
            histories=histories_of_folds,
        output:
            **split_figures("draw_performance"),
        log:
            study("logs/draw_performance/{split}.log"),
        benchmark:
            study("benchmarks/draw_performance/{split}.tsv")
        wildcard_constraints:
            split=OWN_SPLITS,
        group:
            "results_{split}"
        conda:
            "../../envs/voxelwhy.yaml"
        threads: 1
        resources:
            mem_mb=table_mem_mb,
            runtime=short_runtime,
        params:
            settings=lambda wildcards: {
                "training": RECORDED["training"],
                "titles": MODEL_TITLES,
                "bootstrap": config["evaluation"]["bootstrap"],
                "classes": CLASSES,
                "dpi": config["figures"]["dpi"],
            }
            | about(wildcards),
            code=code("draw_performance.py"),
        script:
            "../../scripts/draw_performance.py"


rule draw_agreement:
    """How far the maps of the classes and of the methods lie apart, and how many predictions are saturated."""
    input:
        agreement=study("splits/{split}/evaluation/agreement.tsv"),
        groups=groups_by_method,
    output:
        **split_figures("draw_agreement"),
    log:
        study("logs/draw_agreement/{split}.log"),
    benchmark:
        study("benchmarks/draw_agreement/{split}.tsv")
    group:
        "results_{split}"
    conda:
        "../../envs/voxelwhy.yaml"
    threads: 1
    resources:
        mem_mb=map_mem_mb,
        runtime=short_runtime,
    params:
        settings=lambda wildcards: {
            "classes": CLASSES,
            "dpi": config["figures"]["dpi"],
        }
        | about(wildcards),
        code=code("draw_agreement.py"),
    script:
        "../../scripts/draw_agreement.py"


if SIMULATED:

    rule draw_truth:
        """What was planted, and how well each method found it."""
        input:
            truth=study("splits/{split}/evaluation/truth.tsv"),
            log_jacobian=study("splits/{split}/evaluation/log_jacobian.nii.gz"),
            groups=groups_by_method,
            t1=rules.prepare_template.output.t1,
        output:
            **split_figures("draw_truth"),
        log:
            study("logs/draw_truth/{split}.log"),
        benchmark:
            study("benchmarks/draw_truth/{split}.tsv")
        group:
            "results_{split}"
        conda:
            "../../envs/voxelwhy.yaml"
        threads: 1
        resources:
            mem_mb=map_mem_mb,
            runtime=short_runtime,
        params:
            settings={
                "heatmaps": HEATMAPS,
                "threshold": config["evaluation"]["truth_threshold"],
                "classes": CLASSES,
                "simulated": MARK,
                "planted": PLANTED,
                "shown": SHOWN,
            },
            code=code("draw_truth.py"),
        script:
            "../../scripts/draw_truth.py"


rule publish_excluded:
    """What the study does not use, by reason and class."""
    input:
        excluded=study("cohort/excluded.tsv"),
    output:
        excluded=table_files("tables/excluded"),
    log:
        study("logs/publish_excluded.log"),
    benchmark:
        study("benchmarks/publish_excluded.tsv")
    group:
        "cohort"
    conda:
        "../../envs/voxelwhy.yaml"
    threads: 1
    resources:
        mem_mb=table_mem_mb,
        runtime=short_runtime,
    params:
        settings={"classes": CLASSES},
        code=code("publish_excluded.py"),
    script:
        "../../scripts/publish_excluded.py"


rule publish_tables:
    """Who is in a split, and how well the network does, for people and for papers."""
    input:
        table1=study("splits/{split}/table1.tsv"),
        metrics=metrics_of,
    output:
        **{name: table_files(f"splits/{{split}}/tables/{name}") for name in SPLIT_TABLES},
    log:
        study("logs/publish_tables/{split}.log"),
    benchmark:
        study("benchmarks/publish_tables/{split}.tsv")
    group:
        "results_{split}"
    conda:
        "../../envs/voxelwhy.yaml"
    threads: 1
    resources:
        mem_mb=table_mem_mb,
        runtime=short_runtime,
    params:
        settings=lambda wildcards: {
            "titles": MODEL_TITLES,
            "bootstrap": config["evaluation"]["bootstrap"],
            "of": about(wildcards)["of"],
        },
        code=code("publish_tables.py"),
    script:
        "../../scripts/publish_tables.py"


rule publish_relevance:
    """Relevance by region, agreement of the methods and the planted truth, for people and for papers."""
    input:
        agreement=study("splits/{split}/evaluation/agreement.tsv"),
        regions=regions_by_method,
        groups=groups_by_method,
        truth=truth_of,
    output:
        **{name: table_files(f"splits/{{split}}/tables/{name}") for name in RELEVANCE_TABLES},
    log:
        study("logs/publish_relevance/{split}.log"),
    benchmark:
        study("benchmarks/publish_relevance/{split}.tsv")
    wildcard_constraints:
        split=OWN_SPLITS,
    group:
        "results_{split}"
    conda:
        "../../envs/voxelwhy.yaml"
    threads: 1
    resources:
        mem_mb=table_mem_mb,
        runtime=short_runtime,
    params:
        settings=lambda wildcards: {
            "heatmaps": HEATMAPS,
            "atlas": ATLAS_TITLE,
            "classes": CLASSES,
            "top": config["figures"]["top_regions"],
            "of": about(wildcards)["of"],
        },
        code=code("publish_relevance.py"),
    script:
        "../../scripts/publish_relevance.py"


rule write_report:
    """The page to read from top to bottom."""
    input:
        captions=report_items(),
        pictures=[item.replace(".json", ".png") for item in report_items() if "/figures/" in item],
        scans=expand(study("splits/{split}/figures/scans"), split=OWN_EXPLAINED),
        summaries=expand(study("splits/{split}/evaluation/summary.json"), split=STUDIED),
        selected=study("cohort/selected.tsv"),
        skull=study("cohort/skull.json"),
        external=expand(study("splits/{split}/audit.json"), split=EXTERNAL),
        template=str(SCRIPTS / "voxelwhy" / "report.html.j2"),
    output:
        report=study("report.html"),
    log:
        study("logs/write_report.log"),
    benchmark:
        study("benchmarks/write_report.tsv")
    conda:
        "../../envs/voxelwhy.yaml"
    threads: 1
    resources:
        mem_mb=table_mem_mb,
        runtime=short_runtime,
    params:
        settings=lambda wildcards: {
            "config": RECORDED,
            "splits": list(STUDIED),
            "explained": OWN_EXPLAINED,
            "simulated": MARK,
            "titles": SPLIT_TITLES,
            "real": real_cohorts(),
        },
        code=code("write_report.py"),
    script:
        "../../scripts/write_report.py"


onsuccess:
    print_end(
        study("report.html"),
        [study(f"splits/{split}/evaluation/summary.json") for split in STUDIED],
    )
