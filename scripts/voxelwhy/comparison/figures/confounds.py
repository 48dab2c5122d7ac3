"""Figure: what methods highlight when a confound, rather than the disease, separates the classes."""

from __future__ import annotations

import numpy as np

from voxelwhy.io.text import method_title
from voxelwhy.report.figures import slices as sl
from voxelwhy.report.figures.style import HOT, MUTED, new_figure, save_figure, styled


@styled
def draw_confounds(rows, maps, template_path, out, *, axis, slice_mm, same_scans, simulated, dpi=150):
    """Draw one slice of the mean map of the positive class, with one row per combination and one column per method.

    Parameters
    ----------
    rows : list of dict, each with label (of several lines) and key
    maps : {(key, method): path of the NIfTI of the mean map}; relevance is its positive part
    template_path : path of the template, 0 outside the brain
    slice_mm : float, along `axis`
    same_scans : bool; whether repeats use the same scans

    Returns
    -------
    str, the caption
    """
    number = sl.AXES[axis]
    anatomy, affine = sl.load_canonical(template_path)
    low, high = sl.grey_range(anatomy)
    box = sl.crop_box(anatomy > 0, number)
    index = sl.slice_index(affine, number, slice_mm, anatomy.shape[number])
    methods = list(dict.fromkeys(method for _, method in maps))
    fig, panels = new_figure(
        len(rows), len(methods), squeeze=False, figsize=(1.55 * len(methods) + 1.6, 1.35 * len(rows) + 0.5),
        layout="constrained",
    )  # fmt: skip
    below = sl.take_slice(anatomy, number, index)[box]
    for row, line in zip(rows, panels, strict=True):
        for method, axes in zip(methods, line, strict=True):
            relevance = np.maximum(sl.load_canonical(maps[row["key"], method])[0], 0) * (anatomy > 0)
            top = float(np.percentile(relevance[anatomy > 0], 99.5)) or 1.0
            above = sl.take_slice(relevance, number, index)[box]
            axes.imshow(below, cmap="gray", vmin=low, vmax=high * 1.25)
            axes.imshow(above, cmap=HOT, vmin=0, vmax=top, alpha=np.where(above > 0.35 * top, 0.8, 0.0))
            axes.set(xticks=[], yticks=[])
            for spine in axes.spines.values():
                spine.set_visible(False)
        line[0].set_ylabel(row["label"], rotation=0, ha="right", va="center", fontsize=7.5)
    for method, axes in zip(methods, panels[0], strict=True):
        axes.set_title(method_title(method), fontsize=8, loc="center")
    panels[-1][0].set_xlabel(sl.slice_label(affine, number, index), fontsize=7, color=MUTED)
    caption = (
        "Mean relevance of patients' scans in the first repeat. Each map is scaled to its own 99.5th percentile and "
        f"shown above 35 % of it. One {axis} slice at {sl.slice_label(affine, number, index)}. "
        "AUC: within folds, mean over repeats with its 95 % interval "
        f"({'over subjects' if same_scans else 'Student, over repeats'})."
    )
    title = "Regions that methods highlight when a confound separates the classes"
    return save_figure(fig, out, simulated=simulated, title=title, caption=caption, category="comparison", dpi=dpi)
