"""The first screen of the report: title in words, kind of data, three cards, and the maps of the best method."""

from __future__ import annotations

from dataclasses import dataclass, replace

from voxelwhy.io.channels import MODALITIES
from voxelwhy.io.text import count, people
from voxelwhy.report.cards import Card, make_cards, readable
from voxelwhy.report.sections import Item, read_item
from voxelwhy.report.wording import describe_registration

#: Regions that the alternative text of a map names.
SEEN_REGIONS = 3


@dataclass(frozen=True)
class Opening:
    """What the first screen holds.

    Attributes
    ----------
    heading : str, the title in words
    data : str, what kind of data, and how many
    cards : sequence of cards.Card
    figure : Item or None, the maps of the best-supported method
    """

    heading: str = ""
    data: str = ""
    cards: tuple[Card, ...] = ()
    figure: Item | None = None


def describe_study(config, selected, *, simulated):
    """The title of the report in words, and the kind of its data, as (heading, data).

    Parameters
    ----------
    config : dict, the settings of the study
    selected : DataFrame by tables.SELECTED
    simulated : bool or str, as in `page.write_report`
    """
    classes = config["cohort"]["classes"]
    positive, negative = (classes[side]["name"] for side in ("positive", "negative"))
    kind = MODALITIES[config.get("scans", {}).get("modality", "t1w")][0]
    by_class = ", ".join(
        f"{name} {count(selected.loc[selected['label'] == name, 'subject_id'].nunique(), 'subject')}"
        for name in (positive, negative)
    )
    # The diagnosis of a person may change from one visit to the next.
    if both := int((selected.groupby("subject_id")["label"].nunique() > 1).sum()):
        by_class += f", {both} in both classes"
    whole = people(selected["subject_id"].nunique(), len(selected))
    network = config.get("training", {}).get("network", "")
    data = f"{'Simulated ' * bool(simulated)}{kind}: {whole} ({by_class}); registered "
    data += f"{describe_registration(config['registration'])}" + f"; network {network}" * bool(network) + "."
    return f"Why does the network call a scan {positive} rather than {negative}?", data[0].upper() + data[1:]


def open_report(findings, config, selected, *, simulated, baseline, headline=()):
    """What the first screen holds.

    Parameters
    ----------
    findings : findings.Findings
    config, selected, simulated : as in `describe_study`
    baseline : str, the kind of baseline
    headline : sequence of paths of the figure of the best method, any of its files; empty without heatmaps

    Returns
    -------
    Opening
    """
    heading, data = describe_study(config, selected, simulated=simulated)
    figure = read_item(headline[0]) if headline else None
    if figure:
        figure = replace(figure, alt=f"{figure.alt}{_seen_in_best(findings)}")
    return Opening(heading, data, tuple(make_cards(findings, baseline_title=baseline)), figure)


def _seen_in_best(findings):
    named = [
        f"{group} {', '.join(by_method[findings.best])}"
        for group, by_method in strongest_regions(findings).items()
        if group in findings.classes.values() and by_method.get(findings.best)
    ]
    return f" Most relevance: {'; '.join(named)}." if named else ""


def strongest_regions(findings):
    """The regions with the most enriched relevance, {group: {method: names}}, for the alternative texts of maps."""
    found = {}
    for method, table in findings.regions.items():
        for group, own in table.groupby("group", sort=False):
            first = own.sort_values("rank", kind="stable").head(SEEN_REGIONS)["region"]
            found.setdefault(group, {})[method] = [readable(name) for name in first]
    return found
