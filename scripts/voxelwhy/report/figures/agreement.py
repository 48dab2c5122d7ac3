"""Distances between mean maps: between the classes, and between methods."""

from __future__ import annotations

import numpy as np

from voxelwhy.io.text import method_title, people
from voxelwhy.report.figures.style import ACCENT, INK, MUTED, RULE, new_figure, save_figure, styled
from voxelwhy.report.wording import group_title


@styled
def draw_agreement(agreement, out, *, group, n_subjects, n_scans, simulated, of="", dpi=150):
    """Distance between the maps of the classes by method; distance and rank correlation between methods.

    Parameters
    ----------
    agreement : DataFrame by the AGREEMENT schema
    group : str, the group whose maps the matrix compares
    of : str, names the cohort if the scans are another study's (io.text.of_cohort)

    Returns
    -------
    str, the caption
    """
    classes, pairs = _beside_regions(agreement, "classes"), _beside_regions(agreement, "methods")
    pairs = pairs[pairs["group"] == group]
    methods = list(classes["first"])
    size = 0.62 * len(methods) + 1.9
    fig, (left, right) = new_figure(
        1, 2, figsize=(3.2 + size, max(2.4, size - 0.6)), layout="constrained", width_ratios=(3.0, size)
    )
    _bars(left, classes)
    _matrix(right, pairs, methods)
    comparison = classes["group"].iloc[0] if len(classes) else ""
    caption = (
        f"Left: Euclidean distance between the mean maps of the classes ({comparison}), each scaled to a sum of "
        "absolute values of 1, and the Spearman rank correlation ρ of their enrichment by region. Right: methods "
        f"compared on the mean map of {group_title(group)}: Euclidean distance of scaled maps (in 10⁻³) below the "
        "diagonal, rank correlation of the enrichment by region above it. n = "
        f"{int(classes['n'].max()):,} brain voxels and {int(classes['n_regions'].max()):,} regions; "
        f"{people(n_subjects, n_scans, of)}. These measures compare means and have no interval."
    )
    title = f"Agreement between classes and between methods, {group_title(group)}"
    return save_figure(fig, out, simulated=simulated, title=title, caption=caption, category="agreement", dpi=dpi)


def _beside_regions(agreement, comparison):
    """The distances of scaled maps, with the rank correlation over regions instead of that over voxels."""
    key, rows = ["group", "first", "second"], agreement[agreement["comparison"] == comparison]
    by_region = rows[rows["scaling"] == "enrichment"][[*key, "spearman", "n"]].rename(columns={"n": "n_regions"})
    return rows[rows["scaling"] == "scaled"].drop(columns="spearman").merge(by_region, on=key)


def _bars(axes, classes):
    places = np.arange(len(classes))[::-1]
    values = classes["distance"].to_numpy(float) * 1000
    axes.barh(places, values, color=ACCENT, height=0.5)
    for place, value, rank in zip(places, values, classes["spearman"], strict=True):
        axes.text(value, place, f"  ρ {rank:.2f}", va="center", fontsize=7.5, color=MUTED)
    axes.set_yticks(places, [method_title(name) for name in classes["first"]])
    axes.set_xlim(0, np.nanmax(np.append(values, 0)) * 1.28 or 1)
    axes.set(title="Between the classes", xlabel="Euclidean distance, 10⁻³")
    axes.grid(axis="x", color=RULE, lw=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(axis="y", length=0)


def _matrix(axes, pairs, methods):
    n = len(methods)
    place = {name: index for index, name in enumerate(methods)}
    rank = np.full((n, n), np.nan)
    distance = np.full((n, n), np.nan)
    for row in pairs.itertuples():
        i, j = sorted((place[row.first], place[row.second]))
        rank[i, j], distance[j, i] = row.spearman, row.distance * 1000
    axes.imshow(rank, cmap="RdBu", vmin=-1.4, vmax=1.4)
    # Distances have no fixed scale and therefore get a colour map of their own.
    axes.imshow(distance, cmap="Greys", vmin=0, vmax=np.nanmax(np.append(distance, 1e-9)) * 2.2)
    for i, j in np.argwhere(np.isfinite(rank)):
        axes.text(j, i, f"{rank[i, j]:.2f}", ha="center", va="center", fontsize=8, color=INK)
    for i, j in np.argwhere(np.isfinite(distance)):
        axes.text(j, i, f"{distance[i, j]:.1f}", ha="center", va="center", fontsize=8, color=INK)
    titles = [method_title(name) for name in methods]
    axes.set_yticks(range(n), titles)
    axes.set_xticks(range(n), titles, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_xticks(np.arange(n + 1) - 0.5, minor=True)
    axes.set_yticks(np.arange(n + 1) - 0.5, minor=True)
    axes.grid(which="minor", color="white", lw=2)
    axes.tick_params(which="both", length=0)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_title("Between methods")
