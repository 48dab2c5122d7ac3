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
from voxelwhy.report import tables as publish
from voxelwhy.report.citations import choose_citations
from voxelwhy.report.figures.style import new_figure, save_figure
from voxelwhy.report.methods_text import methods_text
from voxelwhy.report.page import write_report
from voxelwhy.report.sections import SECTIONS, collect_sections
from voxelwhy.report.sentences import three_sentences

CLASSES = {"positive": "AD", "negative": "CN"}
HEATMAPS = {"target": "predicted", "output": "probability", "methods": {"occlusion": {"size_mm": 40}}}
CONFIG = {
    "registration": {"resolution_mm": 3, "transform": "affine", "n4": True},
    "training": {"network": "small", "learning_rate": 0.001, "epochs": 20, "keep": "last"},
    "splits": [{"kind": "kfold", "folds": 5}],
    "heatmaps": {"target": "predicted", "output": "logit", "methods": {"grad_cam": {}, "occlusion": {"size_mm": 40}}},
    "evaluation": {"bootstrap": 500, "truth_threshold": 0.03, "permutations": 2000},
}
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


def truth_table():
    row = {"voxel_auprc": 0.3, "voxel_chance": 0.03, "region_chance": 0.1, "share_inside": 0.2, "share_chance": 0.03}
    row |= {"region_spearman": 0.4, "spearman_chance": 0.0, "null_95": 0.25, "n_regions": 116, "n_truth_regions": 10}
    row |= {"n_voxels": 1000, "n_truth_voxels": 30, "threshold": 0.02, "n_permutations": 1000}
    found = row | {"method": "occlusion", "region_auprc": 0.8, "p": 0.001, "p_holm": 0.002, "found": True}
    missed = row | {"method": "grad_cam", "region_auprc": 0.1, "p": 0.4, "p_holm": 0.4, "found": False}
    return pd.DataFrame([found, missed])


@pytest.fixture
def items(metrics, difference, tmp_path):
    """Two figures and two tables, in an order that is not the report's."""
    for name, category in (("curve", "training"), ("flow", "cohort")):
        fig, axes = new_figure(figsize=(2, 1))
        axes.plot([0, 1])
        words = {"title": f"Title {name}", "caption": f"Caption <{name}> & n = 20", "category": category}
        save_figure(fig, tmp_path / name, simulated=True, **words)
    publish.publish_truth(truth_table(), tmp_path / "truth", group="AD", n_subjects=9, n_scans=12, settings=HEATMAPS)
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
    assert markdown[0].startswith("**Planted truth.** Mean map of AD scans")
    tex = (tmp_path / "truth.tex").read_text(encoding="utf-8")
    body = tex.split(r"\midrule")[1]
    assert body.count(r"\\") == 2 and r"\label{tab:truth}" in tex and r"$\rho$" in tex
    metrics_tex = (tmp_path / "metrics.tex").read_text(encoding="utf-8")
    assert r"95 \% intervals" in metrics_tex and not re.search(r"(?<!\\)%", metrics_tex)


def test_region_and_excluded_tables_count_what_is_there(tmp_path):
    table = pd.DataFrame({"group": "AD", "region": ["A_L", "B_L", "C_L"], "rank": [2, 1, 3], "share": [0.2, 0.7, 0.1]})
    table = table.assign(share_low=0.05, share_high=0.9, n_subjects=4, n_scans=6, region_id=[1, 2, 3])
    publish.publish_regions({"occlusion": table}, tmp_path / "regions", group="AD", settings=HEATMAPS, top=2)
    rows = json.loads((tmp_path / "regions.json").read_text(encoding="utf-8"))["rows"]
    assert rows == [["1", "B_L 70.0 (5.0 to 90.0)"], ["2", "A_L 20.0 (5.0 to 90.0)"]]
    excluded = pd.DataFrame({"stage": "register_scan", "reason": ["x", "x", "y"], "label": ["AD", None, "CN"]})
    publish.publish_excluded(excluded, tmp_path / "excluded", classes=CLASSES)
    rows = json.loads((tmp_path / "excluded.json").read_text(encoding="utf-8"))["rows"]
    assert rows == [["register_scan", "x", "1", "0", "1", "2"], ["register_scan", "y", "0", "1", "0", "1"]]


def test_the_table_of_performance_has_subjects_first_and_the_difference(items, metrics, difference, tmp_path):
    shown = json.loads((tmp_path / "metrics.json").read_text(encoding="utf-8"))
    rows = [dict(zip(shown["columns"], row, strict=True)) for row in shown["rows"]]
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
        assert part in shown["caption"]


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
    assert "detected by occlusion (0.80 vs 0.10 by chance, p = 0.002); values: regional AUPRC, Holm" in second
    assert "Grad-CAM" not in second and "not detected by Grad-CAM" in third and "p = 0.400" in third
    shuffled = truth_table().assign(shuffled_auprc=0.25)
    _, second, _ = three_sentences(metrics, shuffled, simulated=True, classes=CLASSES)
    assert "(0.80 vs 0.25, p = 0.002); values: regional AUPRC vs that of networks trained on shuffled" in second


def test_in_a_null_cohort_a_find_is_a_false_claim(metrics):
    how = {"simulated": True, "classes": CLASSES, "planted": False}
    _, second, third = three_sentences(metrics, truth_table(), **how)
    assert (
        "detected by occlusion" in second
        and "a false positive" in second
        and "effect of this simulated cohort is 0" in third
    )
    quiet = three_sentences(metrics, truth_table().assign(found=False), **how)
    assert "No method detected" in quiet[1] and "which is correct" in quiet[1]


def test_three_sentences_without_truth_caution_about_few_people(metrics):
    regions = {"occlusion": pd.DataFrame({"group": "AD", "region": ["b", "a"], "rank": [2, 1]})}
    first, second, third = three_sentences(metrics, None, simulated=False, classes=CLASSES, regions=regions)
    assert "simulated" not in first
    assert "a and b (occlusion)" in second
    assert third.startswith("With only 20 subjects, the estimate of accuracy is imprecise")
    many = metrics.assign(n_subjects=100)
    assert "imprecise" not in three_sentences(many, None, simulated=False, classes=CLASSES, regions=regions)[2]


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
    assert "above 0.03" in text and text.count("2,000 permutations") == 2
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
    caption = publish.publish_baseline_regions(
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
