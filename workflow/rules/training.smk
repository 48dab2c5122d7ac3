"""
Training: a network for each fold, and beside it a linear classifier on region means.

IN   splits/<split>/folds.tsv, audit.json; the registered scans that cohort/selected.tsv names; a mask of your own
OUT  template/network_mask.nii.gz              the voxels that the network sees; outside them its input is 0
     template/network.json                     what the network looks like on the study's grid
     splits/<split>/fold-<k>/model.pt          weights, with normalisation, settings and versions inside
     splits/<split>/fold-<k>/history.tsv       loss and accuracy by epoch
     splits/<split>/fold-<k>/predictions.tsv   out-of-sample predictions
     splits/<split>/baseline/predictions.tsv   those of the baseline, on the same folds

With a section model in the config nothing is trained: its weights are checked (template/weights.json) and stand as the
model of the one fold, with the same files but a history. No baseline is fitted where no accuracy is given.

selected.tsv holds a hash of every registered scan, so these rules need not name thousands of files: they are run again
when, and only when, a scan's voxels changed. A checkpoint after each epoch lies in checkpoints/, outside the declared
outputs, since those are deleted when a job dies; it is keyed by inputs, settings and code.
"""


rule prepare_mask:
    """Which voxels of the study's grid the network sees."""
    input:
        mask=rules.prepare_template.output.mask,
        own=NETWORK_MASK_FILE,
    output:
        mask=study("template/network_mask.nii.gz"),
        card=study("template/network_mask.json"),
    log:
        study("logs/prepare_mask.log"),
    benchmark:
        study("benchmarks/prepare_mask.tsv")
    priority: 100
    group:
        "prepare"
    conda:
        "../../envs/voxelwhy.yaml"
    threads: 1
    resources:
        mem_mb=grid_mem_mb,
        runtime=grid_runtime,
    params:
        settings={"mask": config["training"]["mask"]},
        code=code("prepare_mask.py"),
    script:
        "../../scripts/prepare_mask.py"


rule check_network:
    """Refuse a network that cannot work on the study's grid, before hours of registration."""
    input:
        mask=rules.prepare_mask.output.mask,
    output:
        study("template/network.json"),
    log:
        study("logs/check_network.log"),
    benchmark:
        study("benchmarks/check_network.tsv")
    priority: 100
    group:
        "prepare"
    conda:
        "../../envs/voxelwhy.yaml"
    threads: 1
    resources:
        mem_mb=grid_mem_mb,
        runtime=grid_runtime,
    params:
        settings=NETWORK | {"crop": config["training"]["crop"]},
        code=code("check_network.py", NETWORK_MODULE),
    script:
        "../../scripts/check_network.py"


if MODEL:

    rule check_weights:
        """Refuse weights that do not fit the study, before hours of registration."""
        input:
            weights=MODEL["weights"],
            normalisation=normalisation_file,
            mask=rules.prepare_mask.output.mask,
            network=rules.check_network.output,
        output:
            study("template/weights.json"),
        log:
            study("logs/check_weights.log"),
        benchmark:
            study("benchmarks/check_weights.tsv")
        priority: 100
        group:
            "prepare"
        conda:
            "../../envs/voxelwhy.yaml"
        threads: 1
        resources:
            mem_mb=grid_mem_mb,
            runtime=grid_runtime,
        params:
            settings={"model": MODEL, "training": ADOPTING, "classes": CLASSES},
            code=code("check_weights.py", NETWORK_MODULE),
        script:
            "../../scripts/check_weights.py"

    rule adopt_weights:
        """Take the weights of the config as the model of {wildcards.split} and predict the scans that it explains."""
        input:
            weights=MODEL["weights"],
            normalisation=normalisation_file,
            learnt_from=normalisation_folds,
            checked=rules.check_weights.output,
            selected=study("cohort/selected.tsv"),
            folds=study("splits/{split}/folds.tsv"),
            audit=study("splits/{split}/audit.json"),
            mask=rules.prepare_mask.output.mask,
        output:
            model=study("splits/{split}/fold-0/model.pt"),
            predictions=study("splits/{split}/fold-0/predictions.tsv"),
        log:
            study("logs/adopt_weights/{split}.log"),
        benchmark:
            study("benchmarks/adopt_weights/{split}.tsv")
        wildcard_constraints:
            split=OWN_SPLITS,
        conda:
            "../../envs/voxelwhy.yaml"
        threads: config["training"]["threads"]
        resources:
            mem_mb=network_mem_mb,
            runtime=predicting_runtime,
        params:
            settings={"model": MODEL, "training": ADOPTING, "classes": CLASSES},
            code=code("adopt_weights.py", NETWORK_MODULE),
        script:
            "../../scripts/adopt_weights.py"

else:

    rule train_fold:
        """Train the network of fold {wildcards.fold} of {wildcards.split} and predict its test scans."""
        input:
            selected=study("cohort/selected.tsv"),
            folds=study("splits/{split}/folds.tsv"),
            audit=study("splits/{split}/audit.json"),
            mask=rules.prepare_mask.output.mask,
            network=rules.check_network.output,
        output:
            model=study("splits/{split}/fold-{fold}/model.pt"),
            history=study("splits/{split}/fold-{fold}/history.tsv"),
            predictions=study("splits/{split}/fold-{fold}/predictions.tsv"),
        log:
            study("logs/train_fold/{split}/fold-{fold}.log"),
        benchmark:
            study("benchmarks/train_fold/{split}/fold-{fold}.tsv")
        wildcard_constraints:
            split=OWN_SPLITS,
        conda:
            "../../envs/voxelwhy.yaml"
        threads: config["training"]["threads"]
        resources:
            mem_mb=network_mem_mb,
            runtime=training_runtime,
            device=config["training"]["device"],
            gpu=GPUS,
        params:
            settings={
                "training": RECORDED["training"],
                "classes": CLASSES,
                "seed": SEED,
            },
            code=code("train_fold.py", NETWORK_MODULE),
        script:
            "../../scripts/train_fold.py"


rule train_baseline:
    """Fit the baseline on the same folds."""
    input:
        selected=study("cohort/selected.tsv"),
        folds=study("splits/{split}/folds.tsv"),
        audit=study("splits/{split}/audit.json"),
        mask=rules.prepare_template.output.mask,
        labels=study("atlas/labels.nii.gz"),
        regions=study("atlas/regions.tsv"),
    output:
        predictions=study("splits/{split}/baseline/predictions.tsv"),
    log:
        study("logs/train_baseline/{split}.log"),
    benchmark:
        study("benchmarks/train_baseline/{split}.tsv")
    wildcard_constraints:
        split=OWN_SPLITS,
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
        code=code("train_baseline.py"),
    script:
        "../../scripts/train_baseline.py"
