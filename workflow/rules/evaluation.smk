"""
Evaluation: how accurate the network is, how far the heatmaps agree, and whether they detect what was planted.

IN   predictions of the folds and of the baseline; mean maps by method; for the embedded cohort its truth
OUT  splits/<split>/evaluation/metrics.tsv, roc.tsv    accuracy and AUC (within folds, and pooled) by subject and by scan
     splits/<split>/evaluation/difference.tsv          the network compared with the baseline
     splits/<split>/trust/clinical.tsv                 calibration, operating points, net benefit, strata
     splits/<split>/trust/shortcuts.tsv                what else the score follows
     splits/<split>/trust/probes/fold-<k>/*.tsv        what blanking and reset weights do to single maps; shortcuts
     splits/<split>/trust/stability/fold-<k>/*.tsv     how far maps by several trainings agree
     splits/<split>/evaluation/agreement.tsv           distances and rank correlations of mean maps
     splits/<split>/shuffled/fold-<k>/<n>-of-<N>.tsv   relevance of networks trained on shuffled diagnoses, part of the draws
     splits/<split>/evaluation/truth.tsv               each method against the planted disease (simulated cohorts, cohort.truth)
     splits/<split>/evaluation/truth_draws.tsv         the score of each draw of shuffled diagnoses
     splits/<split>/evaluation/truth_regions.tsv       that disease by region, with sign
     splits/<split>/evaluation/grad_cam.json, *.nii.gz why Grad-CAM shows what it shows of it
     splits/<split>/evaluation/log_jacobian.nii.gz     that disease on the study's grid
     splits/<split>/evaluation/summary.json            the three sentences that summarise the study

If the training data of existing weights are unknown, accuracy is not reported: no metrics, no ROC, no baseline.
"""


rule numbers:
    """Compute the numerical results that a comparison keeps, without figures, tables, probes or the report."""
    input:
        expand("<results>/splits/{split}/evaluation/metrics.tsv", split=study.studied if study.accuracy else []),
        expand("<results>/splits/{split}/trust/shortcuts.tsv", split=study.studied if study.accuracy else []),
        expand("<results>/splits/{split}/regions/{method}.tsv", split=study.explained, method=study.methods),
        expand("<results>/splits/{split}/trust/class_regions/{method}.tsv", split=study.explained, method=study.methods),
        expand("<results>/splits/{split}/evaluation/agreement.tsv", split=study.explained),
        expand("<results>/splits/{split}/evaluation/truth.tsv", split=study.own_explained if study.truth_folder else []),
    localrule: True


rule evaluate_predictions:
    """Compute accuracy, AUC and related measures, for the network, the baseline and the difference between them."""
    input:
        cnn=study.predictions,
        baseline="<results>/splits/{split}/baseline/predictions.tsv",
        selected=selected_of,
        covariates=covariates_of,
        measured=measured_of,
        folds="<results>/splits/{split}/folds.tsv",
    output:
        metrics="<results>/splits/{split}/evaluation/metrics.tsv",
        difference="<results>/splits/{split}/evaluation/difference.tsv",
        roc="<results>/splits/{split}/evaluation/roc.tsv",
        clinical="<results>/splits/{split}/trust/clinical.tsv",
        curves="<results>/splits/{split}/trust/clinical_curves.tsv",
        shortcuts="<results>/splits/{split}/trust/shortcuts.tsv",
    group:
        "results_{split}"
    params:
        settings=facts("classes", "bootstrap", "permutations", "seed", "prevalence"),
    script:
        "../../scripts/evaluate_predictions.py"


rule compare_maps:
    """Measure how far the mean maps of the classes and of the methods differ."""
    input:
        maps=study.maps,
        regions=study.regions,
        mask=rules.prepare_template.output.mask,
    output:
        agreement="<results>/splits/{split}/evaluation/agreement.tsv",
    group:
        "results_{split}"
    resources:
        **ask.maps,
    params:
        settings=facts("methods", "classes", "n_models"),
    script:
        "../../scripts/compare_maps.py"


if study.probed:

    rule probe_heatmaps:
        """Probe fold {wildcards.fold} of {wildcards.split}: blank what maps mark, reset weights, look for shortcuts."""
        input:
            selected="<results>/cohort/selected.tsv",
            covariates=covariates_of,
            folds="<results>/splits/{split}/folds.tsv",
            model="<results>/splits/{split}/fold-{fold}/model.pt",
            predictions="<results>/splits/{split}/fold-{fold}/predictions.tsv",
            mask=rules.prepare_template.output.mask,
            network_mask=rules.prepare_mask.output.mask,
            labels="<results>/atlas/labels.nii.gz",
            regions="<results>/atlas/regions.tsv",
        output:
            faithfulness="<results>/splits/{split}/trust/probes/fold-{fold}/faithfulness.tsv",
            randomised="<results>/splits/{split}/trust/probes/fold-{fold}/randomised.tsv",
            shortcuts="<results>/splits/{split}/trust/probes/fold-{fold}/shortcuts.tsv",
        wildcard_constraints:
            split=one_of(study.probed),
        threads: config["training"]["threads"]
        resources:
            mem_mb=ask.training_mb,
            runtime=ask.probe_minutes,
            device=config["training"]["device"],
            gpu=study.gpus,
        params:
            settings=facts("probing", "channels", "classes", "seed"),
            code=code_digest(SCRIPTS / "probe_heatmaps.py", [study.network_module, *study.method_modules()]),
        script:
            "../../scripts/probe_heatmaps.py"


if study.repeated:

    rule compare_trainings:
        """Explain test scans of fold {wildcards.fold} of {wildcards.split} by several trainings, and compare the maps."""
        input:
            selected="<results>/cohort/selected.tsv",
            models=study.trainings,
            predictions="<results>/splits/{split}/fold-{fold}/predictions.tsv",
            mask=rules.prepare_template.output.mask,
            network_mask=rules.prepare_mask.output.mask,
            labels="<results>/atlas/labels.nii.gz",
            regions="<results>/atlas/regions.tsv",
        output:
            maps="<results>/splits/{split}/trust/stability/fold-{fold}/maps.tsv",
            regions="<results>/splits/{split}/trust/stability/fold-{fold}/regions.tsv",
        wildcard_constraints:
            split=one_of(study.repeated),
        threads: config["training"]["threads"]
        resources:
            mem_mb=ask.comparison_mb,
            runtime=ask.comparison_minutes,
            device=config["training"]["device"],
            gpu=study.gpus,
        params:
            settings=facts("probing", "channels", "seed"),
            code=code_digest(SCRIPTS / "probe_heatmaps.py", [study.network_module, *study.method_modules()]),
        script:
            "../../scripts/probe_heatmaps.py"


if study.draws:

    rule explain_shuffled:
        """Train fold {wildcards.fold} of {wildcards.split} on shuffled diagnoses, part {wildcards.part}, and explain it."""
        input:
            selected="<results>/cohort/selected.tsv",
            folds="<results>/splits/{split}/folds.tsv",
            audit="<results>/splits/{split}/audit.json",
            mask=rules.prepare_template.output.mask,
            network_mask=rules.prepare_mask.output.mask,
            network=rules.check_network.output,
            labels="<results>/atlas/labels.nii.gz",
            regions="<results>/atlas/regions.tsv",
        output:
            "<results>/splits/{split}/shuffled/fold-{fold}/{part}.tsv",
        wildcard_constraints:
            split=one_of(study.own_splits),
        threads: config["training"]["threads"]
        resources:
            mem_mb=ask.shuffled_mb,
            runtime=ask.shuffled_minutes,
            device=config["training"]["device"],
            gpu=study.gpus,
        params:
            settings=facts.shuffling,
            code=code_digest(SCRIPTS / "explain_shuffled.py", [study.network_module, *study.method_modules()]),
        script:
            "../../scripts/explain_shuffled.py"


if study.truth_folder:

    rule score_truth:
        """Score each method against the disease that was planted."""
        input:
            maps=study.maps,
            regions=study.regions,
            truth=study.truth_folder,
            mask=rules.prepare_template.output.mask,
            labels="<results>/atlas/labels.nii.gz",
            atlas="<results>/atlas/regions.tsv",
            shuffled=once_read(ask.shuffled_parts),
            baseline=study.baseline_scored,
            models=study.of_cam(study.models),
            predictions=study.of_cam(study.predictions),
            selected=study.of_cam("<results>/cohort/selected.tsv"),
            network_mask=study.of_cam(rules.prepare_mask.output.mask),
        output:
            **shown.cam,
            scores="<results>/splits/{split}/evaluation/truth.tsv",
            draws="<results>/splits/{split}/evaluation/truth_draws.tsv",
            regions="<results>/splits/{split}/evaluation/truth_regions.tsv",
            log_jacobian="<results>/splits/{split}/evaluation/log_jacobian.nii.gz",
            card="<results>/splits/{split}/evaluation/log_jacobian.json",
        group:
            "results_{split}"
        resources:
            **ask.truth,
        params:
            settings=facts("methods", "classes", "threshold", "permutations", "seed", "cam", simulated=study.simulated),
            code=code_digest(SCRIPTS / "score_truth.py", study.cam_modules()),
        script:
            "../../scripts/score_truth.py"


rule summarise:
    """Summarise the study in three sentences."""
    input:
        metrics=study.metrics,
        difference=study.difference,
        regions=study.regions,
        truth=study.truth,
    output:
        summary="<results>/splits/{split}/evaluation/summary.json",
    wildcard_constraints:
        split=one_of(study.own_splits),
    group:
        "results_{split}"
    params:
        settings=facts("explained_methods", "classes", "planted", simulated=study.simulated),
    script:
        "../../scripts/summarise.py"
