"""
Training: a network for each fold and, for comparison, a linear classifier on region means or smoothed voxels.

IN   splits/<split>/folds.tsv, audit.json; the registered scans that cohort/selected.tsv names; a mask of the user's own
OUT  template/network_mask.nii.gz              the voxels that the network sees; outside them its input is 0
     template/network.json                     the network on the study's grid
     splits/<split>/fold-<k>/model.pt          weights, with normalisation, settings and versions inside
     splits/<split>/fold-<k>/history.tsv       loss and accuracy by epoch
     splits/<split>/fold-<k>/predictions.tsv   out-of-sample predictions
     splits/<split>/trust/stability/fold-<k>/again-<n>/model.pt   the same fold with other initial weights
     splits/<split>/baseline/predictions.tsv   those of the baseline, on the same folds
     splits/<split>/baseline/maps/*.nii.gz     weights and pattern of the baseline, means over folds
     splits/<split>/baseline/relevance.tsv     their enrichment by region, also for permuted diagnoses

If the config has a section model with weights, nothing is trained: the existing weights are checked
(template/weights.json) and take the place of the model of the one fold, with the same files except the history. No
baseline is fitted if no accuracy is reported.

selected.tsv holds a hash of every registered scan, so these rules need not name thousands of files: they run again
if, and only if, the voxels of a scan have changed. A checkpoint after each epoch lies in checkpoints/, outside the
declared outputs, since those are deleted when a job dies; its key consists of inputs, settings and code.
"""


rule prepare_mask:
    """Determine which voxels of the study's grid the network sees."""
    input:
        mask=rules.prepare_template.output.mask,
        own=study.own_files["mask"],
    output:
        mask="<results>/template/network_mask.nii.gz",
        card="<results>/template/network_mask.json",
    priority: 100
    group:
        "prepare"
    resources:
        **ask.volumes,
    params:
        settings={"mask": config["training"]["mask"]},
    script:
        "../../scripts/prepare_mask.py"


rule check_network:
    """Refuse a network that cannot work on the study's grid, before hours of registration."""
    input:
        mask=rules.prepare_mask.output.mask,
    output:
        "<results>/template/network.json",
    priority: 100
    group:
        "prepare"
    resources:
        **ask.volumes,
    params:
        settings=study.network | {"crop": config["training"]["crop"]},
        code=code_digest(SCRIPTS / "check_network.py", [study.network_module]),
    script:
        "../../scripts/check_network.py"


if study.model:

    rule check_weights:
        """Refuse weights that do not fit the study, before hours of registration."""
        input:
            weights=study.model["weights"],
            normalisation=study.normalisation_file,
            mask=rules.prepare_mask.output.mask,
            network=rules.check_network.output,
        output:
            "<results>/template/weights.json",
        priority: 100
        group:
            "prepare"
        resources:
            **ask.volumes,
        params:
            settings=facts("model", "classes", "adopting"),
            code=code_digest(SCRIPTS / "check_network.py", [study.network_module]),
        script:
            "../../scripts/check_network.py"

    rule adopt_weights:
        """Take the weights of the config as the model of {wildcards.split} and predict the scans that it explains."""
        input:
            weights=study.model["weights"],
            normalisation=study.normalisation_file,
            learnt_from=study.normalisation_folds,
            checked=rules.check_weights.output,
            selected="<results>/cohort/selected.tsv",
            folds="<results>/splits/{split}/folds.tsv",
            audit="<results>/splits/{split}/audit.json",
            mask=rules.prepare_mask.output.mask,
        output:
            model="<results>/splits/{split}/fold-0/model.pt",
            predictions="<results>/splits/{split}/fold-0/predictions.tsv",
        wildcard_constraints:
            split=one_of(study.own_splits),
        threads: config["training"]["threads"]
        resources:
            mem_mb=ask.training_mb,
            runtime=ask.prediction_minutes,
        params:
            settings=facts("model", "classes", "adopting"),
            code=code_digest(SCRIPTS / "adopt_weights.py", [study.network_module]),
        script:
            "../../scripts/adopt_weights.py"

else:

    rule train_fold:
        """Train the network of fold {wildcards.fold} of {wildcards.split} and predict its test scans."""
        input:
            selected="<results>/cohort/selected.tsv",
            folds="<results>/splits/{split}/folds.tsv",
            audit="<results>/splits/{split}/audit.json",
            mask=rules.prepare_mask.output.mask,
            network=rules.check_network.output,
        output:
            model="<results>/splits/{split}/fold-{fold}/model.pt",
            history="<results>/splits/{split}/fold-{fold}/history.tsv",
            predictions="<results>/splits/{split}/fold-{fold}/predictions.tsv",
        wildcard_constraints:
            split=one_of(study.own_splits),
        threads: config["training"]["threads"]
        resources:
            mem_mb=ask.training_mb,
            runtime=ask.training_minutes,
            device=config["training"]["device"],
            gpu=study.gpus,
        params:
            settings=facts("training", "classes", "seed"),
            code=code_digest(SCRIPTS / "train_fold.py", [study.network_module]),
        script:
            "../../scripts/train_fold.py"


if study.repeated:

    use rule train_fold as train_again with:
        output:
            model="<results>/splits/{split}/trust/stability/fold-{fold}/again-{repeat}/model.pt",
        wildcard_constraints:
            split=one_of(study.repeated),


rule train_baseline:
    """Fit the baseline on the same folds, and map its weights and its pattern."""
    input:
        selected="<results>/cohort/selected.tsv",
        folds="<results>/splits/{split}/folds.tsv",
        audit="<results>/splits/{split}/audit.json",
        mask=rules.prepare_template.output.mask,
        network_mask=rules.prepare_mask.output.mask,
        labels="<results>/atlas/labels.nii.gz",
        regions="<results>/atlas/regions.tsv",
    output:
        predictions="<results>/splits/{split}/baseline/predictions.tsv",
        relevance="<results>/splits/{split}/baseline/relevance.tsv",
        maps=study.baseline_files(".nii.gz"),
        cards=study.baseline_files(".json"),
    wildcard_constraints:
        split=one_of(study.own_splits),
    group:
        "results_{split}"
    resources:
        **ask.baseline,
    params:
        settings=facts("baseline", "channels", "classes", "seed", "n_draws"),
    script:
        "../../scripts/train_baseline.py"
