"""Tables, sections, sentences, and the page as a whole: self-contained, in order, and marked when simulated."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from helpers.report_tables import CLASSES, CONFIG, HEATMAPS, predictions, region_rows, truth_table, with_baseline
from voxelwhy.errors import InputError
from voxelwhy.evaluation.difference import compare_models
from voxelwhy.evaluation.metrics import score_predictions
from voxelwhy.io.tables import AGREEMENT, REGIONS, SCORED_REGIONS, TRUTH, read_table, write_table
from voxelwhy.report import relevance_tables as relevance
from voxelwhy.report import tables as publish
from voxelwhy.report.citations import choose_citations
from voxelwhy.report.figures.style import new_figure, save_figure
from voxelwhy.report.methods_text import methods_text
from voxelwhy.report.page import write_report
from voxelwhy.report.sections import SECTIONS, collect_sections

VOID = {"meta", "img", "br", "hr", "link"}


class Page(HTMLParser):
    """Collects tags, and fails on an end tag that closes nothing."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags = [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture(scope="module")
def metrics():
    rows = [score_predictions(predictions(), model=m, classes=CLASSES, n_permutations=50) for m in ("cnn", "baseline")]
    return pd.concat(rows, ignore_index=True)


@pytest.fixture(scope="module")
def difference():
    other = predictions().assign(probability=lambda own: 1 - own["probability"] / 2)
    return compare_models(predictions(), other, classes=CLASSES)


@pytest.fixture
def items(metrics, difference, tmp_path):
    """Two figures and two tables, in an order that is not the report's."""
    for name, category in (("curve", "training"), ("flow", "cohort")):
        fig, axes = new_figure(figsize=(2, 1))
        axes.plot([0, 1])
        words = {
            "title": f"Title {name}" + "?" * (name == "flow"),
            "caption": f"Caption <{name}> & n = 20",
            "category": category,
        }
        save_figure(fig, tmp_path / name, simulated=True, **words)
    how = {"group": "AD", "n_subjects": 9, "n_scans": 12, "settings": HEATMAPS}
    relevance.publish_truth(truth_table(), tmp_path / "truth", **how)
    how = {"n_permutations": 50, "difference": difference}
    publish.publish_metrics(metrics, tmp_path / "metrics", model_titles={"cnn": "CNN", "baseline": "linear"}, **how)
    return {"": [tmp_path / "flow.png"], "kfold": [tmp_path / n for n in ("truth", "curve.svg", "metrics.tsv")]}


def render(items, folder, simulated=True, **options):
    sections = collect_sections(items, methods=methods_text(CONFIG, simulated=simulated, n_subjects=20, n_scans=30))
    words = {"title": "demo", "sentences": ["First.", "Second.", "Third."], "versions": {"torch": "2.13.0"}}
    citations = choose_citations(CONFIG, simulated=simulated)
    write_report(sections, folder / "report.html", simulated=simulated, citations=citations, **(words | options))
    return (folder / "report.html").read_text(encoding="utf-8")


def test_the_page_is_self_contained_and_well_formed(items, tmp_path):
    text = render(items, tmp_path)
    page = Page(text)
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    images = [image for image in images if image["src"] != "data:,"]  # which a click fills
    assert len(images) == 2
    assert all(image["src"].startswith("data:image/png;base64,") and image["alt"] for image in images)
    assert not [tag for tag, _ in page.tags if tag in {"link", "iframe"}]
    assert "@import" not in text and "url(" not in text
    assert not [1 for _, attributes in page.tags if "http" in attributes.get("src", "")]
    # Links lead into the page or to a cited work.
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = [attributes["href"] for tag, attributes in page.tags if tag == "a"]
    assert all(link[1:] in ids for link in links if link.startswith("#"))
    assert len(links) > 10


def test_sections_come_in_the_reports_order(items, tmp_path):
    text = render(items, tmp_path)
    found = re.findall(r'<section id="([a-z_]+)">', text)
    assert found == ["performance", "truth", "cohort", "training", "methods", "versions", "citations"]
    assert [name for name in SECTIONS if name in found] == found[:5]
    assert text.index("First.") < text.index('<section id="performance">')


def test_captions_are_escaped_and_travel_with_their_items(items, tmp_path):
    text = render(items, tmp_path)
    assert "Caption &lt;flow&gt; &amp; n = 20" in text and "<flow>" not in text
    assert "<b>Title flow?</b> Caption" in text and "<b>Title curve.</b> Caption" in text, "a question ends in one mark"
    assert ">0.80 (0.10)</td>" in text


def test_simulated_data_is_called_so_on_the_face_and_other_data_is_not(items, tmp_path):
    body = render(items, tmp_path).split("<body>")[1]
    assert body.index("Simulated data.") < body.index("<nav")
    real = render({}, tmp_path, simulated=False)
    assert "imulated" not in real.replace("planted and simulated", "")


def test_the_same_report_twice_is_the_same_bytes(items, tmp_path):
    assert render(items, tmp_path) == render(items, tmp_path)


def test_items_of_several_splits_stand_under_their_names(items, tmp_path):
    both = items | {"paper": [tmp_path / "metrics"]}
    text = render(both, tmp_path, split_titles={"paper": "Holdout of the paper"})
    assert "<h3>Holdout of the paper</h3>" in text and "<h3>kfold</h3>" in text
    assert "<h3>" not in render(items, tmp_path)


def test_an_item_without_caption_or_with_an_unknown_section_is_refused(items, tmp_path):
    with pytest.raises(InputError, match="has no caption"):
        collect_sections({"": [tmp_path / "nothing.png"]})
    (tmp_path / "odd.json").write_text(json.dumps({"category": "gossip"}))
    with pytest.raises(InputError, match="names a section"):
        collect_sections({"": [tmp_path / "odd"]})
    (tmp_path / "flow.png").write_bytes(b"")
    with pytest.raises(InputError, match="cannot be read"):
        render(items, tmp_path)


def test_tables_in_three_forms_hold_the_same_rows(items, tmp_path):
    frame = pd.read_csv(tmp_path / "truth.tsv", sep="\t")
    assert frame["region_auprc"].tolist() == [0.8, 0.1]
    markdown = (tmp_path / "truth.md").read_text(encoding="utf-8").splitlines()
    assert [line.split("|")[1].strip() for line in markdown[4:]] == ["Occlusion", "Grad-CAM"]
    assert markdown[0].startswith(
        "**Planted truth.** Maps of AD scans (9 subjects, 12 scans) compared with the planted"
    )
    tex = (tmp_path / "truth.tex").read_text(encoding="utf-8")
    body = tex.split(r"\midrule")[1]
    assert body.count(r"\\") == 2 and r"\label{tab:truth}" in tex and r"$\rho$" in tex
    metrics_tex = (tmp_path / "metrics.tex").read_text(encoding="utf-8")
    assert r"95 \% intervals" in metrics_tex and not re.search(r"(?<!\\)%", metrics_tex)


def shown(path):
    """Columns, rows as {column: cell} and caption of a published table."""
    content = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return [dict(zip(content["columns"], row, strict=True)) for row in content["rows"]], content["caption"]


def test_the_tables_of_these_tests_follow_the_schemas(tmp_path):
    for table in (truth_table(), truth_table(5), truth_table(0), with_baseline(truth_table())):
        write_table(table, tmp_path / "truth.tsv", TRUTH)
        assert read_table(tmp_path / "truth.tsv", TRUTH)["verdict"].tolist() == table["verdict"].tolist()
    write_table(region_rows(["A_L"], [2.0]), tmp_path / "regions.tsv", REGIONS)


def test_regions_are_ranked_by_enrichment_with_their_test_where_there_are_draws(tmp_path):
    names, enrichment = ["A_L", "B_L", "C_L"], [2.0, 7.0, 1.0]
    how = {"group": "AD", "settings": HEATMAPS, "top": 2}
    relevance.publish_regions({"occlusion": region_rows(names, enrichment)}, tmp_path / "regions", **how)
    rows, caption = shown(tmp_path / "regions")
    assert rows == [
        {"Rank": "1", "Occlusion": "B_L 7.0 (6.5 to 7.5)"},
        {"Rank": "2", "Occlusion": "A_L 2.0 (1.5 to 2.5)"},
    ]
    assert "share of positive relevance divided by share of volume" in caption and "shuffled" not in caption
    assert "n = 9 subjects, 12 scans" in caption and "from 8 subjects on" in caption
    tested = region_rows(names, enrichment, draws=19, p_family=[0.4, 0.05, 1.0])
    relevance.publish_regions({"occlusion": tested}, tmp_path / "tested", **how)
    rows, caption = shown(tmp_path / "tested")
    assert [row["Occlusion"] for row in rows] == [
        "B_L 7.0 (6.5 to 7.5); 2.5, p = 0.050", "A_L 2.0 (1.5 to 2.5); 2.5, p = 0.400"
    ]  # fmt: skip
    assert "z and p from 19 draws" in caption and "corrected over the regions of a method (max-T)" in caption
    assert len(pd.read_csv(tmp_path / "tested.tsv", sep="\t")) == 3, "every region"


def test_the_table_of_truth_has_the_verdict_and_says_what_it_rests_on(tmp_path):
    how = {"group": "AD", "n_subjects": 9, "n_scans": 12, "settings": HEATMAPS}
    relevance.publish_truth(with_baseline(truth_table()), tmp_path / "t", **how)
    rows, caption = shown(tmp_path / "t")
    assert [row["Verdict"] for row in rows] == ["detected", "not detected", "detected", "detected"]
    assert rows[0]["AUPRC regions (chance)"] == "0.80 (0.10)" and rows[0]["NDCG regions (chance)"] == "0.60 (0.30)"
    assert rows[0]["Shuffled diagnoses"] == "0.25 (0.15 to 0.40)"
    assert (rows[0]["p"], rows[0]["p (family)"]) == ("0.0500", "0.0500")
    assert rows[0]["AUPRC regions, any change"] == "0.50 (0.10)"
    for part in (
        "planted loss of volume: 21 of 134 regions with a mean log-Jacobian below -0.02",
        "mean and range of 19 draws",
        "the best of 2 methods in each labelling (max-T); the two maps of the baseline are a family of their own.",
        "Any change counts gains of volume too (47 regions)",
    ):
        assert part in caption, part
    assert "no verdict" not in caption
    for draws, part in ((5, "With fewer than 19 draws, no verdict is given."), (0, "so no verdict is given.")):
        relevance.publish_truth(truth_table(draws), tmp_path / "t", **how)
        rows, caption = shown(tmp_path / "t")
        assert {row["Verdict"] for row in rows} == {"no verdict"} and part in caption
        assert "of the baseline for these" not in caption
    assert [rows[0][name] for name in ("Shuffled diagnoses", "p", "p (family)")] == ["–", "–", "–"]


def test_the_regions_of_the_planted_loss_are_listed_and_those_that_gain_are_named(tmp_path):
    """The largest loss first; −0.16 is log(1 - 0.15)."""
    planted = pd.DataFrame({"region_id": [1, 2, 3], "region": ["Hippocampus_L", "Amygdala_L", "Lateral_Ventricle_L"]})
    planted = planted.assign(log_jacobian=[-0.16, -0.03, 0.08], volume_change=[-0.148, -0.0296, 0.083])
    planted = planted.assign(loss=[True, True, False], change=True)
    table = pd.concat(
        [
            planted.assign(method="occlusion", enrichment=[3.2, 1.0, 0.2]),
            planted.assign(method="lrp", enrichment=np.nan),
        ]
    )
    write_table(table, tmp_path / "checked.tsv", SCORED_REGIONS)
    how = {"group": "AD", "threshold": 0.02, "atlas": "Neuromorphometrics"}
    real = relevance.publish_truth_regions(table, tmp_path / "real", simulated=False, **how)
    assert "severity" not in real
    relevance.publish_truth_regions(table, tmp_path / "r", **how)
    rows, caption = shown(tmp_path / "r")
    assert rows == [
        {"Region": "Hippocampus_L", "Change of volume, %": "−14.8", "Occlusion": "3.20", "LRP": "–"},
        {"Region": "Amygdala_L", "Change of volume, %": "−3.0", "Occlusion": "1.00", "LRP": "–"},
    ]
    assert "Neuromorphometrics regions that count as lost" in caption and "enrichment in AD scans" in caption
    assert "Regions that gain volume (1)" in caption and caption.endswith("Lateral_Ventricle_L.")
    assert len(pd.read_csv(tmp_path / "r.tsv", sep="\t")) == 6


def test_the_table_of_agreement_says_over_what(tmp_path):
    row = {"comparison": "classes", "group": "AD - CN", "first": "occlusion", "second": "occlusion"}
    voxels, regions = {"over": "voxels", "n": 25_000}, {"over": "regions", "n": 134, "distance": np.nan}
    rows = [
        row | voxels | {"scaling": "raw", "distance": 12.5, "spearman": 0.1},
        row | voxels | {"scaling": "scaled", "distance": 0.0123, "spearman": 0.2},
        row | regions | {"scaling": "enrichment", "spearman": 0.3},
    ]
    table = pd.DataFrame(rows)[list(AGREEMENT.columns)]
    write_table(table, tmp_path / "checked.tsv", AGREEMENT)
    relevance.publish_agreement(table, tmp_path / "a", n_subjects=9, n_scans=12, settings=HEATMAPS)
    rows, caption = shown(tmp_path / "a")
    assert [row["Of"] for row in rows] == ["raw maps", "scaled maps", "regions"]
    assert [row["Distance"] for row in rows] == ["12.5", "0.0123", "–"]
    assert [row["ρ"] for row in rows] == ["0.10", "0.20", "0.30"]
    assert "25,000 brain voxels" in caption and "134 regions" in caption and "9 subjects, 12 scans" in caption


def test_excluded_tables_count_what_is_there(tmp_path):
    excluded = pd.DataFrame({"stage": "register_scan", "reason": ["x", "x", "y"], "label": ["AD", None, "CN"]})
    publish.publish_excluded(excluded, tmp_path / "excluded", classes=CLASSES)
    rows = json.loads((tmp_path / "excluded.json").read_text(encoding="utf-8"))["rows"]
    assert rows == [["register_scan", "x", "1", "0", "1", "2"], ["register_scan", "y", "0", "1", "0", "1"]]


def test_the_table_of_performance_has_subjects_first_and_the_difference(items, metrics, difference, tmp_path):
    rows, caption = shown(tmp_path / "metrics")
    assert [(row["Model"], row["By"]) for row in rows] == [
        ("CNN", "subject"),
        ("linear", "subject"),
        ("Difference", "subject"),
        ("CNN", "scan"),
        ("linear", "scan"),
    ]
    row = difference.set_index("metric").loc["accuracy"]
    words = f"{row['difference']:z.2f} ({row['low']:z.2f} to {row['high']:z.2f}), p = {row['p']:.3f}"
    assert rows[2]["Accuracy"] == words and rows[2]["Sensitivity"] == rows[3]["p (chance)"] == "–"
    auc = metrics.query("model == 'cnn' and level == 'subject' and fold == 'all' and metric == 'auc'").iloc[0]
    assert rows[0]["AUC"] == f"{auc['value']:.2f} ({auc['low']:.2f} to {auc['high']:.2f})"
    pooled = metrics.query("model == 'cnn' and level == 'scan' and fold == 'all' and metric == 'auc_pooled'").iloc[0]
    assert rows[3]["AUC (pooled)"] == f"{pooled['value']:.2f} ({pooled['low']:.2f} to {pooled['high']:.2f})"
    row = difference.set_index("metric").loc["auc_pooled"]
    assert rows[2]["AUC (pooled)"].startswith(f"{row['difference']:z.2f} (")
    assert "AUC: within folds, over pairs of a positive and a negative case that the same model classified" in caption
    assert rows[0]["p (chance)"] == f"{auc['p']:.4f}"
    for part in ("given these networks", "50 permutations", "AUC paired DeLong, Accuracy exact McNemar"):
        assert part in caption


def baseline_relevance(n_draws):
    """Three regions; the last is not inside the brain."""
    rows = []
    for draw in range(n_draws + 1):
        for kind, own in (("weights", (3.0, 0.5)), ("pattern", (0.2, 4.0))):
            values = (*(own if draw == 0 else (draw, 2.0 * draw)), np.nan)
            rows += [{"draw": draw, "map": kind, "region_id": r, "enrichment": v} for r, v in enumerate(values, 1)]
    return pd.DataFrame(rows)


@pytest.mark.parametrize("n_draws", [0, 3])
def test_the_table_of_the_baseline_ranks_each_map_by_itself(tmp_path, n_draws):
    regions = pd.DataFrame({"region_id": [1, 2, 3], "region": ["Insula", "Hippocampus", "Nowhere"]})
    card = {"baseline": {"kind": "voxelwise", "smoothing_mm": 0}, "channels": ["t1"]}
    card |= {"n_folds": 1, "n_subjects": 9, "n_scans": 12}
    caption = relevance.publish_baseline_regions(
        baseline_relevance(n_draws), regions, tmp_path / "b", card=card, atlas="AAL", top=3
    )
    content = json.loads((tmp_path / "b.json").read_text())
    assert content["columns"] == ["Rank", "Weights", "Pattern"]
    of_draws = [" (2.00)", " (4.00)"] if n_draws else ["", ""]  # mean over draws 1 to 3 of draw and of 2 draw
    assert content["rows"] == [
        ["1", "Insula 3.00" + of_draws[0], "Hippocampus 4.00" + of_draws[1]],
        ["2", "Hippocampus 0.50" + of_draws[1], "Insula 0.20" + of_draws[0]],
        ["3", "", ""],
    ]
    assert "fitted on the training and validation scans of 1 fold; n = 9 subjects, 12 scans" in caption
    assert ("3 baselines fitted on permuted diagnoses" in caption) == (n_draws > 0)
    stored = pd.read_csv(tmp_path / "b.tsv", sep="\t")
    assert len(stored) == 6 and stored["rank"].notna().sum() == 4
