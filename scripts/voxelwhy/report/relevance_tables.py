"""Tables of relevance: regions, agreement of methods, the planted truth, the baseline's maps and imported maps."""

from __future__ import annotations

import numpy as np
import pandas as pd

from voxelwhy.io.tables import BASELINE_MAPS, LEAST_DRAWS
from voxelwhy.io.text import count, interval, listing, method_title, number, p_value, people
from voxelwhy.report.tables import publish_table, short_p
from voxelwhy.report.wording import (
    describe_baseline,
    describe_baseline_maps,
    describe_other,
    describe_settings,
    name_truth,
    of_baseline,
)

#: What the rows of a comparison of maps compare.
COMPARED = {"raw": "raw maps", "scaled": "scaled maps", "enrichment": "regions"}


def publish_regions(tables, out, *, group, settings, atlas="AAL", top=10, of=""):
    """The regions with the largest enrichment, one column per method; the tsv holds every region.

    Parameters
    ----------
    tables : {method: DataFrame by the REGIONS schema}
    group : str, a group of scans in the tables
    settings : dict, the study's heatmap settings
    of : str, names the cohort if the scans are another study's (io.text.of_cohort)
    """
    chosen = {method: table[table["group"] == group].sort_values("rank") for method, table in tables.items()}
    shown = {"Rank": [str(rank) for rank in range(1, top + 1)]}
    for method, table in chosen.items():
        cells = [_region_cell(row) for row in table.head(top).itertuples()]
        shown[method_title(method)] = cells + [""] * (top - len(cells))
    frame = pd.concat([table.assign(method=method) for method, table in chosen.items()], ignore_index=True)
    n = frame.iloc[0]
    shuffled = (
        f" After the semicolon: z and p from {n['n_shuffled']} draws of networks trained on shuffled diagnoses; p is "
        "corrected over the regions of a method (max-T)."
        if n["n_shuffled"]
        else ""
    )
    caption = (
        f"The {top} {atlas} regions with the largest enrichment in {group} scans (share of positive relevance divided "
        "by share of volume; 1 is that of a map that is the same everywhere): mean over subjects with its 95 % "
        "interval over subjects (from 8 subjects on), given these networks; "
        f"n = {people(n['n_subjects'], n['n_scans'], of)}.{shuffled} {describe_settings(settings)}"
    )
    title = f"Relevance by region, {group}"
    return publish_table(frame, pd.DataFrame(shown), out, title=title, caption=caption, category="regions")


def _region_cell(row):
    cell = f"{row.region} {interval(row.enrichment, row.enrichment_low, row.enrichment_high, 1)}"
    return cell + (f"; {number(row.z, 1)}, {p_value(row.p_family)}" if row.n_shuffled else "")


def publish_imported(tables, cards, out, *, group, atlas="AAL", top=10):
    """The regions with the largest enrichment in imported maps, one column per map; the tsv holds every region.

    Parameters
    ----------
    tables : list of DataFrame by the IMPORTED schema, of one group
    cards : list of dict from `heatmaps.imported.import_heatmap`, in the same order
    group : str, as the config has it
    """
    shown = {"Rank": [str(rank) for rank in range(1, top + 1)]}
    for table, card in zip(tables, cards, strict=True):
        best = table.sort_values("rank").head(top)
        cells = [f"{row.region} {number(row.enrichment, 1)}" for row in best.itertuples()]
        shown[method_title(card["name"])] = cells + [""] * (top - len(cells))
    described = "; ".join(describe_other(card) for card in cards)
    caption = (
        f"The {top} {atlas} regions with the largest enrichment (share of positive relevance divided by share of "
        f"volume) in imported maps of {group} scans, which were not computed by this study: {described}. A mean map "
        "has no interval over subjects."
    )
    title = f"Relevance by region in imported heatmaps, {group}"
    frame = pd.concat(tables, ignore_index=True)
    return publish_table(frame, pd.DataFrame(shown), out, title=title, caption=caption, category="regions")


def publish_baseline_regions(relevance, regions, out, *, card, atlas="AAL", top=10):
    """The regions with the largest enrichment in the baseline's maps, one column per map; the tsv holds every region.

    Parameters
    ----------
    relevance : DataFrame by the BASELINE_RELEVANCE schema
    regions : DataFrame by the ATLAS schema
    card : dict, the JSON of one of the maps
    """
    means = relevance.assign(own=relevance["draw"] == 0).groupby(["map", "region_id", "own"])["enrichment"].mean()
    frame = means.unstack("own").reindex(columns=[True, False]).set_axis(["enrichment", "permuted"], axis=1)
    frame = frame.reset_index().merge(regions[["region_id", "region"]], on="region_id", validate="many_to_one")
    frame["rank"] = frame.groupby("map")["enrichment"].rank(method="first", ascending=False).astype("Int64")
    frame = frame.sort_values(["map", "rank"], ascending=[False, True], ignore_index=True)
    n_draws = int(relevance["draw"].max())
    shown = {"Rank": [str(rank) for rank in range(1, top + 1)]}
    for name in BASELINE_MAPS:
        best = frame[(frame["map"] == name) & frame["enrichment"].notna()].head(top)
        cells = [
            f"{row.region} {number(row.enrichment)}" + f" ({number(row.permuted)})" * (n_draws > 0)
            for row in best.itertuples()
        ]
        shown[name.capitalize()] = cells + [""] * (top - len(cells))
    permuted = (
        f", in brackets its mean over {count(n_draws, 'baseline')} fitted on permuted diagnoses" if n_draws else ""
    )
    caption = (
        f"The {top} {atlas} regions with the largest enrichment in the maps of the baseline: the share of the map in "
        f"the region, divided by the region's share of the brain's voxels (1 in a flat map){permuted}. The baseline is "
        f"a {describe_baseline(card['baseline'])}, fitted on the training and validation scans of "
        f"{count(card['n_folds'], 'fold')}; n = {people(card['n_subjects'], card['n_scans'])}. "
        f"{describe_baseline_maps(card)}"
    )
    title = "Regions of the baseline"
    return publish_table(frame, pd.DataFrame(shown), out, title=title, caption=caption, category="regions")


def publish_truth(truth, out, *, group, n_subjects, n_scans, settings, planted=True):
    """Each method compared with the planted disease, every measure with its value expected by chance.

    Parameters
    ----------
    truth : DataFrame by the TRUTH schema
    n_subjects, n_scans : int, over which the maps are averaged
    settings : dict, the study's heatmap settings
    planted : bool, or str: the structure whose volume defines the classes
    """
    shown = pd.DataFrame(
        {
            "Method": truth["method"].map(method_title),
            "AUPRC regions (chance)": _beside(truth, "region_auprc", "region_chance"),
            "Shuffled diagnoses": [_draws(row) for row in truth.itertuples()],
            "p": truth["p"].map(short_p),
            "p (family)": truth["p_family"].map(short_p),
            "Verdict": truth["verdict"],
            "NDCG regions (chance)": _beside(truth, "region_ndcg", "ndcg_chance"),
            "ρ regions (chance)": _beside(truth, "region_spearman", "spearman_chance"),
            "AUPRC voxels (chance)": _beside(truth, "voxel_auprc", "voxel_chance"),
            "Relevance inside (chance)": _beside(truth, "share_inside", "share_chance"),
            "AUPRC regions, any change": _beside(truth, "change_auprc", "change_chance"),
        }
    )
    row = truth.iloc[0]
    known = (
        f"{name_truth(planted)}, which defines the classes" if isinstance(planted, str) else "planted loss of volume"
    )
    caption = (
        f"Maps of {group} scans ({people(n_subjects, n_scans)}) compared with the {known}: "
        f"{row['n_truth_regions']} of {row['n_regions']} regions with a mean log-Jacobian below {-row['threshold']:g}, "
        f"and {row['n_truth_voxels']:,} of {row['n_voxels']:,} brain voxels. Regions are ranked by enrichment, voxels "
        f"by the mean of scaled maps. Chance: {row['n_permutations']:,} permutations of the regions, in which left and "
        f"right move together, and the prevalence for voxels. {describe_reference(truth)} Any change counts gains of "
        f"volume too ({row['n_changed_regions']} regions). {describe_settings(settings)}"
    )
    return publish_table(
        truth,
        shown,
        out,
        title="Known truth" if isinstance(planted, str) else "Planted truth",
        caption=caption,
        category="truth",
    )


def describe_reference(truth):
    """What the p values of a table of truth rest on, in a sentence."""
    draws = int(truth["n_shuffled"].min())
    if not draws:
        return "There are no networks trained on shuffled diagnoses, so no verdict is given."
    own = truth[~of_baseline(truth["method"])]
    few = "" if draws >= LEAST_DRAWS else f" With fewer than {LEAST_DRAWS} draws, no verdict is given."
    return (
        f"Shuffled diagnoses: mean and range of {count(draws, 'draw')} of the same networks trained on shuffled "
        f"diagnoses. p: share of labellings, the true one included, that are at least as good; p (family): the same "
        f"for the best of {len(own)} methods in each labelling (max-T)"
        f"{'; the two maps of the baseline are a family of their own' * (len(own) < len(truth))}.{few}"
    )


def _draws(row):
    if not row.n_shuffled:
        return "–"
    return f"{number(row.shuffled_auprc)} ({number(row.shuffled_low)} to {number(row.shuffled_high)})"


def publish_truth_regions(regions, out, *, group, threshold, atlas="AAL", planted=True, simulated=True):
    """The planted change of volume in each region that counts as lost, with the enrichment by each method.

    Parameters
    ----------
    regions : DataFrame by the SCORED_REGIONS schema
    group : str, whose enrichment it is
    threshold : float, of the truth
    planted : bool, or str: the structure whose volume defines the classes
    simulated : bool; patients of a simulated cohort differ in severity, scans in which others planted a change do not
    """
    rows = regions[regions["loss"]]
    methods = list(rows["method"].unique())
    enrichment = rows.pivot(index="region", columns="method", values="enrichment")
    shown = rows.drop_duplicates("region")[["region", "volume_change"]]
    cells = {method_title(method): shown["region"].map(enrichment[method]).map(number) for method in methods}
    percent = (100 * shown["volume_change"]).map(_signed)
    shown = pd.DataFrame({"Region": shown["region"], "Change of volume, %": percent, **cells})
    gained = regions.loc[regions["log_jacobian"] > threshold].drop_duplicates("region")
    caption = (
        f"The {atlas} regions that count as lost (mean log-Jacobian below {-threshold:g}), with the planted change of "
        f"volume{' at severity 1' * simulated} and the mean enrichment in {group} scans by each method. Regions that "
        f"gain volume ({len(gained)}), since nearby fluid takes up what is lost: {listing(gained['region']) or 'none'}."
    )
    title = "Planted loss of volume by region"
    if isinstance(planted, str):
        title = f"The {name_truth(planted)} in the regions of the atlas"
        caption = (
            f"The {atlas} regions that count as part of the {name_truth(planted)} (mean log-Jacobian below "
            f"{-threshold:g}), with the difference in volume between the classes that it makes there and the mean "
            f"enrichment in {group} scans by each method."
        )
    return publish_table(regions, shown, out, title=title, caption=caption, category="truth")


def _signed(percent):
    return f"{percent:+.1f}".replace("-", "−")


def _beside(frame, value, chance):
    return [f"{number(v)} ({number(c)})" for v, c in zip(frame[value], frame[chance], strict=True)]


def publish_agreement(agreement, out, *, n_subjects, n_scans, settings, of=""):
    """Distances and rank correlations of the mean maps over `n_subjects` and `n_scans`, by the methods of `settings`.

    Parameters
    ----------
    of : str, names the cohort if the scans are another study's (io.text.of_cohort)
    """
    shown = pd.DataFrame(
        {
            "Compared": agreement["comparison"],
            "Group": agreement["group"],
            "First": agreement["first"].map(method_title),
            "Second": agreement["second"].map(method_title),
            "Of": agreement["scaling"].map(COMPARED),
            "Distance": agreement["distance"].map(lambda value: "–" if np.isnan(value) else f"{value:.3g}"),
            "ρ": agreement["spearman"].map(number),
        }
    )
    n = agreement.groupby("over")["n"].max()
    caption = (
        "Euclidean distance and Spearman rank correlation ρ of mean maps (scaled to a sum of absolute values of 1, or "
        f"raw where one network explains all scans) over {n['voxels']:,} brain voxels, and rank correlation of the "
        f"mean enrichment of {n['regions']:,} regions. The maps are means, without intervals, over "
        f"{people(n_subjects, n_scans, of)}. {describe_settings(settings)}"
    )
    title = "Distances between mean maps"
    return publish_table(agreement, shown, out, title=title, caption=caption, category="agreement")
