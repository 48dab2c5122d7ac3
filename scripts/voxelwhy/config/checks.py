"""Settings that do not go together: each check looks at one subject of a study and refuses in plain words."""

from __future__ import annotations

import difflib
import hashlib
from pathlib import Path

from voxelwhy.config.atlas_names import FETCHED, PACKAGED, choices
from voxelwhy.errors import ConfigError
from voxelwhy.io.channels import WARPS, maps_needed
from voxelwhy.io.images import Grid

RESERVED_NAMES = ("all", "TP", "FP", "TN", "FN")
GUIDED = ("guided_backprop", "guided_grad_cam")
#: As voxelwhy.cohort.simulation.plan has it: years that are left for later visits.
LAST_VISIT_YEARS = 2.1
#: The largest simulation.intensity.noise that the schema allows.
MOST_NOISE = 0.2
NETWORKS_WITHOUT_RELU = ("small_dataset",)


def check_settings(settings):
    """Raise ConfigError unless the settings of a study, filled in by the schema, go together."""
    for check in CHECKS:
        check(settings)


def _check_cohort(settings):
    if "simulation" in settings and "table" in settings["cohort"]:
        raise ConfigError(
            "a study has a simulation or a table of its own, not both",
            column="cohort.table",
            found=settings["cohort"]["table"],
            hint="remove the section simulation to study your own scans",
        )
    cohort = settings["cohort"]
    if "simulation" in settings and cohort["source"] != "adni_merged":
        raise ConfigError(
            "a simulated cohort is read as adni_merged",
            column="cohort.source",
            found=cohort["source"],
            hint="remove it",
        )
    by_files = cohort["source"] in ("bids", "folder") and "data_dir" in cohort
    if "simulation" not in settings and "table" not in cohort and not by_files:
        raise ConfigError(
            "the setting cohort.table is missing",
            allowed="the path of the table, CSV or TSV" + ", or data_dir alone" * (cohort["source"] == "folder"),
            hint="name the table, or simulate a cohort with a simulation section",
        )
    if settings["cohort"].get("images") == "template" and "path_template" not in settings["cohort"]:
        raise ConfigError(
            "the setting cohort.path_template is missing: cohort.images is template",
            allowed="the path of a scan below data_dir, such as {Subject}/{Image Data ID}.nii.gz",
            hint="give it, or set cohort.images to loni",
        )


def _check_confounds(settings):
    simulation = settings.get("simulation", {})
    confounds = simulation.get("confounds", {})
    if older := confounds.get("age", 0):
        age = simulation["age"]
        most = (age["highest"] - age["lowest"] - LAST_VISIT_YEARS) / 2
        if abs(older) > most:
            raise ConfigError(
                "simulation.confounds.age takes more than half of the range of ages: patients and controls would "
                "hardly overlap",
                found=older,
                allowed=f"{-most:g} to {most:g} years, where ages are {age['lowest']:g} to {age['highest']:g}",
                hint="make it smaller, or set simulation.age.lowest and highest further apart",
            )
    if more := confounds.get("noise", 0):
        noise = simulation["intensity"]["noise"]
        if noise == 0 or noise * (1 + more) > MOST_NOISE:
            raise ConfigError(
                "simulation.confounds.noise: patients' scans cannot have that noise",
                found=f"{1 + more:g} times simulation.intensity.noise {noise:g}",
                allowed=f"above 0 and at most {MOST_NOISE:g}",
                hint="it multiplies the noise that all scans have" if noise == 0 else None,
            )


def _check_classes(settings):
    classes = settings["cohort"]["classes"]
    names = [classes[side]["name"] for side in ("positive", "negative")]
    if names[0].lower() == names[1].lower():
        raise ConfigError("cohort.classes: both classes have one name", found=names[0], allowed="two names")
    reserved = {name.lower() for name in RESERVED_NAMES}
    for name in names:
        if name.lower() in reserved:
            raise ConfigError(
                "cohort.classes: this name is that of a group of scans",
                found=name,
                allowed=f"any other than {', '.join(RESERVED_NAMES)}",
            )
    seen = {}
    lists = {f"{side}.values": classes[side]["values"] for side in ("positive", "negative")} | {"drop": classes["drop"]}
    for place, values in lists.items():
        for value in values:
            first = seen.setdefault(f"{value:g}" if isinstance(value, float) else str(value), place)
            if first != place:
                raise ConfigError(
                    f"cohort.classes: a value stands in two lists, {first} and {place}", found=value, allowed="one list"
                )


def _check_registration(settings):
    registration = settings["registration"]
    if registration["transform"] == "none" and registration["n4"]:
        raise ConfigError(
            "registration.n4: images that are registered already are taken as they are",
            found="transform: none, n4: true",
            allowed="n4: false, or another transform",
        )
    warped = [name for name in registration["limits"] if name.startswith("jacobian")]
    if warped and registration["transform"] not in WARPS:
        raise ConfigError(
            f"registration.limits.{warped[0]}: only a warp has a Jacobian",
            found=f"transform: {registration['transform']}",
            allowed=f"transform: {' or '.join(WARPS)}",
        )
    channels = settings["training"]["channels"]
    if (maps := maps_needed(channels, registration["maps"])) and registration["transform"] not in WARPS:
        raise ConfigError(
            f"{'training.channels' if maps[0] in channels else 'registration.maps'}: {maps[0]} follows from a "
            "deformation, and this transform deforms nothing",
            found=f"{', '.join(maps)} with transform: {registration['transform']}",
            allowed=f"transform: {' or '.join(WARPS)}; or channels: [t1]",
        )


def _check_splits(settings):
    seen = set()
    for split in settings["splits"]:
        if split["name"].lower() in seen:
            raise ConfigError(
                "splits: two splits have one name",
                found=split["name"],
                allowed="a name of its own for each",
                hint="a split without a name has that of its kind: add name",
            )
        seen.add(split["name"].lower())
        if settings["training"]["keep"] == "best_validation" and split["validation_fraction"] == 0:
            raise ConfigError(
                f"training.keep is best_validation, and the split {split['name']} has nobody to validate with",
                found="validation_fraction: 0",
                allowed="a validation_fraction above 0, or keep: last",
            )


def _check_atlas(settings):
    atlas = settings["atlas"]
    if ("image" in atlas) != ("table" in atlas):
        missing = "table" if "image" in atlas else "image"
        raise ConfigError(
            f"the setting atlas.{missing} is missing", found=sorted(atlas), allowed="image and table together, or none"
        )
    known = {**PACKAGED, **FETCHED}
    if "image" in atlas and atlas["name"] in known:
        raise ConfigError(
            "atlas.name is that of an atlas known by name, but image and table are given",
            found=atlas["name"],
            allowed="a name of your choice with image and table, or the known name alone",
        )
    if "image" not in atlas and atlas["name"] not in known:
        near = difflib.get_close_matches(atlas["name"], known, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise ConfigError(
            "there is no atlas of that name",
            column="atlas.name",
            found=atlas["name"],
            allowed=choices(),
            hint=f"{meant}For an atlas of your own set atlas.image and atlas.table",
        )
    if atlas["merge_sides"] and atlas["name"] in FETCHED and (why := FETCHED[atlas["name"]].unpaired):
        raise ConfigError(
            f"the atlas {atlas['name']} has no left and right regions to merge: {why}",
            column="atlas.merge_sides",
            found=True,
            allowed="merge_sides: false, or an atlas that has each region once on each side",
        )


def _check_slices(settings):
    axis, grid = settings["figures"]["axis"], Grid.named(settings["registration"]["grid"], 1)
    number = ("sagittal", "coronal", "axial").index(axis)
    low = grid.affine[number, 3]
    high = low + grid.shape[number] - 1
    for place in settings["figures"]["slices_mm"]:
        if not low <= place <= high:
            raise ConfigError(
                "figures.slices_mm: a slice lies outside the template",
                found=place,
                allowed=f"{low:g} to {high:g} mm for {axis} slices",
            )


def _check_occlusion(settings):
    occlusion = settings["heatmaps"]["methods"].get("occlusion")
    if occlusion and occlusion["stride_mm"] > occlusion["size_mm"]:
        raise ConfigError(
            "heatmaps.methods.occlusion: stride_mm is above size_mm: voxels between the cubes are left out",
            found=f"size_mm {occlusion['size_mm']}, stride_mm {occlusion['stride_mm']} (whole voxels of "
            f"{settings['registration']['resolution_mm']} mm)",
            allowed="stride_mm <= size_mm",
        )


def _check_guided(settings):
    network, methods = settings["training"].get("network"), settings["heatmaps"]["methods"]
    guided = [name for name in methods if name in GUIDED]
    if network in NETWORKS_WITHOUT_RELU and guided:
        raise ConfigError(
            f"heatmaps.methods: {guided[0]} is defined for ReLU, and the network {network} has none",
            found=list(methods),
            allowed=[name for name in methods if name not in GUIDED],
            hint="list the methods of the study under heatmaps.methods; one that is not listed is not computed",
        )


def _check_template(settings):
    scans = settings["scans"]
    if "template" not in scans or "template_sha256" not in scans or not Path(scans["template"]).is_file():
        return
    found = hashlib.sha256(Path(scans["template"]).read_bytes()).hexdigest()
    if found != scans["template_sha256"].lower():
        raise ConfigError(
            "the whole-head template is not the file that the config names",
            file=scans["template"],
            column="scans.template_sha256",
            found=found,
            allowed=scans["template_sha256"].lower(),
            hint="a packed and an unpacked file have different sums; correct scans.template or scans.template_sha256",
        )


def _check_gpu(settings):
    if settings["use_gpu"] and settings["training"]["device"] == "cpu":
        raise ConfigError(
            "use_gpu asks the scheduler for GPUs, and training.device leaves them idle",
            found="use_gpu: true, training.device: cpu",
            allowed="training.device: auto or cuda, or use_gpu: false",
        )


def _check_shuffled(settings):
    if settings["evaluation"]["shuffled"] in (1, 2):
        raise ConfigError(
            "evaluation.shuffled: the spread of one or two draws says nothing",
            found=settings["evaluation"]["shuffled"],
            allowed="0, or at least 3",
        )


def _check_compare(settings):
    if "compare" not in settings:
        return
    if not any(split["heatmaps"] for split in settings["splits"]):
        raise ConfigError(
            "compare: no split has heatmaps to compare",
            found="heatmaps: false in each",
            allowed="one split with heatmaps",
        )
    if "weights" in settings.get("model", {}):
        raise ConfigError(
            "compare: weights that are trained already owe nothing to choices",
            found=f"model.weights: {settings['model']['weights']}",
            allowed="a comparison that trains, or a study of these weights",
        )
    if settings["keep"] != "all":
        raise ConfigError(
            "compare: cells share their registrations, and are gone on with where a choice is added",
            found=f"keep: {settings['keep']}",
            allowed="keep: all",
        )
    _check_question(settings["compare"], settings.get("simulation", {}))


#: What must be the same where maps and their regions are held against each other.
ONE_GRID = ("registration.resolution_mm", "registration.grid", "atlas", "heatmaps.methods")


def _check_question(compare, simulation):
    question, choices, repeated = (compare[key] for key in ("question", "choices", "repeated"))
    if question == "null" and (simulation.get("effect") != 0 or choices or "simulation.seed" not in repeated):
        raise ConfigError(
            "compare.question is null, which asks of many cohorts in which nothing was planted",
            found=f"simulation.effect: {simulation.get('effect', 'no simulation')}, "
            f"{len(choices)} choices, repeated: {', '.join(repeated)}",
            allowed="simulation.effect: 0, no choices, and simulation.seed among repeated",
        )
    if question == "confounds" and (grid := [setting for setting in choices if setting.startswith(ONE_GRID)]):
        raise ConfigError(
            "compare: maps of these are not laid side by side",
            found=f"question: confounds, choices: {', '.join(grid)}",
            allowed="question: choices; or choices that leave grid, atlas and methods as they are",
        )
    if question != "null" and not choices:
        raise ConfigError("compare: there is nothing to compare", found="no choices", allowed="one choice or more")
    if not simulation and (question == "confounds" or "simulation.seed" in repeated):
        raise ConfigError(
            "compare: this takes a simulated cohort",
            found=f"question: {question}, repeated: {', '.join(repeated)}, and no simulation",
            allowed="a section simulation, or question: choices and repeated: [seed]",
        )


CHECKS = (
    _check_cohort,
    _check_confounds,
    _check_classes,
    _check_registration,
    _check_splits,
    _check_atlas,
    _check_slices,
    _check_occlusion,
    _check_guided,
    _check_template,
    _check_gpu,
    _check_shuffled,
    _check_compare,
)


def check_imported(settings):
    """Raise ConfigError unless each entry of `heatmaps.others` has a place of its own and a file that can be read."""
    seen = set()
    for other in settings["heatmaps"]["others"]:
        key = (other["name"].lower(), other["group"].lower())
        if key in seen:
            raise ConfigError(
                "heatmaps.others: two maps have one name and group",
                found=f"name {other['name']}, group {other['group']}",
                allowed="a name of its own for each map of a group",
            )
        seen.add(key)
        if not other["file"].endswith((".npz", ".nii", ".nii.gz")):
            raise ConfigError(
                "heatmaps.others: a file of a kind that is not read", found=other["file"], allowed=".npz, .nii, .nii.gz"
            )
        if "array" in other and not other["file"].endswith(".npz"):
            raise ConfigError(
                "heatmaps.others: an array is named in a file that is not .npz", found=other["file"], allowed="no array"
            )
        n_subjects = other.get("n_subjects", 1)
        if other.get("n_scans", n_subjects) < n_subjects:
            raise ConfigError(
                f"heatmaps.others: {other['name']} has fewer scans than subjects",
                found=other["n_scans"],
                allowed=f"n_scans of at least {n_subjects}",
            )
