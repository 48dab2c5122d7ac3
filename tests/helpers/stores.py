"""Stores that studies share, and what lies in them."""

from __future__ import annotations

from voxelwhy.registration.store import register_shared

CODE = {"register_scan.py": "a", "voxelwhy.jobs.doors": "b", "voxelwhy.registration.ants": "c"}
IMAGES = {"template_path": "template.nii.gz", "mask_path": "mask.nii.gz"}


def share(folder, out, *, scan="scan.nii.gz", scan_id="s1", store="", head=False, **settings):
    settings = {"transform": "rigid", "n4": False, "keep_transforms": False} | settings
    images = {name: folder / file for name, file in IMAGES.items()}
    images["head_path"] = images["template_path"] if head else None
    return register_shared(
        folder / scan, settings=settings, out_dir=out, scan_id=scan_id, store=store, code=CODE, **images
    )


def contents(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def entries(store):
    return sorted(path.parent for path in store.glob("*/*/entry.json") if not path.parent.name.startswith("."))
