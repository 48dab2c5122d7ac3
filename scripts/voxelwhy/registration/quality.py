"""What is recorded of a registration: quality.json and check.png, also for a scan that could not be registered."""

from __future__ import annotations

from importlib.metadata import version

from voxelwhy.io.images import write_json
from voxelwhy.registration.check_picture import add_title, draw_failure

#: The slices of the check picture, before `name_registration` adds the title.
PANELS = "panels.png"


def blank_quality(settings):
    """The quality of a scan that is not measured yet."""
    figures = (
        "skull_stripped",
        "scan_cm3",
        "brain_cm3",
        "correlation_brain",
        "mask_dice",
        "jacobian_min",
        "jacobian_max",
        "int16_error_bound",
        "voxel_hash",
        "t1_hash",
    )
    return {
        "status": "ok",
        "reason": None,
        **dict.fromkeys(figures),
        "maps": {},
        "transform": settings["transform"],
        "n4": bool(settings.get("n4", False)),
        # ANTs has no part in a scan that is taken over as it came.
        "versions": {} if settings["transform"] == "none" else {"antspyx": version("antspyx")},
    }


def failed_quality(quality, reason):
    """The quality of a scan that cannot be registered; what was measured of the scan itself is kept."""
    quality |= {"status": "failed", "reason": reason}
    for figure in ("correlation_brain", "mask_dice", "jacobian_min", "jacobian_max", "brain_cm3"):
        quality[figure] = None
    return quality


def one_line(error):
    """The message of an error as one short line."""
    return " ".join(f"{error}".split())[:200] or type(error).__name__


def name_registration(out_dir, quality, *, scan_id):
    """Write `quality.json` and `check.png`, which contain the scan's name, next to the files of `make_registration`.

    Returns
    -------
    quality : dict, the content of `quality.json`
    """
    quality = {"scan_id": scan_id, **quality}
    write_json(out_dir / "quality.json", quality)
    if quality["status"] == "ok":
        add_title(out_dir / PANELS, out_dir / "check.png", _title(quality))
        (out_dir / PANELS).unlink()
    else:
        draw_failure(out_dir / "check.png", scan_id, quality["reason"])
    return quality


def _title(quality):
    figures = []
    if quality["correlation_brain"] is not None:
        figures += [f"r = {quality['correlation_brain']:.2f} inside the brain, overlap {quality['mask_dice']:.2f}"]
    if quality["jacobian_min"] is not None:
        figures += [f"Jacobian {quality['jacobian_min']:.2f} to {quality['jacobian_max']:.2f}"]
    how = "as it came" if quality["transform"] == "none" else quality["transform"]
    return f"{quality['scan_id']} · {how}{' after N4' if quality['n4'] else ''}\n{', '.join(figures)}"
