"""What goes wrong on a cluster, done to a finished study of which one stage has to be made again.

Each function takes a study of its own, disturbs its run, sees it to its end and returns what the test asks about.
"""

from __future__ import annotations

import os
import signal
from types import SimpleNamespace

from slurm.studies import fingerprints, kill

FOLD = "results/small/splits/kfold/fold-0"
HEATMAPS = "results/small/splits/kfold/heatmaps"


def time_limit(study):
    """A training that hangs after its first epoch, with a limit of one minute on the first attempt."""
    kept = study.remove("splits/kfold/fold-0/*")
    study.start(f"{FOLD}/model.pt", "--set-resources", "train_fold:runtime=1 if attempt == 1 else 10")
    stop_training(study)
    return outcome(study, kept)


def memory_limit(study):
    """A heatmap job that gets a tenth of what it needs on the first attempt."""
    kept = study.remove("splits/kfold/heatmaps/grad_cam/parts/*")
    part = f"{HEATMAPS}/grad_cam/parts/1-of-1"
    study.start(part, "--set-resources", "compute_heatmaps:mem_mb=300 if attempt == 1 else 4000")
    return outcome(study, kept)


def cancelled(study):
    """A group of registrations that is cancelled when its first member is done."""
    scans = sorted(path.name for path in study.result("registered").iterdir())[:3]
    kept = study.remove(*(f"registered/{scan}" for scan in scans))
    targets = [f"results/small/registered/{scan}" for scan in scans]
    study.start(*targets)
    job = study.running("register_scan")
    study.wait_for(
        lambda: any((study.result("registered") / scan / "quality.json").exists() for scan in scans), "first scan"
    )
    study.cluster.run("scancel", job["JobId"])
    return outcome(study, kept)


def controller_killed(study):
    """Snakemake is killed while a training runs on the cluster, which goes on, and Snakemake is started again."""
    kept = study.remove("splits/kfold/fold-0/*")
    study.start(f"{FOLD}/model.pt")
    process = stop_training(study)
    kill(study.controller)
    study.start(f"{FOLD}/model.pt")
    locked = study.finish(code=1)
    study.run("--unlock")
    study.start(f"{FOLD}/model.pt")
    study.wait_for(lambda: len(study.jobs()) == 2, "second job")
    os.kill(process, signal.SIGCONT)
    return outcome(study, kept, locked=locked)


def node_killed(study):
    """slurmd dies while a heatmap job runs, and comes back."""
    kept = study.remove("splits/kfold/heatmaps/occlusion/parts/*")
    study.start(f"{HEATMAPS}/occlusion/parts/1-of-1")
    process = study.script("compute_heatmaps")
    os.kill(process, signal.SIGSTOP)
    study.cluster.kill_node()
    os.kill(process, signal.SIGCONT)
    study.wait_for(lambda: not os.path.exists(f"/proc/{process}"), "end of the script")
    study.cluster.start_node()
    return outcome(study, kept)


def stop_training(study):
    """Stop the training of fold 0 between two epochs; returns the id of its process."""
    process = study.script("train_fold")
    saved = study.result("checkpoints/kfold/fold-0")
    study.wait_for(lambda: list(saved.glob("[!.]*.pt")), "checkpoint", every=0.02)
    os.kill(process, signal.SIGSTOP)
    return process


def outcome(study, kept, **more):
    """See the run to its end and gather what is there then."""
    printed = study.finish()
    return SimpleNamespace(study=study, printed=printed, kept=kept, made=fingerprints(study), jobs=study.jobs(), **more)
