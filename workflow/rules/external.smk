"""
Another study's cohort as test (evaluate_on): the models of each split on the registered scans of another study.

IN   results/<study>/cohort/selected.tsv of the other study, and the scans that it names
     splits/<split>/folds.tsv, fold-<k>/model.pt of this one
OUT  external/<study>.json                                 that its scans are such as these models know
     splits/<split>_on_<study>/folds.tsv, audit.json       each of its scans tested by each model; nobody is in both studies
     splits/<split>_on_<study>/table1.tsv                  who is in that cohort
     splits/<split>_on_<study>/fold-<k>/predictions.tsv    by the model of fold k, with its own normalisation
     splits/<split>_on_<study>/baseline/predictions.tsv    by the baseline, fitted on the same folds
     splits/<split>/figures/external, tables/external      internal and external performance side by side

All that follows from predictions and models (heatmaps, regions, evaluation, figures, tables) is made by the rules that
make it for the study's own scans. Two things are of those alone: how the network learnt, and the planted truth.
"""

if EXTERNAL:

    rule check_cohort:
        """Refuse the cohort {wildcards.cohort} unless it has this study's grid, registration and classes."""
        input:
            selected=lambda wildcards: cohort_table(wildcards.cohort),
            skull=study("cohort/skull.json"),
            mask=rules.prepare_template.output.mask,
        output:
            card=study("external/{cohort}.json"),
        log:
            study("logs/check_cohort/{cohort}.log"),
        benchmark:
            study("benchmarks/check_cohort/{cohort}.tsv")
        wildcard_constraints:
            cohort=one_of(config["evaluate_on"]),
        # Before hours of registration.
        priority: 100
        conda:
            "../../envs/voxelwhy.yaml"
        threads: 1
        resources:
            mem_mb=map_mem_mb,
            runtime=short_runtime,
        params:
            settings={
                "classes": CLASSES,
                "registration": {key: REGISTRATION[key] for key in ("transform", "n4", "maps")},
                "extract": "extract" in config["scans"],
            },
            code=code("check_cohort.py"),
        script:
            "../../scripts/check_cohort.py"

    rule split_external:
        """Let each model of a split judge each scan of another study, unless somebody is in both."""
        input:
            checked=lambda wildcards: study(f"external/{SPLITS[wildcards.split]['cohort']}.json"),
            own=study("cohort/selected.tsv"),
            selected=selected_of,
        output:
            folds=study("splits/{split}/folds.tsv"),
            audit=study("splits/{split}/audit.json"),
            table1=study("splits/{split}/table1.tsv"),
        log:
            study("logs/split_external/{split}.log"),
        benchmark:
            study("benchmarks/split_external/{split}.tsv")
        wildcard_constraints:
            split=one_of(EXTERNAL),
        # Before anything is trained.
        priority: 100
        conda:
            "../../envs/voxelwhy.yaml"
        threads: 1
        resources:
            mem_mb=table_mem_mb,
            runtime=short_runtime,
        params:
            settings=lambda wildcards: {"classes": CLASSES} | tested(wildcards.split),
            code=code("split_external.py"),
        script:
            "../../scripts/split_external.py"

    rule predict_external:
        """Predict the scans of {wildcards.split} by the model of fold {wildcards.fold}."""
        input:
            model=lambda wildcards: models_of_folds(wildcards)[int(wildcards.fold)],
            selected=selected_of,
            folds=study("splits/{split}/folds.tsv"),
            audit=study("splits/{split}/audit.json"),
            mask=rules.prepare_mask.output.mask,
        output:
            predictions=study("splits/{split}/fold-{fold}/predictions.tsv"),
        log:
            study("logs/predict_external/{split}/fold-{fold}.log"),
        benchmark:
            study("benchmarks/predict_external/{split}/fold-{fold}.tsv")
        wildcard_constraints:
            split=one_of(EXTERNAL),
        conda:
            "../../envs/voxelwhy.yaml"
        threads: config["training"]["threads"]
        resources:
            mem_mb=network_mem_mb,
            runtime=predicting_runtime,
        params:
            settings={
                "training": {
                    key: ADOPTING[key] for key in ("network", "channels", "batch_size", "precision", "threads")
                },
                "classes": CLASSES,
            },
            code=code("predict_external.py", NETWORK_MODULE),
        script:
            "../../scripts/predict_external.py"

    rule predict_external_baseline:
        """Fit the baseline on the folds of a split, and predict the scans of another study."""
        input:
            own=study("cohort/selected.tsv"),
            own_folds=lambda wildcards: study(f"splits/{SPLITS[wildcards.split]['of']}/folds.tsv"),
            selected=selected_of,
            folds=study("splits/{split}/folds.tsv"),
            audit=study("splits/{split}/audit.json"),
            mask=rules.prepare_template.output.mask,
            labels=study("atlas/labels.nii.gz"),
            regions=study("atlas/regions.tsv"),
        output:
            predictions=study("splits/{split}/baseline/predictions.tsv"),
        log:
            study("logs/predict_external_baseline/{split}.log"),
        benchmark:
            study("benchmarks/predict_external_baseline/{split}.tsv")
        wildcard_constraints:
            split=one_of(EXTERNAL),
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
                "baseline": config["evaluation"]["baseline"],
                "channels": config["training"]["channels"],
                "classes": CLASSES,
                "seed": SEED,
            },
            code=code("predict_external_baseline.py"),
        script:
            "../../scripts/predict_external_baseline.py"

    rule summarise_external:
        """The sentences that a test on another cohort comes to."""
        input:
            metrics=study("splits/{split}/evaluation/metrics.tsv"),
            own=lambda wildcards: study(f"splits/{SPLITS[wildcards.split]['of']}/evaluation/metrics.tsv"),
            regions=regions_by_method,
        output:
            summary=study("splits/{split}/evaluation/summary.json"),
        log:
            study("logs/summarise_external/{split}.log"),
        benchmark:
            study("benchmarks/summarise_external/{split}.tsv")
        wildcard_constraints:
            split=one_of(EXTERNAL),
        group:
            "external"
        conda:
            "../../envs/voxelwhy.yaml"
        threads: 1
        resources:
            mem_mb=table_mem_mb,
            runtime=short_runtime,
        params:
            settings=lambda wildcards: {
                "methods": methods_of(wildcards),
                "classes": CLASSES,
                "simulated": {"there": made_up(SPLITS[wildcards.split]["cohort"]), "here": SIMULATED},
                "tested": tested(wildcards.split),
            },
            code=code("summarise_external.py"),
        script:
            "../../scripts/summarise_external.py"

    rule draw_external:
        """AUC and balanced accuracy on the study's own test scans and on other cohorts."""
        input:
            metrics=metrics_of_cohorts,
        output:
            external=figure("splits/{split}/figures/external", "external"),
        log:
            study("logs/draw_external/{split}.log"),
        benchmark:
            study("benchmarks/draw_external/{split}.tsv")
        wildcard_constraints:
            split=one_of(TESTED_ELSEWHERE),
        group:
            "external"
        conda:
            "../../envs/voxelwhy.yaml"
        threads: 1
        resources:
            mem_mb=table_mem_mb,
            runtime=short_runtime,
        params:
            settings=lambda wildcards: cohorts_of(wildcards)
            | {"simulated": simulated_anywhere(wildcards), "dpi": config["figures"]["dpi"]},
            code=code("draw_external.py"),
        script:
            "../../scripts/draw_external.py"

    rule publish_external:
        """Every metric on the study's own test scans and on other cohorts."""
        input:
            metrics=metrics_of_cohorts,
        output:
            external=table_files("splits/{split}/tables/external"),
        log:
            study("logs/publish_external/{split}.log"),
        benchmark:
            study("benchmarks/publish_external/{split}.tsv")
        wildcard_constraints:
            split=one_of(TESTED_ELSEWHERE),
        group:
            "external"
        conda:
            "../../envs/voxelwhy.yaml"
        threads: 1
        resources:
            mem_mb=table_mem_mb,
            runtime=short_runtime,
        params:
            settings=cohorts_of,
            code=code("publish_external.py"),
        script:
            "../../scripts/publish_external.py"

    # The same, without what is known of the study's own scans alone.
    use rule draw_performance as draw_external_performance with:
        input:
            metrics=study("splits/{split}/evaluation/metrics.tsv"),
            roc=study("splits/{split}/evaluation/roc.tsv"),
            predictions=predictions_of_folds,
            histories=[],
        output:
            **of_any_scans(split_figures("draw_performance")),
        wildcard_constraints:
            split=one_of(EXTERNAL),

    use rule publish_relevance as publish_external_relevance with:
        output:
            **of_any_scans({name: table_files(f"splits/{{split}}/tables/{name}") for name in RELEVANCE_TABLES}),
        wildcard_constraints:
            split=one_of(EXTERNAL),
