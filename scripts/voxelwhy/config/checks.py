"""Checks that settings do not contradict each other, one function for each part of a config."""

from __future__ import annotations

import difflib
import hashlib
from pathlib import Path

from voxelwhy.config.atlas_names import FETCHED, PACKAGED, choices
from voxelwhy.config.comparison_checks import check_compare
from voxelwhy.config.probes import check_planted, check_probes
from voxelwhy.config.simulation_checks import check_confounds, check_signal
from voxelwhy.errors import ConfigError
from voxelwhy.io.channels import WARPS, maps_needed
from voxelwhy.io.images import Grid

RESERVED_NAMES = ("all", "TP", "FP", "TN", "FN")
GUIDED = ("guided_backprop", "guided_grad_cam")
#: What the images of a CAPS folder are, by cohort.image.
IMAGES_OF_CAPS = {"t1-linear": "t1w", "t1-volume": "gm", "pet-linear": "pet", "pet-volume": "pet"}
NETWORKS_WITHOUT_RELU = ("small_dataset",)


def check_settings(settings):
    """Raise ConfigError where the settings of a study, completed by the schema, contradict each other."""
    for check in CHECKS:
        check(settings)


def _check_cohort(settings):
    if "simulation" in settings and "table" in settings["cohort"]:
        raise ConfigError(
            "a study has either a simulation or a table of its own, not both",
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
    by_files = cohort["source"] in ("bids", "caps", "folder") and "data_dir" in cohort
    if "simulation" not in settings and "table" not in cohort and not by_files:
        raise ConfigError(
            "the setting cohort.table is missing",
            allowed="the path of the table, CSV or TSV" + ", or data_dir alone" * (cohort["source"] == "folder"),
            hint="name the table, or add a section simulation to simulate a cohort",
        )
    if settings["cohort"].get("images") == "template" and "path_template" not in settings["cohort"]:
        raise ConfigError(
            "the setting cohort.path_template is missing: cohort.images is template",
            allowed="the path of a scan below data_dir, such as {Subject}/{Image Data ID}.nii.gz",
            hint="give it, or set cohort.images to loni",
        )


def _check_classes(settings):
    classes = settings["cohort"]["classes"]
    names = [classes[side]["name"] for side in ("positive", "negative")]
    if names[0].lower() == names[1].lower():
        raise ConfigError(
            "cohort.classes: both classes have the same name", found=names[0], allowed="two different names"
        )
    reserved = {name.lower() for name in RESERVED_NAMES}
    for name in names:
        if name.lower() in reserved:
            raise ConfigError(
                "cohort.classes: this name is reserved for a group of scans",
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
                    f"cohort.classes: a value is in two lists, {first} and {place}",
                    found=value,
                    allowed="one list",
                )


def _check_registration(settings):
    registration = settings["registration"]
    if registration["grid"] == "scans" and registration["transform"] != "none":
        raise ConfigError(
            "registration.grid: only scans that others have registered can give the study its grid",
            found=f"grid: scans, transform: {registration['transform']}",
            allowed="transform: none, or grid: icbm or mni",
        )
    if registration["transform"] == "none" and registration["n4"]:
        raise ConfigError(
            "registration.n4: N4 is not applied to images that are already registered",
            found="transform: none, n4: true",
            allowed="n4: false, or another transform",
        )
    warped = [name for name in registration["limits"] if name.startswith("jacobian")]
    if warped and registration["transform"] not in WARPS:
        raise ConfigError(
            f"registration.limits.{warped[0]}: only a deformable transform has a Jacobian",
            found=f"transform: {registration['transform']}",
            allowed=f"transform: {' or '.join(WARPS)}",
        )
    channels = settings["training"]["channels"]
    if (maps := maps_needed(channels, registration["maps"])) and registration["transform"] not in WARPS:
        raise ConfigError(
            f"{'training.channels' if maps[0] in channels else 'registration.maps'}: {maps[0]} is derived from a "
            "deformation, and this transform does not deform scans",
            found=f"{', '.join(maps)} with transform: {registration['transform']}",
            allowed=f"transform: {' or '.join(WARPS)}; or channels: [t1]",
        )


def _check_modality(settings):
    modality, registration = settings["scans"]["modality"], settings["registration"]
    held = IMAGES_OF_CAPS.get(settings["cohort"].get("image"), modality)
    if modality == "t1w" and held != "t1w":
        raise ConfigError(
            "scans.modality: these images are not T1-weighted",
            found=f"cohort.image: {settings['cohort']['image']}, modality: t1w",
            allowed=f"modality: {held}",
        )
    if modality == "t1w":
        return
    if registration["transform"] != "none":
        raise ConfigError(
            "scans.modality: only T1-weighted scans can be registered to the T1-weighted template",
            found=f"modality: {modality}, transform: {registration['transform']}",
            allowed="transform: none, for images that are in template space already",
        )
    if "extract" in settings["scans"]:
        raise ConfigError(
            "scans.extract extracts the brain from T1-weighted heads",
            found=f"modality: {modality}",
            allowed="no extract",
        )


def _check_splits(settings):
    seen = set()
    for split in settings["splits"]:
        if split["name"].lower() in seen:
            raise ConfigError(
                "splits: two splits have the same name",
                found=split["name"],
                allowed="a different name for each",
                hint="a split without a name is named after its kind: add name",
            )
        seen.add(split["name"].lower())
        for what, instead in _needs_validation(settings["training"]):
            if split["validation_fraction"] == 0:
                raise ConfigError(
                    f"training.{what}, but the split {split['name']} has no validation subjects",
                    found="validation_fraction: 0",
                    allowed=f"a validation_fraction above 0, or {instead}",
                )
    schedule = settings["training"].get("schedule")
    if "patience" in settings["training"] and schedule != "constant":
        raise ConfigError(
            "training.patience ends a training early, but its schedule lowers the learning rate over all epochs",
            found=f"schedule: {schedule}",
            allowed="schedule: constant, or no patience",
        )


def _needs_validation(training):
    """The settings that use validation scans, in words, and what does not use them."""
    if training["keep"] == "best_validation":
        yield "keep is best_validation", "keep: last"
    if "patience" in training:
        yield f"patience is {training['patience']}", "no patience"
    if training["calibrate"] != "none":
        yield f"calibrate is {training['calibrate']}", "calibrate: none"


def _check_first_pool(settings):
    training = settings["training"]
    if "first_pool" in training and training.get("network") != "compact":
        raise ConfigError(
            "training.first_pool belongs to the network compact",
            found=f"first_pool: {training['first_pool']}, network: {training.get('network', 'your own')}",
            allowed="network: compact, or no first_pool",
        )


def _check_atlas(settings):
    atlas = settings["atlas"]
    if ("image" in atlas) != ("table" in atlas):
        missing = "table" if "image" in atlas else "image"
        raise ConfigError(
            f"the setting atlas.{missing} is missing",
            found=sorted(atlas),
            allowed="image and table together, or neither",
        )
    known = {**PACKAGED, **FETCHED}
    if "image" in atlas and atlas["name"] in known:
        raise ConfigError(
            "atlas.name is the name of a built-in atlas, but image and table are given too",
            found=atlas["name"],
            allowed="another name with image and table, or this name alone",
        )
    if "image" not in atlas and atlas["name"] not in known:
        near = difflib.get_close_matches(atlas["name"], known, n=1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise ConfigError(
            "there is no atlas of this name",
            column="atlas.name",
            found=atlas["name"],
            allowed=choices(),
            hint=f"{meant}For your own atlas, set atlas.image and atlas.table",
        )
    if atlas["merge_sides"] and atlas["name"] in FETCHED and (why := FETCHED[atlas["name"]].unpaired):
        raise ConfigError(
            f"the atlas {atlas['name']} has no left and right regions to merge: {why}",
            column="atlas.merge_sides",
            found=True,
            allowed="merge_sides: false, or an atlas in which every region occurs once on each side",
        )


def _check_slices(settings):
    axis, named = settings["figures"]["axis"], settings["registration"]["grid"]
    grid = Grid.named("icbm" if named == "scans" else named, 1)
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
            "heatmaps.methods.occlusion: stride_mm is above size_mm: voxels between the cubes are never occluded",
            found=f"size_mm {occlusion['size_mm']}, stride_mm {occlusion['stride_mm']} (whole voxels of "
            f"{settings['registration']['resolution_mm']} mm)",
            allowed="stride_mm <= size_mm",
        )


def _check_guided(settings):
    network, methods = settings["training"].get("network"), settings["heatmaps"]["methods"]
    guided = [name for name in methods if name in GUIDED]
    if network in NETWORKS_WITHOUT_RELU and guided:
        raise ConfigError(
            f"heatmaps.methods: {guided[0]} is defined for ReLU, but the network {network} has none",
            found=list(methods),
            allowed=[name for name in methods if name not in GUIDED],
            hint="list the methods of the study under heatmaps.methods; methods that are not listed are not computed",
        )


def _check_template(settings):
    scans = settings["scans"]
    if "template" not in scans or "template_sha256" not in scans or not Path(scans["template"]).is_file():
        return
    found = hashlib.sha256(Path(scans["template"]).read_bytes()).hexdigest()
    if found != scans["template_sha256"].lower():
        raise ConfigError(
            "the whole-head template does not have the checksum in the config",
            file=scans["template"],
            column="scans.template_sha256",
            found=found,
            allowed=scans["template_sha256"].lower(),
            hint="compressed and uncompressed files have different checksums; correct scans.template or "
            "scans.template_sha256",
        )


def _check_gpu(settings):
    if settings["use_gpu"] and settings["training"]["device"] == "cpu":
        raise ConfigError(
            "use_gpu requests GPUs from the scheduler, but training.device does not use them",
            found="use_gpu: true, training.device: cpu",
            allowed="training.device: auto or cuda, or use_gpu: false",
        )


def _check_truth(settings):
    folder = settings["cohort"].get("truth")
    if folder and not Path(folder, "log_jacobian.nii.gz").is_file():
        raise ConfigError(
            "cohort.truth: the planted change is missing",
            file=folder,
            found="no log_jacobian.nii.gz",
            allowed="a folder with log_jacobian.nii.gz, the logarithm of volume relative to the template",
        )


CHECKS = (
    _check_cohort,
    _check_truth,
    check_confounds,
    check_signal,
    _check_classes,
    _check_registration,
    _check_modality,
    _check_splits,
    _check_first_pool,
    _check_atlas,
    _check_slices,
    _check_occlusion,
    _check_guided,
    _check_template,
    _check_gpu,
    check_probes,
    check_planted,
    check_compare,
)


def check_imported(settings):
    """Raise ConfigError unless each entry of `heatmaps.others` is unique and names a file that can be read."""
    seen = set()
    for other in settings["heatmaps"]["others"]:
        key = (other["name"].lower(), other["group"].lower())
        if key in seen:
            raise ConfigError(
                "heatmaps.others: two maps have the same name and group",
                found=f"name {other['name']}, group {other['group']}",
                allowed="a different name for each map of a group",
            )
        seen.add(key)
        if not other["file"].endswith((".npz", ".nii", ".nii.gz")):
            raise ConfigError(
                "heatmaps.others: this file format is not supported", found=other["file"], allowed=".npz, .nii, .nii.gz"
            )
        if "array" in other and not other["file"].endswith(".npz"):
            raise ConfigError(
                "heatmaps.others: an array is named, but the file is not .npz", found=other["file"], allowed="no array"
            )
        n_subjects = other.get("n_subjects", 1)
        if other.get("n_scans", n_subjects) < n_subjects:
            raise ConfigError(
                f"heatmaps.others: {other['name']} has fewer scans than subjects",
                found=other["n_scans"],
                allowed=f"n_scans of at least {n_subjects}",
            )
