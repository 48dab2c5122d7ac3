"""Tables, sections, sentences, and the page as a whole: self-contained, in order, and marked when simulated."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from voxelwhy.errors import InputError
from voxelwhy.evaluation.difference import compare_models
from voxelwhy.evaluation.metrics import score_predictions
from voxelwhy.io.tables import AGREEMENT, REGIONS, SCORED_REGIONS, TRUTH, write_table
from voxelwhy.report import relevance_tables as relevance
from voxelwhy.report import tables as publish
from voxelwhy.report.citations import choose_citations
from voxelwhy.report.figures.style import new_figure, save_figure
from voxelwhy.report.methods_text import methods_text
from voxelwhy.report.page import write_report
from voxelwhy.report.sections import SECTIONS, collect_sections
from voxelwhy.report.sentences import three_sentences
from voxelwhy.report.wording import describe_clipping, describe_settings, describe_target

CLASSES = {"positive": "AD", "negative": "CN"}
HEATMAPS = {"target": "predicted", "output": "probability", "methods": {"occlusion": {"size_mm": 40}}}
CONFIG = {
    "registration": {"resolution_mm": 3, "transform": "affine", "n4": True},
    "training": {"network": "small", "learning_rate": 0.001, "epochs": 20, "keep": "last"},
    "splits": [{"kind": "kfold", "folds": 5}],
    "heatmaps": {"target": "predicted", "output": "logit", "methods": {"grad_cam": {}, "occlusion": {"size_mm": 40}}},
    "evaluation": {"bootstrap": 500, "truth_threshold": 0.03, "permutations": 2000},
}
PEOPLE = {"simulated": False, "n_subjects": 20, "n_scans": 30}
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


def predictions(n=20):
    frame = pd.DataFrame({"fold": np.arange(n) % 2, "subject_id": [f"p{i}" for i in range(n)]})
    return frame.assign(
        label=["AD", "AD", "CN", "CN"] * (n // 4),
        probability=np.random.default_rng(0).random(n),
        scan_id=frame["subject_id"],
    )


@pytest.fixture(scope="module")
def metrics():
    rows = [score_predictions(predictions(), model=m, classes=CLASSES, n_permutations=50) for m in ("cnn", "baseline")]
    return pd.concat(rows, ignore_index=True)


@pytest.fixture(scope="module")
def difference():
    other = predictions().assign(probability=lambda own: 1 - own["probability"] / 2)
    return compare_models(predictions(), other, classes=CLASSES)


def truth_table(draws=19, **changes):
    """Occlusion, which is the best of 20 labellings, and Grad-CAM, which is not; without verdict below 19 draws."""
    row = {name: 0.1 for name in TRUTH.columns if name.endswith("chance")} | {"region_ndcg": 0.6, "ndcg_chance": 0.3}
    row |= {"region_spearman": 0.4, "voxel_auprc": 0.3, "voxel_ndcg": 0.2, "share_inside": 0.2, "change_auprc": 0.5}
    row |= {"change_voxel_auprc": 0.4, "null_95": 0.25, "p_regions": 0.01, "n_regions": 134, "n_truth_regions": 21}
    row |= {"n_changed_regions": 47, "n_voxels": 1000, "n_truth_voxels": 30, "threshold": 0.02, "n_permutations": 1000}
    drawn = dict.fromkeys(("shuffled_auprc", "shuffled_sd", "shuffled_low", "shuffled_high"), np.nan)
    if draws:
        drawn = {"shuffled_auprc": 0.25, "shuffled_sd": 0.05, "shuffled_low": 0.15, "shuffled_high": 0.4}
    row |= drawn | {"n_shuffled": draws}
    found = {"method": "occlusion", "region_auprc": 0.8, "z": 3.1, "p": 0.05, "p_family": 0.05, "verdict": "detected"}
    missed = {"method": "grad_cam", "region_auprc": 0.1, "z": -2.0, "p": 0.9, "p_family": 1.0}
    frame = pd.DataFrame([row | found, row | missed | {"verdict": "not detected"}])[list(TRUTH.columns)]
    if draws < 19:
        frame = frame.assign(verdict="no verdict")
    return frame.assign(**({"z": np.nan, "p": np.nan, "p_family": np.nan} if not draws else {}) | changes)


def with_baseline(truth):
    """The table as a study has it: after the methods, the two maps of the baseline, which are a family of their own."""
    best = truth[truth["method"] == "occlusion"]
    return pd.concat([truth, *(best.assign(method=f"baseline_{kind}") for kind in ("weights", "pattern"))])


def region_rows(names, enrichment, *, draws=0, p_family=np.nan):
    """A table by the REGIONS schema of one group."""
    frame = pd.DataFrame({"region_id": range(1, len(names) + 1), "region": names, "enrichment": enrichment})
    frame["rank"] = frame["enrichment"].rank(ascending=False).astype(int)
    n = {"group": "AD", "n_subjects": 9, "n_scans": 12, "volume_mm3": 100.0, "n_shuffled": draws}
    frame = frame.assign(**n, p_family=p_family, p=p_family, z=2.5 if draws else np.nan)
    frame["shuffled_mean"], frame["shuffled_sd"] = (1.1, 0.2) if draws else (np.nan, np.nan)
    for figure in ("enrichment", "share", "total"):
        frame[figure] = frame["enrichment"] if figure == "enrichment" else 0.1
        frame[f"{figure}_low"], frame[f"{figure}_high"] = frame[figure] - 0.5, frame[figure] + 0.5
    return frame[list(REGIONS.columns)]


@pytest.fixture
def items(metrics, difference, tmp_path):
    """Two figures and two tables, in an order that is not the report's."""
    for name, category in (("curve", "training"), ("flow", "cohort")):
        fig, axes = new_figure(figsize=(2, 1))
        axes.plot([0, 1])
        words = {"title": f"Title {name}", "caption": f"Caption <{name}> & n = 20", "category": category}
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
    assert len(images) == 2
    assert all(image["src"].startswith("data:image/png;base64,") and image["alt"] for image in images)
    assert not [tag for tag, _ in page.tags if tag in {"script", "link", "iframe"}]
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
    assert found == ["cohort", "training", "performance", "truth", "methods", "versions", "citations"]
    assert [name for name in SECTIONS if name in found] == found[:4]
    assert text.index("First.") < text.index('<section id="cohort">')


def test_captions_are_escaped_and_travel_with_their_items(items, tmp_path):
    text = render(items, tmp_path)
    assert "Caption &lt;flow&gt; &amp; n = 20" in text and "<flow>" not in text
    assert "<td>0.80 (0.10)</td>" in text


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
        "the best of 2 methods in each draw (max-T), and of the two maps of the baseline for these.",
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
    relevance.publish_truth_regions(table, tmp_path / "r", group="AD", threshold=0.02, atlas="Neuromorphometrics")
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
    assert rows[0]["p (chance)"] == f"{auc['p']:.4f}"
    for part in ("given these networks", "50 permutations", "AUC paired DeLong, Accuracy exact McNemar"):
        assert part in caption


def test_the_first_sentence_has_the_difference_and_says_what_is_not_better_than_chance(metrics, difference):
    """Chance is judged by p, not by the interval, which may lie above 0.5 for no better reason than its folds."""
    how = {"simulated": False, "classes": CLASSES, "difference": difference}
    row = difference.set_index("metric").loc["accuracy"]
    words = f"difference {row['difference']:z.2f} ({row['low']:z.2f} to {row['high']:z.2f}; exact McNemar, p = "
    auc = (metrics["metric"] == "auc") & (metrics["level"] == "subject")
    for p, low, said in ((0.2, 0.6, True), (np.nan, 0.6, True), (0.05, 0.4, False), (0.001, 0.4, False)):
        changed = metrics.assign(p=metrics["p"].mask(auc, p), low=metrics["low"].mask(auc, low))
        first = three_sentences(changed, **how)[0]
        assert words in first
        assert ("not shown to be better than chance (permuted diagnoses, p" in first) == said


def test_three_sentences_of_a_study_with_planted_truth(metrics):
    first, second, third = three_sentences(metrics, truth_table(), simulated=True, classes=CLASSES)
    row = metrics.query("model == 'cnn' and level == 'subject' and fold == 'all' and metric == 'accuracy'").iloc[0]
    assert first.startswith("Accuracy by subject (95 % CI) for AD vs CN, out of sample")
    assert f"network {row['value']:.2f} ({row['low']:.2f} to {row['high']:.2f})" in first
    assert (
        "20 subjects, 20 scans (simulated)" in first and ", baseline 0." in first and "AUC of the network 0." in first
    )
    assert second == (
        "The planted atrophy was detected by occlusion (0.80, shuffled 0.15 to 0.40, p = 0.050); values: AUPRC over "
        "regions, range of 19 draws of shuffled diagnoses, p corrected over the methods."
    )
    assert third == "It was not detected by Grad-CAM (0.10, shuffled 0.15 to 0.40, p = 1.000)."
    assert three_sentences(metrics, with_baseline(truth_table()), simulated=True, classes=CLASSES)[1:] == [
        second, third
    ]  # fmt: skip


def test_sentences_where_all_or_none_detect_the_atrophy(metrics):
    how = {"simulated": True, "classes": CLASSES}
    _, second, third = three_sentences(metrics, truth_table(verdict="detected"), **how)
    assert "detected by occlusion (" in second and "and Grad-CAM (" in second
    assert third == "Every method tested detected it."
    _, second, third = three_sentences(metrics, truth_table(verdict="not detected"), **how)
    assert second.startswith("No method detected the planted atrophy")
    assert "occlusion (0.80" in third and "Grad-CAM (0.10" in third
    undefined = truth_table(region_auprc=[0.8, np.nan], verdict=["detected", "no verdict"])
    assert three_sentences(metrics, undefined, **how)[2] == (
        "It was not detected by Grad-CAM (regional AUPRC not defined)."
    )


@pytest.mark.parametrize(
    ("draws", "values", "why"),
    [
        (0, "occlusion (0.80, by chance 0.10) and Grad-CAM (0.10, by chance 0.10)", "Without networks trained on"),
        (5, "occlusion (0.80, shuffled 0.15 to 0.40) and Grad-CAM (0.10, shuffled 0.15", "With fewer than 19 draws of"),
    ],
)
def test_without_enough_draws_there_are_values_and_no_verdict(metrics, draws, values, why):
    how = {"simulated": True, "classes": CLASSES}
    _, second, third = three_sentences(metrics, truth_table(draws), **how)
    assert second.startswith("Agreement with the planted loss of volume, values: AUPRC over regions")
    assert values in second and "detected" not in second and "p =" not in second
    assert third == f"{why} shuffled diagnoses, no verdict is given on whether a method detected it."
    _, second, third = three_sentences(metrics, truth_table(draws), planted=False, **how)
    assert second.startswith("Agreement with the loss of volume that an effect of 1 would have planted, values:")
    assert values in second and third.startswith("The effect of this simulated cohort is 0")


def test_scores_that_are_not_defined_have_no_verdict_whatever_the_draws(metrics):
    nothing = truth_table(region_auprc=np.nan, p=np.nan, p_family=np.nan, verdict="no verdict")
    _, second, third = three_sentences(metrics, nothing, simulated=True, classes=CLASSES)
    assert "regional AUPRC not defined" in second and third.startswith("No regional AUPRC is defined, so no verdict")


def test_in_a_null_cohort_a_find_is_a_false_claim(metrics):
    how = {"simulated": True, "classes": CLASSES, "planted": False}
    _, second, third = three_sentences(metrics, truth_table(), **how)
    assert (
        "detected by occlusion" in second
        and "a false positive" in second
        and "effect of this simulated cohort is 0" in third
    )
    quiet = three_sentences(metrics, truth_table(verdict="not detected"), **how)
    assert "No method detected" in quiet[1] and "which is correct" in quiet[1]


def test_three_sentences_without_truth_caution_about_few_people(metrics):
    regions = {"occlusion": region_rows(["b", "a"], [1.5, 2.5])}
    first, second, third = three_sentences(metrics, None, simulated=False, classes=CLASSES, regions=regions)
    assert "simulated" not in first
    assert second == "In AD scans, the regions most enriched in relevance were a and b (occlusion)."
    assert third.startswith("With only 20 subjects, the estimate of accuracy is imprecise")
    many = metrics.assign(n_subjects=100)
    assert "imprecise" not in three_sentences(many, None, simulated=False, classes=CLASSES, regions=regions)[2]


def test_with_draws_only_regions_beyond_shuffled_diagnoses_are_named(metrics):
    """The most enriched region is as enriched without the disease."""
    names, enrichment = ["a", "b", "c", "d", "e"], [9.0, 5.0, 4.0, 3.0, 2.0]
    how = {"simulated": False, "classes": CLASSES}

    def second(draws, **p_family):
        tables = {m: region_rows(names, enrichment, draws=draws, p_family=p) for m, p in p_family.items()}
        return three_sentences(metrics, None, regions=tables, **how)[1]

    found = second(19, occlusion=[0.6, 0.05, 0.05, 0.1, 0.05], grad_cam=1.0)
    assert found == (
        "In AD scans, the regions with more relevance than in networks trained on shuffled diagnoses (p ≤ 0.05, "
        "corrected over regions) were b, c and e (occlusion); none (Grad-CAM)."
    )
    few = second(18, occlusion=[0.6, 0.06, 0.06, 0.1, 0.06])
    assert few == "In AD scans, the regions most enriched in relevance were a, b and c (occlusion)."


@pytest.mark.parametrize(
    ("target", "of_groups", "of_scans", "clipped"),
    [
        (None, "the positive class", "the predicted class", False),
        ("positive", "the positive class", "the predicted class", False),
        ("predicted", "the predicted class", "the predicted class", True),
        ("true", "the true class", "the true class", True),
    ],
)
def test_captions_name_the_class_that_is_explained_and_what_becomes_of_negative_relevance(
    target, of_groups, of_scans, clipped
):
    settings = {"output": "logit", "methods": {}} | ({"target": target} if target else {})
    assert describe_target(settings) == f"logit of {of_groups}"
    assert describe_target(settings, single=True) == f"logit of {of_scans}"
    assert ("negative relevance is set to 0" in describe_clipping(settings)) == clipped
    words = f"Relevance explains the logit of {of_groups}"
    for text in (describe_settings(settings), " ".join(methods_text({"heatmaps": settings}, **PEOPLE))):
        assert words in text and ("set to 0 before averaging" in text) == clipped


@pytest.mark.parametrize(("draws", "verdict"), [(19, True), (99, True), (5, False), (0, False)])
def test_methods_text_says_what_a_verdict_rests_on(draws, verdict):
    settings = CONFIG | {"evaluation": CONFIG["evaluation"] | {"shuffled": draws}}
    text = " ".join(methods_text(settings, **PEOPLE | {"simulated": True}))
    assert ("A method detected the atrophy if p of its regional AUPRC, corrected over the methods" in text) == verdict
    assert ("No verdict is given" in text and "needs 19 draws" in text) != verdict
    assert (f"shuffled diagnoses ({draws} draws)" in text) == ("strata of age and sex" in text) == (draws > 0)
    works = " ".join(work for work, _ in choose_citations(settings, simulated=True))
    assert all((name in works) == (draws > 0) for name in ("Adebayo", "Westfall", "Winkler"))
    weights = settings | {"model": {"weights": "w.pt", "trained_on": "kfold"}}
    text = " ".join(methods_text(weights, **PEOPLE | {"simulated": True}))
    assert "draws)" not in text and "No verdict is given" in text, "existing weights cannot be trained again"
    assert "Adebayo" not in " ".join(work for work, _ in choose_citations(weights, simulated=True))


def test_methods_text_names_optimiser_schedule_and_first_pool():
    training = {"network": "compact", "optimiser": "adamw", "schedule": "one_cycle", "weight_decay": 0.05}
    training |= {"learning_rate": 0.002, "batch_size": 8, "epochs": 40, "dropout": 0.5, "first_pool": 2}
    text = " ".join(methods_text({"training": training}, **PEOPLE))
    assert "optimiser AdamW, one-cycle schedule, weight decay 0.05 (learning rate 0.002, batch size 8" in text
    assert "dropout 0.5, first pool of 2 voxels) and the loss cross-entropy" in text
    plain = {"network": "small", "optimiser": "adam", "schedule": "constant", "weight_decay": 0, "dropout": 0.8}
    text = " ".join(methods_text({"training": plain}, **PEOPLE))
    assert "optimiser Adam (learning rate" in text and "first pool" not in text


def test_methods_text_and_citations_follow_the_settings():
    text = " ".join(methods_text(CONFIG, simulated=True, n_subjects=20, n_scans=30))
    for part in (
        "affine transform, after N4",
        "3 mm",
        "network small",
        "5 stratified folds",
        "logit of the predicted class",
    ):
        assert part in text
    assert "below -0.03" in text and text.count("2,000 permutations") == 1
    assert "share of positive relevance divided by its share of volume" in text
    for part in ("Wilson 1927", "DeLong et al. (1988)", "McNemar (1947)", "conditional on the trained networks"):
        assert part in text
    unknown = CONFIG | {"model": {"weights": "w.pt"}}
    text = " ".join(methods_text(unknown, simulated=False, n_subjects=20, n_scans=30))
    assert "DeLong" not in text and "Hall 1992" in text
    assert "DeLong" not in " ".join(work for work, _ in choose_citations(unknown, simulated=False))
    works = " ".join(work for work, _ in choose_citations(CONFIG, simulated=True))
    for name in ("Rieke", "Selvaraju", "Zeiler", "Avants", "Tzourio", "Fonov", "N4ITK", "Abraham", "Karaçali"):
        assert name in works
    assert "Springenberg" not in works
    other = " ".join(work for work, _ in choose_citations({"atlas": {"name": "own"}}, simulated=False))
    assert "Tzourio" not in other and "Karaçali" not in other and "N4ITK" not in other


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {},
            (
                "template's brain, the input was set to 0",
                "optimiser Adam",
                "0.8) and the loss cross-entropy",
                "Normalisation: voxelwise, estimated from",
            ),
        ),
        (
            {"network": "small_dataset", "optimiser": "rmsprop", "mask": "grey_white", "normalisation": "voxelwise_sd"},
            (
                "Outside the template's grey and white matter",
                "optimiser RMSprop",
                "0.8) and the loss binary cross-entropy",
            ),
        ),
        (
            {"network": "korolev2017", "mask": "my/mask.nii"},
            ("Outside the mask my/mask.nii, the", "binary cross-entropy"),
        ),
        (
            {"normalisation": "voxelwise_sd"},
            ("voxelwise by the SD, without subtracting the mean, estimated from training scans",),
        ),
    ],
)
def test_methods_text_says_what_the_network_saw_and_how_it_was_trained(changes, words):
    training = {
        "network": "rieke2018",
        "optimiser": "adam",
        "mask": "brain",
        "dropout": 0.8,
        "normalisation": "voxelwise",
    }
    text = " ".join(methods_text({"training": training | changes}, simulated=False, n_subjects=2, n_scans=3))
    for part in words:
        assert part in text
    assert ("binary" in text) == (changes.get("network") is not None)


def test_methods_text_says_the_grid():
    for grid, shape in (("mni", "91 x 109 x 91"), ("icbm", "97 x 115 x 97")):
        registration = {"grid": grid, "resolution_mm": 2}
        text = " ".join(methods_text({"registration": registration}, simulated=False, n_subjects=2, n_scans=3))
        assert f"on a grid of {shape} voxels" in text


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


@pytest.mark.parametrize(
    ("evaluation", "model", "parts", "absent"),
    [
        (
            {"baseline": "linear_svm", "smoothing_mm": 10, "shuffled": 8},
            {},
            ("linear SVM of regional means, fitted", "Haufe et al. (2014)", "8 baselines fitted on permuted"),
            ("smoothed", "Bron", "cross-validation"),
        ),
        (
            {"baseline": "voxelwise", "smoothing_mm": 6, "shuffled": 0},
            {},
            ("scans smoothed with 6 mm FWHM", "standardised within each scan", "Bron", "Haufe"),
            ("permuted diagnoses",),
        ),
        (
            {"baseline": "voxelwise", "smoothing_mm": 0, "shuffled": 8},
            {"weights": "w.pt", "trained_on": "kfold"},
            ("voxelwise linear SVM (scans not smoothed)", "Bron", "Haufe"),
            ("permuted diagnoses",),
        ),
        ({"baseline": "voxelwise", "shuffled": 8}, {"weights": "w.pt"}, (), ("baseline", "Bron", "Haufe")),
    ],
)
def test_the_baseline_is_described_and_cited_where_there_is_one(evaluation, model, parts, absent):
    settings = CONFIG | {"evaluation": CONFIG["evaluation"] | evaluation, "model": model}
    settings["training"] = CONFIG["training"] | {"channels": ["t1"]}
    text = " ".join(methods_text(settings, simulated=False, n_subjects=20, n_scans=30))
    works = " ".join(work for work, _ in choose_citations(settings, simulated=False))
    assert [part for part in parts if part not in text] == []
    assert [part for part in absent if part in text] == []
    for name in ("Bron", "Haufe"):
        assert (f"{name} " in works) == (name in parts or any(name in part for part in parts))
