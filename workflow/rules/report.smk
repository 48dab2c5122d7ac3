"""
Report: figures, tables, and one page to read from top to bottom.

IN   everything above
OUT  figures/, tables/                     of the cohort: flow, registration, excluded scans
     splits/<split>/figures/, tables/      of a split: png and svg; tsv, md and tex; each with its caption as JSON
     splits/<split>/viewer.html            three slices of any map, self-contained; the report links to it
     report.html                           self-contained; the figures are also marked for snakemake --report

One job draws the figures of one subject.
"""


rule draw_cohort:
    """Draw the flow from rows to scans, and every registration, the worst first."""
    input:
        scans="<results>/cohort/scans.tsv",
        dropped="<results>/cohort/dropped.tsv",
        selected="<results>/cohort/selected.tsv",
        excluded="<results>/cohort/excluded.tsv",
        registered=once_read(study.registered_scans),
    output:
        **figures("figures", COHORT_FIGURES, "cohort"),
    group:
        "cohort"
    params:
        settings=facts("registration", "classes", "simulated", "dpi"),
    script:
        "../../scripts/draw_cohort.py"


rule draw_heatmaps:
    """Draw the figure of the paper: mean maps, methods in columns and slices in rows."""
    input:
        maps=study.maps,
        groups=study.groups,
        t1=rules.prepare_template.output.background,
        truth=study.detections,
        planted=study.planted_maps,
        controls=study.planted_controls,
    output:
        **figures("splits/{split}/figures", shown.figures["heatmaps"], "heatmaps"),
    group:
        "results_{split}"
    resources:
        **ask.maps,
    params:
        settings=facts("heatmaps", "n_folds", "shown", "simulated", "of", "classes", "planted"),
    script:
        "../../scripts/draw_heatmaps.py"


if study.own_explained:

    rule draw_headline:
        """Draw the mean maps of the best-supported method, for the top of the report."""
        input:
            **shown.findings(),
            maps=study.maps,
            groups=study.groups,
            t1=rules.prepare_template.output.background,
        output:
            **figures("splits/{split}/figures", ["headline"], "heatmaps"),
        wildcard_constraints:
            split=one_of([shown.headline]),
        group:
            "results_{split}"
        resources:
            **ask.maps,
        params:
            settings=facts("heatmaps", "n_folds", "shown", "simulated", "classes", "methods"),
        script:
            "../../scripts/draw_heatmaps.py"


if study.accuracy:

    rule draw_baseline:
        """Draw weights and pattern of the baseline as the mean maps of methods are drawn."""
        input:
            maps=study.baseline_files(".nii.gz"),
            cards=study.baseline_files(".json"),
            t1=rules.prepare_template.output.background,
        output:
            **figures("splits/{split}/figures", shown.figures["baseline"], "heatmaps"),
        wildcard_constraints:
            split=one_of(study.own_splits),
        group:
            "results_{split}"
        resources:
            **ask.maps,
        params:
            settings=facts("shown", "simulated"),
        script:
            "../../scripts/draw_heatmaps.py"

    rule publish_baseline:
        """Write a table of the regions with the largest weights and patterns of the baseline."""
        input:
            relevance="<results>/splits/{split}/baseline/relevance.tsv",
            regions="<results>/atlas/regions.tsv",
            cards=study.baseline_files(".json"),
        output:
            **tables("splits/{split}/tables", shown.baseline_tables),
        wildcard_constraints:
            split=one_of(study.own_splits),
        group:
            "results_{split}"
        params:
            settings=facts("atlas", "top"),
        script:
            "../../scripts/publish_relevance.py"


rule draw_scans:
    """Draw the maps of the single scans that the config names and that this split tests."""
    input:
        maps=study.maps,
        selected="<results>/cohort/selected.tsv",
        predictions=study.predictions,
        t1=rules.prepare_template.output.t1,
    output:
        report(
            directory("<results>/splits/{split}/figures/scans"),
            patterns=["{name}.png"],
            category="scans",
            labels={"figure": "{name}"},
        ),
    group:
        "results_{split}"
    resources:
        **ask.maps,
    params:
        settings=facts("heatmaps", "unseen", "classes", "simulated", "shown"),
    script:
        "../../scripts/draw_scans.py"


rule draw_regions:
    """Draw the regions with the most relevance, by method, with intervals."""
    input:
        regions=study.regions,
        class_regions=study.class_regions,
    output:
        **figures("splits/{split}/figures", shown.figures["regions"], "regions"),
    group:
        "results_{split}"
    params:
        settings=facts("heatmaps", "atlas", "top", "dpi", "simulated", "of", "classes", "n_models"),
    script:
        "../../scripts/draw_regions.py"


rule write_viewer:
    """Write the viewer: any map of {wildcards.split} over the template, in slices that follow the crosshair."""
    input:
        maps=study.maps,
        groups=study.groups,
        regions=study.regions,
        background=rules.prepare_template.output.background,
        mask=rules.prepare_template.output.mask,
        labels="<results>/atlas/labels.nii.gz",
        atlas="<results>/atlas/regions.tsv",
        figure=f"<results>/splits/{{split}}/figures/heatmaps_{study.classes['positive']}.png",
        truth=study.planted_maps,
        baseline=lambda wildcards: study.baseline_scored(wildcards) if wildcards.split in study.own_splits else [],
        imported=study.imported_files(".nii.gz"),
        cards=study.imported_files(".json"),
        imported_regions=study.imported_files(".tsv"),
        parts=expand(str(SCRIPTS / "voxelwhy" / "report" / "viewer" / "viewer.{part}"), part=["html.j2", "js"]),
    output:
        viewer=["<results>/splits/{split}/viewer.html"],
    group:
        "results_{split}"
    resources:
        **ask.maps,
    params:
        settings=facts("methods", "classes", "atlas", "planted", "simulated", "of", "split_title", study=study.name),
    script:
        "../../scripts/draw_heatmaps.py"


if study.accuracy:

    rule draw_performance:
        """Draw the performance: metrics, ROC, confusion, learning curves."""
        input:
            metrics="<results>/splits/{split}/evaluation/metrics.tsv",
            roc="<results>/splits/{split}/evaluation/roc.tsv",
            predictions=study.predictions,
            histories=study.histories,
            clinical="<results>/splits/{split}/trust/clinical.tsv",
            curves="<results>/splits/{split}/trust/clinical_curves.tsv",
            shortcuts="<results>/splits/{split}/trust/shortcuts.tsv",
            probed=study.probes("shortcuts"),
        output:
            **figures("splits/{split}/figures", shown.figures["performance"], "performance"),
        wildcard_constraints:
            split=one_of(study.own_splits),
        group:
            "results_{split}"
        params:
            settings=facts("training", "titles", "bootstrap", "classes", "dpi", "simulated", "of"),
        script:
            "../../scripts/draw_performance.py"


rule draw_agreement:
    """Draw how far the maps of the classes and of the methods differ, and how many predictions are saturated."""
    input:
        agreement="<results>/splits/{split}/evaluation/agreement.tsv",
        groups=study.groups,
    output:
        **figures("splits/{split}/figures", shown.figures["agreement"], "agreement"),
    group:
        "results_{split}"
    resources:
        **ask.maps,
    params:
        settings=facts("classes", "dpi", "simulated", "of"),
    script:
        "../../scripts/draw_regions.py"


if study.truth_folder:

    rule draw_truth:
        """Draw what was planted, and how well each method detects it."""
        input:
            truth="<results>/splits/{split}/evaluation/truth.tsv",
            log_jacobian="<results>/splits/{split}/evaluation/log_jacobian.nii.gz",
            groups=study.groups,
            t1=rules.prepare_template.output.background,
            maps=study.maps,
            cam=list(shown.cam.values()),
        output:
            **figures("splits/{split}/figures", shown.figures["truth"], "truth"),
        group:
            "results_{split}"
        resources:
            **ask.maps,
        params:
            settings=facts("heatmaps", "threshold", "classes", "simulated", "planted", "shown"),
        script:
            "../../scripts/draw_truth.py"


rule publish_tables:
    """Write tables of the subjects in a split and of the performance of the network, to read and for papers."""
    input:
        table1="<results>/splits/{split}/table1.tsv",
        metrics=study.metrics,
        difference=study.difference,
        clinical=study.of_trust("clinical"),
        shortcuts=study.of_trust("shortcuts"),
        probed=study.probes("shortcuts"),
        class_regions=study.class_regions,
        faithfulness=study.probes("faithfulness"),
        randomised=study.probes("randomised"),
        trainings_maps=study.stability("maps"),
        trainings_regions=study.stability("regions"),
        planted=study.planted_controls,
    output:
        **tables("splits/{split}/tables", shown.split_tables),
    group:
        "results_{split}"
    params:
        settings=facts("titles", "permutations", "of", "explained_methods", "classes", "seed", "not_compared"),
    script:
        "../../scripts/publish_tables.py"


if study.probed or study.repeated:

    rule draw_probes:
        """Draw whether maps follow the score and the weights, and whether they come out again with other weights."""
        input:
            faithfulness=study.probes("faithfulness"),
            randomised=study.probes("randomised"),
            trainings_maps=study.stability("maps"),
            trainings_regions=study.stability("regions"),
        output:
            **figures("splits/{split}/figures", shown.single_maps["figures"], "trust"),
        wildcard_constraints:
            split=one_of(study.own_explained),
        group:
            "results_{split}"
        params:
            settings=facts("permutations", "classes", "seed", "atlas", "dpi", "simulated"),
        script:
            "../../scripts/draw_regions.py"

    use rule publish_tables as publish_probes with:
        input:
            faithfulness=study.probes("faithfulness"),
            randomised=study.probes("randomised"),
            trainings_maps=study.stability("maps"),
            trainings_regions=study.stability("regions"),
        output:
            **tables("splits/{split}/tables", shown.single_maps["tables"]),
        wildcard_constraints:
            split=one_of(study.own_explained),
        params:
            settings=facts("permutations", "classes", "seed", "atlas", "top"),


use rule publish_tables as publish_excluded with:
    input:
        excluded="<results>/cohort/excluded.tsv",
        selected="<results>/cohort/selected.tsv",
    output:
        **tables("tables", ["excluded", "checklist", "claim"]),
    group:
        "cohort"
    params:
        settings=facts("classes", "stated", "simulated"),


rule publish_relevance:
    """Write tables of relevance by region, agreement of the methods and the planted truth, to read and for papers."""
    input:
        agreement="<results>/splits/{split}/evaluation/agreement.tsv",
        regions=study.regions,
        groups=study.groups,
        truth=study.truth,
        truth_regions=study.truth_regions,
        class_regions=study.class_regions,
    output:
        **tables("splits/{split}/tables", shown.relevance_tables),
    wildcard_constraints:
        split=one_of(study.own_splits),
    group:
        "results_{split}"
    params:
        settings=facts("heatmaps", "atlas", "classes", "top", "of", "planted", simulated=study.simulated),
    script:
        "../../scripts/publish_relevance.py"


rule write_report:
    """Write the report: one page to read from top to bottom."""
    input:
        **shown.findings(),
        captions=shown.report_items(),
        pictures=shown.report_pictures(),
        headline=[study.path(f"splits/{split}/figures/headline.json") for split in study.own_explained[:1]],
        registered=once_read(study.registered_scans),
        scan_table="<results>/cohort/scans.tsv",
        scans=expand("<results>/splits/{split}/figures/scans", split=study.own_explained),
        summaries=expand("<results>/splits/{split}/evaluation/summary.json", split=study.studied),
        viewers=expand("<results>/splits/{split}/viewer.html", split=study.explained),
        selected="<results>/cohort/selected.tsv",
        skull="<results>/cohort/skull.json",
        external=expand("<results>/splits/{split}/audit.json", split=study.external),
        parts=expand(str(SCRIPTS / "voxelwhy" / "report" / "page.{part}"), part=["html.j2", "css", "js"]),
    output:
        report="<results>/report.html",
    params:
        settings=facts(
            "config",
            "splits",
            "explained",
            "simulated",
            "split_titles",
            "real",
            "classes",
            "titles",
            methods=study.methods_of(shown.headline),
        ),
    script:
        "../../scripts/write_report.py"
