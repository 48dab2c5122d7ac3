"""The BIDS App: `voxelwhy BIDS_DIR OUT participant|group` writes a config, prints it and runs the workflow."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from voxelwhy.cohort.parse import parse_tables
from voxelwhy.commands.checkout import read_config, snakemake_command
from voxelwhy.commands.configs import EFFORTS, make_config, study_name, write_config
from voxelwhy.commands.labels import classes_of, label_columns
from voxelwhy.errors import InputError
from voxelwhy.jobs.batches import divide_scans

#: Name of the config that is written into the output folder.
CONFIG = "voxelwhy.yaml"


def add_arguments(parser):
    """Add the arguments of the BIDS App to an argparse parser."""
    parser.add_argument("bids_dir", help="folder of the BIDS dataset")
    parser.add_argument("output_dir", help="folder for the config and the results")
    parser.add_argument(
        "analysis_level",
        choices=["participant", "group"],
        help="participant: register scans; group: the whole study, registrations included",
    )
    parser.add_argument(
        "--participant-label", "--participant_label", nargs="+", help="register these participants only (without sub-)"
    )
    parser.add_argument("--label", default="diagnosis", help="column with the diagnosis (diagnosis by default)")
    parser.add_argument("--positive", action="append", help="values of patients (repeat the option for several)")
    parser.add_argument("--negative", action="append", help="values of controls")
    parser.add_argument("--study", help="name of the study (that of the dataset's folder by default)")
    parser.add_argument("--effort", choices=[*EFFORTS], default="full", help="size of the study (full by default)")
    parser.add_argument("--resolution-mm", type=float, help="voxel size of the study's grid")
    parser.add_argument("--folds", type=int, default=5, help="folds of the cross-validation (5 by default)")
    parser.add_argument("--shuffled", type=int, default=0, help="trainings on shuffled diagnoses (0 by default)")
    parser.add_argument("--no-n4", action="store_true", help="the scans have no bias field")
    parser.add_argument("--template", help="whole-head template, instead of the one that is fetched")
    parser.add_argument(
        "--cores", "--n-cpus", "--n_cpus", type=int, default=os.cpu_count(), help="cores (all by default)"
    )
    parser.add_argument("--dry-run", "-n", action="store_true", help="write the config and list the jobs")
    parser.add_argument("--config-only", action="store_true", help="write the config and stop")
    parser.add_argument("--skip-bids-validation", "--skip_bids_validation", action="store_true", help="accepted; "
                        "voxelwhy runs no validator, but reports every image that it does not use")  # fmt: skip
    parser.add_argument("--profile", help="profile of Snakemake, for a cluster")


def run(options):
    """Write the config, print it and run Snakemake in the output folder; returns Snakemake's exit status."""
    dataset, out = (Path(path).expanduser().resolve() for path in (options.bids_dir, options.output_dir))
    if options.participant_label and options.analysis_level == "group":
        raise InputError(
            "a group is not made of some participants",
            found=f"--participant-label {' '.join(options.participant_label)}",
            allowed="--participant-label with the level participant",
            hint="to leave scans out of a study, name them under registration.skip in the config",
        )
    text = make_text(dataset, options)
    config = out / CONFIG
    write_config(config, text)
    print(f"# {config}\n{text}", flush=True)
    if options.config_only:
        return 0
    command = snakemake_command("--directory", str(out), "--configfile", str(config), "--cores", str(options.cores))
    command += ["--profile", options.profile] if options.profile else []
    command += ["--dry-run"] if options.dry_run else []
    command += targets(config, options)
    status = subprocess.run(command, cwd=out, check=False).returncode
    if not status and not options.dry_run and options.analysis_level == "group":
        print(f"BIDS derivatives: {out / 'results' / study_of(dataset, options) / 'derivatives' / 'voxelwhy'}")
    return status


def study_of(dataset, options):
    """Return the name of the study."""
    return options.study or study_name(dataset)


def make_text(dataset, options):
    """Return the text of the config of a dataset.

    Raises
    ------
    InputError : the folder is no BIDS dataset, or its label column is not there or unclear.
    """
    if not (dataset / "dataset_description.json").is_file() and not any(dataset.glob("sub-*")):
        raise InputError(
            "the folder is not a BIDS dataset",
            file=dataset,
            allowed="a folder with dataset_description.json or sub-*",
            hint="for data of another kind, voxelwhy init writes a config",
        )
    classes = classes_of(label_columns("bids", dataset), options.label, options.positive, options.negative)
    cohort = {"source": "bids", "data_dir": str(dataset), "label": options.label, "classes": classes}
    return make_config(
        CONFIG,
        study_of(dataset, options),
        cohort,
        effort=options.effort,
        resolution_mm=options.resolution_mm,
        n4=not options.no_n4,
        folds=options.folds,
        template=os.path.abspath(options.template) if options.template else None,
        shuffled=options.shuffled,
    )


def targets(config, options):
    """Return what Snakemake is asked for: nothing for the whole study, or what belongs to single participants."""
    if options.analysis_level == "group":
        return []
    if not options.participant_label:
        return ["--until", "select_scans"]
    settings, *_ = read_config(config)
    scans, *_ = parse_tables(settings["cohort"])
    chosen = {f"sub-{label.removeprefix('sub-')}" for label in options.participant_label}
    if unknown := sorted(chosen - set(scans["subject_id"])):
        raise InputError(
            "a participant has no scan that the study uses",
            found=", ".join(unknown),
            allowed="participants with an image and a label of one of the two classes",
            hint=f"voxelwhy check {config} lists what is dropped, with the reasons",
        )
    if divide_scans(scans["scan_id"], settings["registration"]["batch"]) is not None:
        print(
            "this many scans are registered in batches: those of other participants are registered too", file=sys.stderr
        )
        return ["--until", "select_scans"]
    names = scans.loc[scans["subject_id"].isin(chosen), "scan_id"]
    return [f"results/{settings['study']}/registered/{name}" for name in names]
