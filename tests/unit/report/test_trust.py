"""The section Trust: a sentence for each answer, by what the numbers say, and figures and tables with their n."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from voxelwhy.evaluation.planted.results import summarise_planted
from voxelwhy.io.tables import write_table
from voxelwhy.io.trust_tables import MEASURES, PLANTED_CONTROLS, TRUST
from voxelwhy.report.figures.probes import draw_faithfulness, draw_randomised
from voxelwhy.report.figures.shortcuts import draw_shortcuts
from voxelwhy.report.figures.stability import draw_stability
from voxelwhy.report.figures.trust import draw_class_regions, draw_clinical
from voxelwhy.report.planted import planted_notes, publish_planted
from voxelwhy.report.shortcuts import publish_shortcuts, verdict
from voxelwhy.report.stability import publish_stability, publish_stability_regions
from voxelwhy.report.trust import (
    publish_class_regions,
    publish_clinical,
    publish_faithfulness,
    publish_randomised,
    publish_trust,
    summarise_trust,
)

CLASSES = {"positive": "AD", "negative": "CN"}


def clinical(slope=(0.5, 0.3, 0.7), sensitivity=(0.6, 0.4, 0.8)):
    found = dict.fromkeys(MEASURES, (0.5, 0.4, 0.6))
    found |= {"calibration_slope": slope, "sensitivity_90": sensitivity}
    found.pop("auc")
    rows = [{"measure": name, "group": "all", "value": v, "low": a, "high": b, "n_subjects": 40}
            for name, (v, a, b) in found.items()]  # fmt: skip
    rows += [{"measure": "auc", "group": group, "value": 0.8, "low": 0.6, "high": 0.9, "n_subjects": 20}
             for group in ("female", "male")]  # fmt: skip
    return pd.DataFrame(rows)


def curves():
    rows = [("calibration", x, x, max(x - 0.1, 0), min(x + 0.1, 1)) for x in (0.1, 0.5, 0.9)]
    rows += [(curve, x, 0.5 - x, np.nan, np.nan) for curve in ("net_benefit", "treat_all") for x in (0.1, 0.5)]
    return pd.DataFrame(rows, columns=["curve", "x", "y", "low", "high"]).assign(n_subjects=40)


def shortcuts(p=0.01):
    rows = [("follows", "age", group, "Spearman", 0.41, 0.2, 0.6, p, p * 4) for group in ("CN", "AD")]
    rows.append(("nuisances_alone", "age, sex (female)", "all", "AUC", 0.6, 0.5, 0.7, np.nan, np.nan))
    rows.append(("given_nuisances", "age, sex (female)", "all", "log odds for 1 SD", 3.0, 2.0, 4.0, p, np.nan))
    rows.append(("matched", "age, sex", "all", "AUC", 0.8, 0.7, 0.9, np.nan, np.nan))
    names = ["check", "property", "group", "measure", "value", "low", "high", "p", "p_family"]
    return pd.DataFrame(rows, columns=names).assign(n_subjects=40)


def shortcuts_of_everything():
    """Further rows: two values and categories that are followed, images without a brain, features, relevance."""
    rows = [
        ("follows", "scanner (Trio)", "CN", "AUC", 0.8, 0.7, 0.9, 0.001, 0.008),
        ("follows", "site", "AD", "η²", 0.25, 0.05, 0.4, 0.002, 0.01),
        ("silhouette", "silhouette", "all", "AUC", 0.55, 0.44, 0.66, np.nan, np.nan),
        ("background", "background", "all", "AUC", 0.9, 0.8, 0.96, np.nan, np.nan),
        ("decoded_network", "age", "CN", "Spearman", 0.1, -0.2, 0.4, np.nan, np.nan),
        ("decoded_regions", "age", "CN", "Spearman", 0.6, 0.4, 0.8, np.nan, np.nan),
        ("decoded_network", "sex (female)", "CN", "AUC", 0.8, 0.6, 0.9, np.nan, np.nan),
        ("outside", "grad_cam", "AD", "share", 0.3, 0.2, 0.4, np.nan, np.nan),
        ("unknown", "site or scanner", "all", "–", np.nan, np.nan, np.nan, np.nan, np.nan),
    ]
    table = shortcuts(0.2)
    further = pd.DataFrame(rows, columns=list(table.columns[:-1])).assign(n_subjects=30)
    return pd.concat([table, further], ignore_index=True)


def class_regions(p=0.01, t=4.0, covariates="age, female"):
    names = ["Hippocampus_L", "Insula_R", "Cuneus_L"]
    table = pd.DataFrame({"region_id": [1, 2, 3], "region": names, "n_positive": 18, "n_negative": 22})
    table = table.assign(covariates=covariates, effect=[0.5, -0.4, 0.1], low=0.0, high=1.0, t=[t, -0.8 * t, 0.5])
    ranks = {"rank": [1, 2, 3], "rank_low": 1, "rank_high": 3, "among_first": 1.0}
    return table.assign(p=[p, p, 0.6], p_family=[p, p, 0.9], **ranks)


def sentences(**changes):
    given = {"clinical": clinical(), "shortcuts": shortcuts(), "regions": class_regions()} | changes
    trust = summarise_trust(given["clinical"], given["shortcuts"], {"grad_cam": given["regions"]}, classes=CLASSES)
    return trust, trust["sentence"].tolist()


def test_each_answer_has_one_sentence_with_its_number(tmp_path):
    trust, found = sentences()
    assert found[0] == "Probabilities are too extreme (calibration slope 0.50 (0.30 to 0.70); 1 is ideal)."
    assert found[1].startswith(
        "At a threshold that 90 % of the controls in other folds do not exceed, the network detects 0.60"
    )
    assert found[2] == "The score follows age among CN subjects: ρ 0.41 (0.20 to 0.60), p = 0.040."
    assert found[3].startswith("The score follows age among AD subjects")
    assert found[4] == "A logistic regression on age and sex (female) alone has an AUC of 0.60 (0.50 to 0.70)."
    assert found[5] == "Given age and sex (female), the score still separates the classes (p = 0.010)."
    assert found[6] == "In pairs of equal sex and about equal age, the AUC is 0.80 (0.70 to 0.90)."
    assert found[7] == (
        "Grad-CAM: in 2 of 3 regions AD and CN differ beyond chance, most in Hippocampus L and Insula R."
    )
    write_table(trust, tmp_path / "trust.tsv", TRUST)
    publish_trust(trust, tmp_path / "shown")
    assert all(sentence in (tmp_path / "shown.md").read_text() for sentence in found)


@pytest.mark.parametrize(
    ("slope", "words"),
    [
        ((0.9, 0.7, 1.1), "not shown to be too extreme or too moderate (calibration slope 0.90 (0.70 to 1.10)"),
        ((1.6, 1.2, 2.0), "too moderate (calibration slope 1.60"),
        ((np.nan,) * 3, "Calibration is not defined"),
    ],
)
def test_the_slope_says_whether_probabilities_are_right(slope, words):
    assert words in sentences(clinical=clinical(slope))[1][0]


def test_what_is_not_found_is_said_as_such():
    found = sentences(
        shortcuts=shortcuts(0.2), regions=class_regions(0.2), clinical=clinical(sensitivity=(np.nan,) * 3)
    )[1]
    assert found[1] == "No threshold can be set without the subjects that it classifies: each is in all test sets."
    assert found[2] == "Within a class, the score is not shown to follow age (smallest corrected p = 0.800)."
    assert any("the score is not shown to separate the classes (p = 0.200)" in line for line in found)
    assert found[-1] == "Grad-CAM: no region differs between AD and CN beyond chance (smallest corrected p = 0.200)."
    untested = class_regions().assign(t=np.nan, p_family=np.nan)
    assert sentences(regions=untested)[1][-1].startswith("Too few subjects")


def test_each_shortcut_has_a_sentence_a_verdict_and_a_line_of_the_figure(tmp_path):
    table = shortcuts_of_everything()
    trust = summarise_trust(clinical(), table, {}, classes=CLASSES)
    write_table(trust, tmp_path / "trust.tsv", TRUST)
    found = dict(zip(trust["of"], trust["sentence"], strict=True))
    assert found["scanner (Trio), CN"] == (
        "The score follows scanner (Trio) among CN subjects: AUC 0.80 (0.70 to 0.90), p = 0.008."
    )
    assert found["site, AD"] == "The score follows site among AD subjects: η² 0.25 (0.05 to 0.40), p = 0.010."
    assert found["silhouettes"] == (
        "On silhouettes alone, the network is not shown to separate the classes: AUC 0.55 (0.44 to 0.66)."
    )
    assert found["background"] == (
        "On what lies outside the brain, the network separates the classes with an AUC of 0.90 (0.80 to 0.96)."
    )
    assert found["age, network"] == (
        "In CN subjects, age is not shown to be readable from the last features of the network: ρ 0.10 (-0.20 to 0.40)."
    )
    assert found["age, regions"] == "In CN subjects, age can be read from region means: ρ 0.60 (0.40 to 0.80)."
    assert found["sex (female), network"].endswith(
        "can be read from the last features of the network: AUC 0.80 (0.60 to 0.90)."
    )
    assert found["Grad-CAM, AD"] == (
        "Grad-CAM: of AD subjects, a share of 0.30 (0.20 to 0.40) of the relevance is outside the brain."
    )
    assert found["what is not known"] == "Not known for these scans, and so not tested: site or scanner."
    # Neither of the classes follows age, which is reported only if nothing else is followed.
    assert "age, CN" not in found
    draw_shortcuts(table, tmp_path / "s", simulated=True, dpi=60)
    drawn = (tmp_path / "s.svg").read_text()
    publish_shortcuts(table, tmp_path / "p")
    text = (tmp_path / "p.md").read_text()
    for row in table.to_dict("records"):
        assert verdict(row) in text
        if row["check"] not in ("given_nuisances", "unknown"):
            assert verdict(row) in drawn
    verdicts = {(row["check"], row["property"], row["group"]): verdict(row) for row in table.to_dict("records")}
    assert verdicts["follows", "age", "CN"] == "not shown to follow it (p = 0.800)"
    assert verdicts["follows", "site", "AD"] == "follows it (p = 0.010)"
    assert verdicts["silhouette", "silhouette", "all"] == "not shown to separate the classes"
    assert verdicts["outside", "grad_cam", "AD"] == "30% of the relevance"


def test_why_there_is_no_background_is_told():
    table = shortcuts_of_everything()
    own = table["check"] == "background"
    table.loc[own, ["value", "low", "high"]] = np.nan
    table.loc[own, "property"] = "the scans have no background"
    trust = summarise_trust(None, table, {}, classes=CLASSES)
    assert "Background: the scans have no background." in trust["sentence"].tolist()
    assert verdict(table[own].iloc[0]) == "the scans have no background"


@pytest.mark.parametrize(
    ("alike", "words"),
    [
        ("age, sex, scanner", "In pairs of equal sex and scanner and about equal age, the AUC is"),
        ("age", "In pairs of about equal age, the AUC is"),
        ("sex", "In pairs of equal sex, the AUC is"),
    ],
)
def test_pairs_are_described_by_what_is_alike(alike, words):
    table = shortcuts()
    table.loc[table["check"] == "matched", "property"] = alike
    assert any(line.startswith(words) for line in sentences(shortcuts=table)[1])


def test_without_accuracy_only_regions_are_answered():
    trust, found = sentences(clinical=None, shortcuts=None)
    assert len(found) == 1 and trust["part"].tolist() == ["Which regions differ beyond chance?"]
    assert len(summarise_trust(None, None, {}, classes=CLASSES)) == 0


def faithfulness(p=0.01):
    table = pd.DataFrame(
        {"fill": ["mean", "mean", "blur", "blur"], "method": ["grad_cam", "lrp"] * 2, "n_subjects": 12}
    )
    table = table.assign(most=2.0, least=0.2, random=1.0, contrast=1.8, gain=1.0, low=0.6, high=1.4)
    return table.assign(p=p, p_family=[p, 0.4, p, 0.4])


def curves_of_blanking():
    orders = [("", "random"), *((method, order) for method in ("grad_cam", "lrp") for order in ("most", "least"))]
    rows = [("mean", *order, step, step, step - 0.1, step + 0.1) for order in orders for step in (0.05, 0.5)]
    return pd.DataFrame(rows, columns=["fill", "method", "order", "step", "mean", "low", "high"])


def randomised():
    rows = [(method, depth, layer, measure, 0.5 - 0.2 * depth, 0.1, 0.8)
            for method in ("grad_cam", "lrp") for depth, layer in ((0, ""), (1, "dense"), (2, "block.conv"))
            for measure in ("spearman", "spearman_absolute", "ssim")]  # fmt: skip
    names = ["method", "depth", "layer", "measure", "value", "low", "high"]
    return pd.DataFrame(rows, columns=names).assign(n_subjects=12)


def test_probes_have_a_sentence_a_figure_and_a_table(tmp_path):
    trust = summarise_trust(None, None, {}, classes=CLASSES, faithfulness=faithfulness(), randomised=randomised())
    write_table(trust, tmp_path / "trust.tsv", TRUST)
    found = trust["sentence"].tolist()
    assert found[0] == (
        "Grad-CAM: with all weights reset, maps correlate with those of the trained network at ρ 0.10 (0.10 to "
        "0.80); the map of another subject at 0.50 (0.10 to 0.80). The first value is about 0 if maps "
        "show what was learnt."
    )
    assert found[2].startswith("Grad-CAM: blanking what it marks lowers the score more than blanking regions at random")
    assert found[2].endswith("(difference 1.00 (0.60 to 1.40) logits, p = 0.010).")
    assert found[3].startswith("LRP: blanking what it marks is not shown to lower the score more")
    how = {"simulated": True, "dpi": 60}
    caption = draw_faithfulness(curves_of_blanking(), faithfulness(), tmp_path / "f", **how)
    assert "12 test subjects" in caption and "Grad-CAM *" in (tmp_path / "f.svg").read_text()
    assert "LRP *" not in (tmp_path / "f.svg").read_text()
    assert "12 test subjects" in draw_randomised(randomised(), tmp_path / "r", **how)
    publish_faithfulness(faithfulness(), tmp_path / "pf")
    publish_randomised(randomised(), tmp_path / "pr")
    text = (tmp_path / "pr.md").read_text()
    assert "another subject" in text and "block.conv" in text and "0.10 (0.10 to 0.80)" in text
    assert "the scan, blurred" in (tmp_path / "pf.md").read_text()


def planted(verdicts=("detected", "not detected"), assignment=1, space="native"):
    """A loss in 44 controls, by occlusion and Grad-CAM."""
    facts = {"n_pairs": 22, "space": space, "loss": "a loss of 25 % in the hippocampus", "n_truth_regions": 4}
    facts |= {"auc": 0.8, "auc_low": 0.7, "auc_high": 0.9, "region_chance": 0.1, "n_shuffled": 19}
    facts |= {"shuffled_low": 0.1, "shuffled_high": 0.2, "p": 0.05, "assignment": assignment}
    found = zip(("occlusion", "grad_cam"), (0.61, 0.15), (0.05, 0.4), verdicts, strict=True)
    names = ("method", "region_auprc", "p_family", "verdict")
    rows = [facts | dict(zip(names, row, strict=True)) for row in found]
    return PLANTED_CONTROLS.validate(pd.DataFrame(rows)[list(PLANTED_CONTROLS.columns)])


def test_a_loss_planted_in_controls_has_a_sentence_by_method_and_one_of_the_network(tmp_path):
    summary = summarise_planted(planted())
    trust = summarise_trust(None, None, {}, classes=CLASSES, planted=summary)
    write_table(trust, tmp_path / "trust.tsv", TRUST)
    assert trust["sentence"].tolist() == [
        "In 44 controls, half of them with a loss of 25 % in the hippocampus, the network tells these from shams of "
        "equal strength with an AUC of 0.80 (0.70 to 0.90).",
        "In these scans, with this network, occlusion detects a loss of 25 % in the hippocampus (AUPRC 0.61, shuffled "
        "0.10 to 0.20, p = 0.050).",
        "In these scans, with this network, Grad-CAM is not shown to detect a loss of 25 % in the hippocampus (AUPRC "
        "0.15, shuffled 0.10 to 0.20, p = 0.400).",
    ]
    assert trust["n_subjects"].tolist() == [44, 44, 44]
    assert planted_notes(planted()) == {
        "occlusion": "controls:\ndetected\np = 0.050",
        "grad_cam": "controls:\nnot detected\np = 0.400",
    }
    caption = publish_planted(planted(), tmp_path / "planted_controls")
    assert "in the space of each scan, through its own registration" in caption and "Assignments" not in caption
    assert "19 draws" in caption and "0.61 (0.10)" in (tmp_path / "planted_controls.md").read_text()


def test_several_assignments_are_counted_and_averaged(tmp_path):
    controls = pd.concat([planted(), planted(("detected", "not detected"), 2), planted(("not detected",) * 2, 3)])
    words = summarise_trust(None, None, {}, classes=CLASSES, planted=summarise_planted(controls))["sentence"]
    assert "0.80 (0.80 to 0.80) (mean over 3 assignments)" in words[0]
    assert "occlusion detects a loss of 25 % in the hippocampus in 2 of 3 assignments" in words[1]
    assert "(mean AUPRC 0.15 (0.15 to 0.15))" in words[2] and "in 0 of 3 assignments" in words[2]
    notes = planted_notes(controls)
    assert notes == {"occlusion": "controls:\ndetected in 2 of 3", "grad_cam": "controls:\nnot detected"}
    assert "Assignments share scans" in publish_planted(controls, tmp_path / "planted_controls")


def test_without_a_verdict_and_in_template_space_the_sentences_say_so(tmp_path):
    controls = planted(("no verdict",) * 2, space="template")
    words = summarise_trust(None, None, {}, classes=CLASSES, planted=summarise_planted(controls))["sentence"]
    assert "a loss of 25 % in the hippocampus, planted in template space, the network" in words[0]
    assert "has an AUPRC of 0.61 for a loss of 25 % in the hippocampus" in words[1]
    assert words[1].endswith("planted in template space; no verdict is given.")
    assert planted_notes(controls) == {}
    assert "in template space, since others have registered the scans" in publish_planted(controls, tmp_path / "p")


def test_figures_and_tables_give_their_n_and_the_cohort(tmp_path):
    of, how = " of the cohort there", {"simulated": True, "dpi": 60}
    tables = {"grad_cam": class_regions(), "occlusion": class_regions(0.3).assign(t=np.nan)}
    named = {"classes": CLASSES, "atlas": "AAL", "of": of}
    captions = {
        "clinical": draw_clinical(clinical(), curves(), tmp_path / "c", of=of, **how),
        "shortcuts": draw_shortcuts(shortcuts(), tmp_path / "s", of=of, **how),
        "regions": draw_class_regions(tables, tmp_path / "r", **named, **how),
        "table of clinical": publish_clinical(clinical(), tmp_path / "pc", of=of),
        "table of shortcuts": publish_shortcuts(shortcuts(), tmp_path / "ps", of=of),
        "table of regions": publish_class_regions(tables, tmp_path / "pr", **named),
    }
    assert all(of in caption for caption in captions.values())
    assert "40 subjects of the cohort there" in captions["clinical"]
    assert (
        "AD (n = 18) minus CN (n = 22)" in captions["regions"]
        and "adjusted for age, sex and fold" in captions["regions"]
    )
    assert "(n = 40)" in (tmp_path / "s.svg").read_text() and ">4.0<" in (tmp_path / "r.svg").read_text()
    assert "each fold's subjects are explained by another one" in captions["regions"]
    alone = draw_class_regions(tables, tmp_path / "r", **named, **how, several_folds=False)
    assert "for new subjects of the same network" in alone
    without = draw_class_regions({"grad_cam": class_regions(covariates=None)}, tmp_path / "r", **named, **how)
    assert "within folds" in without
    assert "nan" not in (tmp_path / "pr.md").read_text()


def stability(n_regions=30, n_trainings=5, low=0.4):
    compared = [("maps", "trainings"), ("maps", "means of 2")][: 1 + (n_trainings > 3)]
    rows = [(*pair, "spearman", 0.5, low, 0.6, 24) for pair in compared]
    for name in ("trainings", "folds", "halves"):
        rows += [("regions", name, measure, 0.72, low, 0.8, 12) for measure in ("spearman", "first_ten")]
    names = ["of", "comparison", "measure", "value", "low", "high", "n_subjects"]
    summary = pd.DataFrame(rows, columns=names).assign(method="grad_cam", n_trainings=n_trainings)
    ids = range(1, n_regions + 1)
    regions = pd.DataFrame(
        {"region_id": ids, "region": [f"Region_{k}" for k in ids], "icc": 0.55, "low": low, "high": 0.6}
    )
    ranks = {"rank": np.arange(n_regions) + 1.5, "rank_low": 1, "rank_high": n_regions}
    regions = regions.assign(method="grad_cam", n_subjects=24, n_trainings=n_trainings, **ranks)
    return summary, regions


def test_stability_has_a_sentence_a_figure_and_tables(tmp_path):
    trust = summarise_trust(None, None, {}, classes=CLASSES, stability=stability(), not_compared="not used")
    write_table(trust, tmp_path / "trust.tsv", TRUST)
    assert trust["sentence"].tolist() == [
        "Grad-CAM: maps of the same scan by two trainings correlate at ρ 0.50 (0.40 to 0.60), means over two trainings "
        "at ρ 0.50 (0.40 to 0.60). Tables of regions share 7.2 of the first ten regions and correlate at ρ 0.72 (0.40 "
        "to 0.80) (halves of the subjects: 0.72); the median ICC of a region is 0.55."
    ]
    assert (trust["value"].tolist(), trust["n_subjects"].tolist()) == ([0.5], [24])
    matrices = {"grad_cam": np.full((5, 5), 0.5)}
    ranks = {"grad_cam": np.tile(np.arange(1, 31), (5, 1))}
    how = {"atlas": "AAL", "simulated": True, "dpi": 60}
    caption = draw_stability(*stability(), matrices, ranks, tmp_path / "f", **how)
    assert "5 trainings of each fold" in caption and "24 test subjects" in caption
    drawn = (tmp_path / "f.svg").read_text()
    assert drawn.count(">0.50<") == 20 and ">Region 10<" in drawn and ">Region 11<" not in drawn
    draw_stability(*stability(), matrices, ranks, tmp_path / "again", **how)
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "f.png").read_bytes()
    summary, regions = stability()
    assert "over subjects and trainings" in publish_stability(summary, tmp_path / "t", atlas="AAL")
    text = (tmp_path / "t.md").read_text()
    assert "maps of the same scan, means of 2 trainings" in text and "two halves of the subjects" in text
    assert "Grad-CAM 0.55" in publish_stability_regions(regions, tmp_path / "r", atlas="AAL", top=3)
    assert "2.5 (1 to 30)" in (tmp_path / "r.md").read_text() and "Region_4" not in (tmp_path / "r.md").read_text()


def test_stability_of_two_trainings_few_subjects_and_few_regions(tmp_path):
    summary, regions = stability(n_regions=4, n_trainings=2, low=np.nan)
    trust = summarise_trust(None, None, {}, classes=CLASSES, stability=(summary, regions))
    (sentence,) = trust["sentence"]
    assert "by two trainings correlate at ρ 0.50. Tables of regions share 72 % of the first half of the" in sentence
    assert sentence.endswith("All this holds for these two trainings; others may differ.")
    assert "over subjects, given these two trainings" in publish_stability(summary, tmp_path / "t", atlas="AAL")


def test_the_section_says_why_no_trainings_were_compared(tmp_path):
    trust = summarise_trust(None, None, {}, classes=CLASSES, not_compared="it takes hours")
    write_table(trust, tmp_path / "trust.tsv", TRUST)
    assert trust["sentence"].tolist() == ["Not examined: it takes hours."]
    publish_trust(trust, tmp_path / "shown")
    assert "not defined" in (tmp_path / "shown.md").read_text()
