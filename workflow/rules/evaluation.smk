"""
Evaluation: how well the network does, how far the heatmaps agree, and whether they found what was planted.

IN   predictions of the folds and of the baseline; mean maps by method; for the embedded cohort its truth
OUT  splits/<split>/evaluation/metrics.tsv, roc.tsv    accuracy and AUC with intervals that resample subjects
     splits/<split>/evaluation/agreement.tsv           distances and rank correlations of mean maps
     splits/<split>/shuffled/<draw>.tsv                what methods show of networks trained on shuffled diagnoses
     splits/<split>/evaluation/truth.tsv               each method against the planted disease (simulated cohorts only)
     splits/<split>/evaluation/log_jacobian.nii.gz     that disease on the study's grid
     splits/<split>/evaluation/summary.json            the three sentences that the study comes to

Weights of which nobody says where they were trained have no accuracy: no metrics, no ROC, no baseline beside them.
"""


rule numbers:
    """All that figures, tables and report are made of, and none of these."""
    input:
        expand(study("splits/{split}/evaluation/metrics.tsv"), split=STUDIED if ACCURACY else []),
        expand(study("splits/{split}/regions/{method}.tsv"), split=EXPLAINED, method=METHODS_USED),
        expand(study("splits/{split}/evaluation/agreement.tsv"), split=EXPLAINED),
        expand(study("splits/{split}/evaluation/truth.tsv"), split=OWN_EXPLAINED if SIMULATED else []),
    localrule: True


rule evaluate_predictions:
    """Accuracy, AUC and the like with intervals, network and baseline side by side."""
    input:
        cnn=predictions_of_folds,
        baseline=study("splits/{split}/baseline/predictions.tsv"),
    output:
        metrics=study("splits/{split}/evaluation/metrics.tsv"),
        roc=study("splits/{split}/evaluation/roc.tsv"),
    log:
        study("logs/evaluate_predictions/{split}.log"),
    benchmark:
        study("benchmarks/evaluate_predictions/{split}.tsv")
    group:
        "results_{split}"
    conda:
        "../../envs/voxelwhy.yaml"
    threads: 1
    resources:
        mem_mb=table_mem_mb,
        runtime=short_runtime,
    params:
        settings={
            "classes": CLASSES,
            "bootstrap": config["evaluation"]["bootstrap"],
            "seed": SEED,
        },
        code=code("evaluate_predictions.py"),
    script:
        "../../scripts/evaluate_predictions.py"


rule compare_maps:
    """How far the mean maps of the classes and of the methods lie apart."""
    input:
        maps=expand(study("splits/{{split}}/heatmaps/{method}/maps"), method=METHODS_USED),
        mask=rules.prepare_template.output.mask,
    output:
        agreement=study("splits/{split}/evaluation/agreement.tsv"),
    log:
        study("logs/compare_maps/{split}.log"),
    benchmark:
        study("benchmarks/compare_maps/{split}.tsv")
    group:
        "results_{split}"
    conda:
        "../../envs/voxelwhy.yaml"
    threads: 1
    resources:
        mem_mb=map_mem_mb,
        runtime=short_runtime,
    params:
        settings={"methods": METHODS_USED, "classes": CLASSES},
        code=code("compare_maps.py"),
    script:
        "../../scripts/compare_maps.py"


if SIMULATED:
    # A method favours some regions whatever a network has learnt: what it shows of networks that know nothing.
    # Weights that are trained already cannot be trained on other labels.
    DRAWS = range(1, 0 if MODEL else config["evaluation"]["shuffled"] + 1)

    rule explain_shuffled:
        """Train on shuffled diagnoses, draw {wildcards.draw}, and explain {wildcards.split} by these networks."""
        input:
            selected=study("cohort/selected.tsv"),
            folds=study("splits/{split}/folds.tsv"),
            audit=study("splits/{split}/audit.json"),
            mask=rules.prepare_template.output.mask,
            network_mask=rules.prepare_mask.output.mask,
            network=rules.check_network.output,
            labels=study("atlas/labels.nii.gz"),
            regions=study("atlas/regions.tsv"),
        output:
            study("splits/{split}/shuffled/{draw}.tsv"),
        log:
            study("logs/explain_shuffled/{split}/{draw}.log"),
        benchmark:
            study("benchmarks/explain_shuffled/{split}/{draw}.tsv")
        wildcard_constraints:
            split=OWN_SPLITS,
            draw=r"\d+",
        conda:
            "../../envs/voxelwhy.yaml"
        threads: config["training"]["threads"]
        resources:
            mem_mb=shuffled_mem_mb,
            runtime=shuffled_runtime,
            device=config["training"]["device"],
            gpu=GPUS,
        params:
            settings={
                "training": RECORDED["training"],
                "heatmaps": {key: HEATMAPS[key] for key in ("methods", "target", "output", "scans")}
                | {"most_subjects": HEATMAPS.get("most_subjects")},
                "classes": CLASSES,
                "seed": SEED,
            },
            code=code("explain_shuffled.py", NETWORK_MODULE, *(METHODS[name] for name in METHODS_USED)),
        script:
            "../../scripts/explain_shuffled.py"

    rule score_truth:
        """Each method's map against the disease that was planted."""
        input:
            maps=expand(study("splits/{{split}}/heatmaps/{method}/maps"), method=METHODS_USED),
            truth=study("simulation/truth"),
            mask=rules.prepare_template.output.mask,
            labels=study("atlas/labels.nii.gz"),
            regions=study("atlas/regions.tsv"),
            shuffled=expand(study("splits/{{split}}/shuffled/{draw}.tsv"), draw=DRAWS),
        output:
            truth=study("splits/{split}/evaluation/truth.tsv"),
            log_jacobian=study("splits/{split}/evaluation/log_jacobian.nii.gz"),
            card=study("splits/{split}/evaluation/log_jacobian.json"),
        log:
            study("logs/score_truth/{split}.log"),
        benchmark:
            study("benchmarks/score_truth/{split}.tsv")
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
                "methods": METHODS_USED,
                "classes": CLASSES,
                "threshold": config["evaluation"]["truth_threshold"],
                "permutations": config["evaluation"]["permutations"],
                "seed": SEED,
            },
            code=code("score_truth.py"),
        script:
            "../../scripts/score_truth.py"


rule summarise:
    """The three sentences that the study comes to."""
    input:
        metrics=metrics_of,
        regions=regions_by_method,
        truth=truth_of,
    output:
        summary=study("splits/{split}/evaluation/summary.json"),
    log:
        study("logs/summarise/{split}.log"),
    benchmark:
        study("benchmarks/summarise/{split}.tsv")
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
            "methods": methods_of(wildcards),
            "classes": CLASSES,
            "simulated": SIMULATED,
            "planted": PLANTED,
        },
        code=code("summarise.py"),
    script:
        "../../scripts/summarise.py"
