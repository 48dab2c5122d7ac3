"""Cards and badges: which method is best supported, which regions most methods support, and what the page answers."""

import numpy as np
import pandas as pd
import pytest

from helpers.report_page import METHODS, difference_rows, findings, metric_rows, randomised_rows, trust_rows
from helpers.report_tables import CLASSES, region_rows, truth_table
from voxelwhy.io.tables import REGIONS, write_table
from voxelwhy.io.text import method_title
from voxelwhy.report.badges import depends_on_weights, support_methods
from voxelwhy.report.cards import make_cards, support_regions, trust_card
from voxelwhy.report.findings import Findings, read_findings
from voxelwhy.report.opening import describe_study, strongest_regions


def supports(**tables):
    return {one.method: one for one in support_methods(METHODS, titles=method_title, **tables)}


def controls(**verdicts):
    rows = [{"method": method, "verdict": verdict, "region_auprc": 0.5, "p_family": 0.04} for method, verdict in
            verdicts.items()]  # fmt: skip
    return pd.DataFrame(rows)


def test_the_best_supported_method_finds_the_loss_then_passes_most_checks():
    found = supports(truth=truth_table(), trust=trust_rows(), randomised=randomised_rows())
    assert list(found) == ["occlusion", "guided_backprop", "grad_cam"], "not tested lies between found and not found"
    assert found["occlusion"].checks == {"weights": True, "blanking": True}
    assert found["guided_backprop"].checks == {"weights": False, "blanking": False}
    assert (found["occlusion"].badge, found["occlusion"].how) == (("detected", "good"), "0.050") and not found[
        "occlusion"
    ].in_controls
    assert found["grad_cam"].finds is False and found["guided_backprop"].finds is None
    assert found["occlusion"].stability == 0.6
    assert list(supports()) == METHODS, "nothing is known: the order of the config"


def test_the_studys_own_controls_count_before_the_planted_truth():
    own = controls(occlusion="not detected", grad_cam="detected", guided_backprop="no verdict")
    found = supports(truth=truth_table(), controls=own)
    assert list(found) == ["grad_cam", "guided_backprop", "occlusion"]
    assert (found["grad_cam"].badge, found["grad_cam"].how) == (("detected", "good"), "0.040") and found[
        "guided_backprop"
    ].finds is None
    footnote = trust_card(Findings(CLASSES, supports=list(found.values()))).footnote
    assert found["grad_cam"].in_controls and "own controls" in footnote
    twice = pd.concat([controls(occlusion="detected"), controls(occlusion="not detected")])
    found = supports(controls=twice)["occlusion"]
    assert (found.badge, found.how) == (("not shown", "poor"), "1 of 2"), "not more than half"
    assert supports(truth=truth_table(draws=5))["occlusion"].finds is None


@pytest.mark.parametrize(("other", "reset", "depends"), [(0.3, 0.29, True), (0.3, 0.31, False), (-0.2, 0.1, True)])
def test_maps_depend_on_the_weights_if_reset_ones_are_no_more_alike_than_two_subjects(other, reset, depends):
    rows = {"measure": "spearman", "depth": [0, 1, 5], "value": [other, 0.9, reset]}
    assert depends_on_weights(pd.DataFrame(rows)) == depends


def test_regions_are_those_that_most_methods_mark_beyond_chance():
    found = findings()
    ranked, how = support_regions(found.regions, {}, "AD")
    assert ranked[["region", "n_methods"]].values.tolist() == [["Hippocampus_L", 2], ["Amygdala_L", 2]]
    assert how.startswith("relevance beyond that of networks trained on shuffled diagnoses")
    untested = {m: region_rows(["a", "b"], [2.0, 1.0]) for m in METHODS}
    tested = {"occlusion": pd.DataFrame({"region": ["a", "b"], "p_family": [0.2, 0.01]})}
    ranked, how = support_regions(untested, tested, "AD")
    assert ranked["region"].tolist() == ["b"] and how.startswith("the classes differ")
    assert not len(support_regions(untested, {}, "AD")[0])


def test_three_cards_answer_and_lead_to_their_sections():
    cards = make_cards(findings(), baseline_title="linear SVM")
    assert [card.section for card in cards] == ["performance", "regions", "trust"]
    assert cards[0].answer == (
        "AUC 0.90 (0.80 to 0.96); better than the baseline (difference 0.20, 0.05 to 0.35, p = 0.010)."
    )
    assert [line.label for line in cards[0].lines] == [
        "AUC, network", "AUC, baseline", "Accuracy, network", "Accuracy, baseline"
    ]  # fmt: skip
    assert "40 subjects, 50 scans; AUC within folds" in cards[0].footnote and "linear SVM" in cards[0].footnote
    assert cards[1].answer == "Most often at Hippocampus L and Amygdala L."
    assert [line.text for line in cards[1].lines] == ["3.0 (2.5 to 3.5); 2 of 3", "2.0 (1.5 to 2.5); 2 of 3"]
    assert "n = " not in cards[1].footnote and "9 subjects, 12 scans" in cards[1].footnote
    assert cards[2].answer == "A known loss of volume is detected by occlusion."
    assert cards[2].columns == ("Method", "Known loss", "p", "Weights", "Blanking", "Again")
    assert cards[2].cells == (
        (("Occlusion", ""), ("detected", "good"), ("0.050", ""), ("✓", ""), ("✓", ""), ("0.60", "")),
        (("Guided backpropagation", ""), ("not tested", "open"), ("–", ""), ("✗", ""), ("✗", ""), ("0.20", "")),
        (("Grad-CAM", ""), ("not shown", "poor"), ("1.000", ""), ("✓", ""), ("✗", ""), ("0.40", "")),
    )


def test_cards_do_not_claim_what_is_not_shown():
    chance = metric_rows().assign(p=0.4)
    answer = make_cards(findings(metrics=chance, difference=difference_rows(p=0.3)))[0].answer
    assert answer.startswith("Not shown to be better than chance; not shown to differ from the baseline (difference")
    assert "unknown" in make_cards(findings(metrics=None))[0].answer
    quiet = {"occlusion": region_rows(["a"], [2.0], draws=19, p_family=0.5)}
    assert make_cards(findings(regions=quiet))[1].answer == "No region is marked beyond chance by any of 1 method."
    nothing = Findings(CLASSES, supports=list(supports().values()))
    assert "not known whether these methods would detect one" in trust_card(nothing).answer
    assert len(make_cards(Findings(CLASSES, metrics=metric_rows()))) == 1, "no heatmaps"


def test_findings_are_read_from_the_tables_of_a_split(tmp_path):
    write_table(region_rows(["a", "b"], [2.0, 1.0]), tmp_path / "o.tsv", REGIONS)
    found = read_findings({"regions": [tmp_path / "o.tsv"], "truth": []}, methods=["occlusion"], classes=CLASSES)
    assert found.metrics is None and found.best == "occlusion" and list(found.regions) == ["occlusion"]
    assert strongest_regions(found) == {"AD": {"occlusion": ["a", "b"]}}


def test_the_title_is_in_words_and_the_kind_of_data_is_told():
    selected = pd.DataFrame({"subject_id": ["p", "p", "q", "r"], "label": ["AD", "AD", "CN", "CN"]})
    classes = {side: {"name": name} for side, name in CLASSES.items()}
    config = {"cohort": {"classes": classes}, "registration": {"transform": "affine", "resolution_mm": 3, "n4": True}}
    heading, data = describe_study(config, selected, simulated=False)
    assert heading == "Why does the network call a scan AD rather than CN?"
    assert data.startswith("T1-weighted scans: 3 subjects, 4 scans (AD 1 subject, CN 2 subjects); registered with ANTs")
    assert describe_study(config, selected, simulated=True)[1].startswith("Simulated T1-weighted scans: ")
    converted = selected.assign(label=["CN", "AD", "CN", "CN"])
    assert "(AD 1 subject, CN 3 subjects, 1 in both classes)" in describe_study(config, converted, simulated=False)[1]
    assert np.isnan(Findings(CLASSES, supports=list(supports().values())).supports[0].score)
