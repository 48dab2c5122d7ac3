"""A small report with everything that a page can hold, from made tables and pictures."""

from __future__ import annotations

import numpy as np
import pandas as pd
from PIL import Image

from helpers.report_tables import CLASSES, region_rows, truth_table
from voxelwhy.io.text import method_title
from voxelwhy.report.badges import BLANKING_PART, support_methods
from voxelwhy.report.cards import make_cards
from voxelwhy.report.findings import Findings
from voxelwhy.report.opening import Opening
from voxelwhy.report.page import write_report
from voxelwhy.report.sections import Item, Section
from voxelwhy.report.stability import PART
from voxelwhy.report.strip import list_registrations

METHODS = ["occlusion", "grad_cam", "guided_backprop"]
REGION_NAMES = ["Hippocampus_L", "Amygdala_L", "Insula_R"]


def metric_rows():
    """Performance of network and baseline by the columns that cards read; the network is better than chance."""
    values = {"cnn": {"auc": (0.9, 0.8, 0.96), "accuracy": (0.8, 0.7, 0.9)}}
    values["baseline"] = {"auc": (0.7, 0.6, 0.8), "accuracy": (0.6, 0.5, 0.7)}
    rows = [
        {"model": model, "metric": metric, "value": value, "low": low, "high": high}
        for model, own in values.items()
        for metric, (value, low, high) in own.items()
    ]
    frame = pd.DataFrame(rows).assign(level="subject", fold="all", n_subjects=40, n_scans=50, p=0.001)
    return pd.concat([frame, frame.assign(fold="0"), frame.assign(fold="1")], ignore_index=True)


def difference_rows(p=0.01):
    row = {"metric": "auc", "difference": 0.2, "low": 0.05, "high": 0.35, "test": "paired DeLong", "p": p}
    return pd.DataFrame([row])


def trust_rows():
    """Blanking works for occlusion alone; maps come out again the better the earlier a method is in METHODS."""
    rows = []
    for place, method in enumerate(METHODS):
        of = {"of": method_title(method)}
        rows.append(of | {"part": BLANKING_PART, "value": 0.5, "p": 0.01 if method == "occlusion" else 0.4})
        rows.append(of | {"part": PART, "value": 0.6 - 0.2 * place, "p": np.nan})
    return pd.DataFrame(rows)


def randomised_rows():
    """With all weights reset, maps of guided backpropagation stay; those of the others do not."""
    rows = [
        {"method": method, "depth": depth, "measure": "spearman", "value": value}
        for method in METHODS
        for depth, value in ((0, 0.3), (1, 0.5), (4, 0.6 if method == "guided_backprop" else 0.05))
    ]
    return pd.DataFrame(rows)


def findings(**changes):
    supports = support_methods(
        METHODS, titles=method_title, truth=truth_table(), trust=trust_rows(), randomised=randomised_rows()
    )
    p_family = {"occlusion": [0.01, 0.02, 0.9], "grad_cam": [0.03, 0.9, 0.9], "guided_backprop": [0.9, 0.04, 0.9]}
    regions = {m: region_rows(REGION_NAMES, [3.0, 2.0, 1.0], draws=19, p_family=p) for m, p in p_family.items()}
    own = {"metrics": metric_rows(), "difference": difference_rows(), "regions": regions, "supports": supports}
    return Findings(CLASSES, **own | changes)


def picture(path, size=(200, 120), seed=0):
    """A png of noise, which hardly compresses."""
    pixels = np.random.default_rng(seed).integers(0, 255, (*size[::-1], 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def quality_rows(folder, n):
    """Registrations of n scans in no order, the first of which failed; each has a picture."""
    r = np.random.default_rng(0).permutation(np.linspace(0.5, 0.9, n))
    rows = pd.DataFrame({"scan_id": [f"s{i:02d}" for i in range(n)], "label": "AD", "status": "ok"})
    rows = rows.assign(correlation_brain=r, mask_dice=0.95)
    rows.loc[0, ["status", "correlation_brain", "mask_dice"]] = ["failed", np.nan, np.nan]
    (folder / "registered").mkdir()
    paths = [picture(folder / "registered" / f"{scan}.png", (60, 40), n) for n, scan in enumerate(rows["scan_id"])]
    return rows.assign(check=[str(path) for path in paths])


def write_page(folder, *, scans=30, **options):
    """Write the page into a folder; returns its path."""
    path = folder / "report.html"
    figure = Item("figure", "Maps", "What is seen.", path=picture(folder / "maps.png"), alt="Maps. Slices in rows.")
    long = tuple((f"Region_{n}", f"{n / 100:.2f} (0.00 to 0.90)", "–") for n in range(20))
    tables = [
        Item("table", "Short", "Few rows.", columns=("Model", "AUC (95 % CI)", "p", "Age"), rows=(
            ("network", "0.90 (0.80 to 0.96)", "<0.0001", "n/a"), ("baseline", "0.70 (0.60 to 0.80)", "0.0100", "–"),
        )),
        Item("table", "Long", "Many rows.", columns=("Region", "Share (95 % CI)", "z"), rows=long),
    ]  # fmt: skip
    strip = Item("strip", "Registration", "All.", pictures=tuple(list_registrations(quality_rows(folder, scans), path)))
    sections = [
        Section("performance", "Performance", "How well.", {"kfold": [figure, *tables]}),
        Section("regions", "Regions", "Where.", {"kfold": [tables[1]]}),
        Section("trust", "Trust", "How far.", {"kfold": [tables[0]], "paper": [tables[0]]}),
        Section("registration", "Registration", "Every scan.", {"": [strip]}),
    ]
    words = {"title": "demo", "sentences": ["One.", "Two.", "Three."], "versions": {"torch": "2.13.0"}}
    words |= {"citations": [("A work.", "https://doi.org/10.1/x")], "simulated": True}
    opening = Opening("Why does the network call a scan AD?", "40 subjects.", tuple(make_cards(findings())), figure)
    write_report(sections, path, opening=opening, **words | options)
    return path
