"""
External cohorts (evaluate_on): the models of each split tested on the registered scans of another study.

IN   results/<study>/cohort/selected.tsv of the other study, and the scans that it names
     splits/<split>/folds.tsv, fold-<k>/model.pt of this one
OUT  external/<study>.json                                 the check that these models can be applied to its scans
     splits/<split>_on_<study>/folds.tsv, audit.json       each scan is tested by each model; no subject is in both
     splits/<split>_on_<study>/table1.tsv                  who is in that cohort
     splits/<split>_on_<study>/fold-<k>/predictions.tsv    by the model of fold k, with its own normalisation
     splits/<split>_on_<study>/baseline/predictions.tsv    by the baseline, fitted on the same folds
     splits/<split>/figures/external, tables/external      internal and external performance side by side

Everything that follows from predictions and models (heatmaps, regions, evaluation, figures, tables) is made by the same
rules as for the study's own scans. Learning curves, maps of the baseline and planted truth exist for the study's own
scans only.
"""

if study.external:

    rule check_cohort:
        """Refuse the cohort {wildcards.cohort} unless it has this study's grid, registration and classes."""
        input:
            selected=lambda wildcards: cohort_table(wildcards.cohort),
            skull="<results>/cohort/skull.json",
            mask=rules.prepare_template.output.mask,
        output:
            card="<results>/external/{cohort}.json",
        wildcard_constraints:
            cohort=one_of(config["evaluate_on"]),
        # Before hours of registration.
        priority: 100
        resources:
            **ask.maps,
        params:
            settings={
                "classes": study.classes,
                "registration": {key: study.registration[key] for key in ("transform", "n4", "maps")}
                | {"modality": config["scans"]["modality"]},
                "extract": "extract" in config["scans"],
            },
        script:
            "../../scripts/check_cohort.py"

    use rule measure_scans as measure_external_scans with:
        input:
            checked="<results>/external/{cohort}.json",
            selected=lambda wildcards: cohort_table(wildcards.cohort),
            t1=rules.prepare_template.output.t1,
            mask=rules.prepare_template.output.mask,
        output:
            measured="<results>/external/{cohort}_image_properties.tsv",
        wildcard_constraints:
            cohort=one_of(config["evaluate_on"]),
        # A group of its own, since networks stand between these scans and the group of results.
        group:
            "external_scans"

    rule split_external:
        """Let each model of a split classify each scan of another study, unless somebody is in both."""
        input:
            checked=lambda wildcards: study.path(f"external/{study.splits[wildcards.split]['cohort']}.json"),
            own="<results>/cohort/selected.tsv",
            selected=selected_of,
        output:
            folds="<results>/splits/{split}/folds.tsv",
            audit="<results>/splits/{split}/audit.json",
            table1="<results>/splits/{split}/table1.tsv",
        wildcard_constraints:
            split=one_of(study.external),
        # Before anything is trained.
        priority: 100
        params:
            settings=facts("classes", "tested"),
        script:
            "../../scripts/check_cohort.py"

    rule predict_external:
        """Predict the scans of {wildcards.split} by the model of fold {wildcards.fold}."""
        input:
            model=lambda wildcards: study.models(wildcards)[int(wildcards.fold)],
            selected=selected_of,
            folds="<results>/splits/{split}/folds.tsv",
            audit="<results>/splits/{split}/audit.json",
            mask=rules.prepare_mask.output.mask,
        output:
            predictions="<results>/splits/{split}/fold-{fold}/predictions.tsv",
        wildcard_constraints:
            split=one_of(study.external),
        threads: config["training"]["threads"]
        resources:
            mem_mb=ask.training_mb,
            runtime=ask.prediction_minutes,
        params:
            settings=facts("classes", "predicting"),
            code=code_digest(SCRIPTS / "predict_external.py", [study.network_module]),
        script:
            "../../scripts/predict_external.py"

    # The rules of the study's own scans, for those of another study.
    use rule train_baseline as train_external_baseline with:
        input:
            fitted_on=study.fitted_on,
            selected=selected_of,
            folds="<results>/splits/{split}/folds.tsv",
            audit="<results>/splits/{split}/audit.json",
            mask=rules.prepare_template.output.mask,
            network_mask=rules.prepare_mask.output.mask,
            labels="<results>/atlas/labels.nii.gz",
            regions="<results>/atlas/regions.tsv",
        output:
            predictions="<results>/splits/{split}/baseline/predictions.tsv",
        wildcard_constraints:
            split=one_of(study.external),
        params:
            settings=facts("baseline", "channels", "classes", "seed"),

    use rule summarise as summarise_external with:
        input:
            metrics=study.metrics,
            difference=study.difference,
            own=study.own_metrics,
            regions=study.regions,
        wildcard_constraints:
            split=one_of(study.external),
        group:
            "external"
        params:
            settings=facts("explained_methods", "classes", "tested", "simulated_sides"),

    use rule draw_performance as draw_external_performance with:
        output:
            **figures("splits/{split}/figures", shown.external_only(shown.figures["performance"]), "performance"),
        wildcard_constraints:
            split=one_of(study.external),

    use rule publish_relevance as publish_external_relevance with:
        output:
            **tables("splits/{split}/tables", shown.external_only(shown.relevance_tables)),
        wildcard_constraints:
            split=one_of(study.external),

    # All cohorts side by side.
    use rule draw_performance as draw_cohorts with:
        input:
            metrics=study.metrics_of_cohorts,
        output:
            **figures("splits/{split}/figures", ["external"], "external"),
        wildcard_constraints:
            split=one_of(study.tested_elsewhere),
        group:
            "external"
        params:
            settings=facts("split_name", "n_models", "cohorts", "titles", "simulated_anywhere", "dpi"),

    use rule publish_tables as publish_cohorts with:
        input:
            metrics=study.metrics_of_cohorts,
        output:
            **tables("splits/{split}/tables", ["external"]),
        wildcard_constraints:
            split=one_of(study.tested_elsewhere),
        group:
            "external"
        params:
            settings=facts("split_name", "n_models", "cohorts", "titles"),
