"""Figure of the baseline's own maps: what a linear classifier uses, and the pattern that it detects."""

from __future__ import annotations

from voxelwhy.io.text import count, people
from voxelwhy.report.figures import slices as sl
from voxelwhy.report.figures.relevance import LEFT_IS, SCALE_NOTE, describe_interpolation, mosaic
from voxelwhy.report.figures.style import save_figure, styled
from voxelwhy.report.wording import describe_baseline, describe_baseline_maps


@styled
def draw_baseline_map(
    maps, template_path, out, *, card, simulated, axis="coronal", slices_mm=sl.DEFAULT_SLICES_MM, dpi=150
):
    """Weights and pattern of the baseline in two columns, slices in rows, drawn as the mean maps of methods.

    Parameters
    ----------
    maps : {"weights": path, "pattern": path}, NIfTI in template space
    template_path : path; brain, 0 outside
    out : path without suffix; writes .png, .svg, .json
    card : dict, the JSON of one of the maps

    Returns
    -------
    str, the caption

    Raises
    ------
    InputError : a slice lies outside the template.
    """
    fig = mosaic(maps, template_path, template_path, axis, slices_mm)
    # These maps have no negative values, and they are no relevance of a scan.
    scale = SCALE_NOTE.replace("Positive relevance", "Values").replace("positive relevance", "values")
    caption = (
        f"The baseline, a {describe_baseline(card['baseline'])}, fitted on the training and validation scans of "
        f"{count(card['n_folds'], 'fold')} ({people(card['n_subjects'], card['n_scans'])}). "
        f"{describe_baseline_maps(card)} {scale}"
        f"{describe_interpolation(maps['weights'], template_path)}. "
        f"{axis.capitalize()} slices, coordinates in template space; the left of each slice is {LEFT_IS[axis]}."
    )
    title = "Weights and pattern of the baseline"
    return save_figure(fig, out, simulated=simulated, title=title, caption=caption, category="heatmaps", dpi=dpi)
