"""Write the tables and the figure of a comparison, depending on its question."""

from __future__ import annotations

from pathlib import Path

from voxelwhy.comparison import findings
from voxelwhy.comparison.audits import audit_table
from voxelwhy.comparison.detections import detection_table, earlier_claims
from voxelwhy.comparison.figures.choices import draw_choices
from voxelwhy.comparison.figures.confounds import draw_confounds
from voxelwhy.comparison.figures.detections import draw_signals, draw_sizes
from voxelwhy.comparison.figures.null import draw_null
from voxelwhy.comparison.summary import (
    cell_table,
    choice_columns,
    claims_table,
    combination_table,
    confound_table,
    false_regions,
    found_table,
    method_table,
    methods_of,
)
from voxelwhy.comparison.tables import publish_choices, publish_confounds, publish_detections, publish_null
from voxelwhy.evaluation.intervals import student_interval
from voxelwhy.io.text import interval


def report_comparison(cells, template_path, out, settings):
    """Write the tables and draw the figure of a comparison.

    Parameters
    ----------
    `cells` : list of dict, of `comparison.cells.gather_study` with choices and repeat
    template_path : path of the template on the study's grid
    out : dict of paths: `cells`, methods and, for the question null, regions (tables); findings (Markdown); table,
        figure (without suffix)
    settings : dict; question, choices (settings, in their order), refused, repeated, same_scans, classes,
        top, shown, simulated, atlas
    """
    # JSON sorts keys by name, but the last choice defines the panels of the figure.
    cells = [
        cell | {"choices": {setting: cell["choices"][setting] for setting in settings["choices"]}} for cell in cells
    ]
    columns = list(choice_columns(cells).values())
    methods = method_table(cells)
    for name, frame in (("cells", cell_table(cells)), ("methods", methods)):
        frame.drop(columns="draws", errors="ignore").to_csv(
            out[name], sep="\t", index=False, lineterminator="\n", float_format="%.10g"
        )
    questions = {"choices": _choices, "null": _null, "confounds": _confounds, "sizes": _sizes, "signals": _signals}
    sentences = questions[settings["question"]](cells, methods, columns, template_path, out, settings)
    findings.write_findings(sentences, out["findings"])


def _choices(cells, methods, columns, template_path, out, settings):
    how = {"same_scans": settings["same_scans"], "simulated": settings["simulated"]}
    combinations = _combinations(cells, settings)
    found = None
    if "region_auprc" in methods:
        found = found_table(methods, columns)
    how |= {"repeated": settings["repeated"]}
    publish_choices(combinations, found, columns, out["table"], refused=settings["refused"], **how)
    draw_choices(combinations, found, columns, out["figure"], **how, dpi=settings["shown"]["dpi"])
    return findings.of_choices(combinations, found, columns)


def _null(cells, methods, columns, template_path, out, settings):
    claims, table = claims_table(methods, columns, earlier_claims(methods), cells), cell_table(cells)
    regions = false_regions(cells, top=settings["top"])
    regions.to_csv(out["regions"], sep="\t", index=False, lineterminator="\n", float_format="%.10g")
    aucs = (table["auc"].mean(), *student_interval(table["auc"]))
    how = {"atlas": settings["atlas"], "top": settings["top"], "simulated": settings["simulated"]}
    publish_null(claims, regions, aucs, out["table"], **how)
    draw_null(table, methods, claims, out["figure"], simulated=settings["simulated"], dpi=settings["shown"]["dpi"])
    return findings.of_null(claims, aucs, regions)


def _sizes(cells, methods, columns, template_path, out, settings):
    combinations, found = _combinations(cells, settings), detection_table(methods, columns)
    how = {"simulated": settings["simulated"]}
    publish_detections(combinations, found, columns, out["table"], question="sizes", **how)
    draw_sizes(combinations, found, columns[0], out["figure"], **how, dpi=settings["shown"]["dpi"])
    return findings.of_sizes(combinations, found, columns[0])


def _signals(cells, methods, columns, template_path, out, settings):
    combinations = _combinations(cells, settings)
    found = detection_table(method_table(cells, baseline=True), columns)
    how = {"simulated": settings["simulated"]}
    publish_detections(combinations, found, columns, out["table"], question="signals", **how)
    draw_signals(combinations, found, columns, out["figure"], **how, dpi=settings["shown"]["dpi"])
    return findings.of_signals(combinations, found, columns)


def _confounds(cells, methods, columns, template_path, out, settings):
    positive, shown = settings["classes"]["positive"], settings["shown"]
    combinations = _combinations(cells, settings)
    table = confound_table(cells, methods, columns)
    table = table.merge(audit_table(cells, combinations, choice_columns(cells)), on=columns)
    how = {"same_scans": settings["same_scans"], "simulated": settings["simulated"]}
    publish_confounds(combinations, table, columns, out["table"], **how)
    first = [cell for cell in cells if cell["repeat"] == 1]
    rows, maps = [], {}
    for cell, row in zip(first, combinations.to_dict("records"), strict=True):
        said = [f"{name} {row[name]}" for name in columns]
        said.append(f"AUC {interval(row['auc'], row['auc_low'], row['auc_high'])}")
        rows.append({"key": cell["cell"], "label": "\n".join(said).replace("_", " ")})
        for method in methods_of(cell):
            path = Path(cell["folder"], "heatmaps", method, "maps", f"mean_{positive}_scaled.nii.gz")
            maps[cell["cell"], method] = path
    place = {"axis": shown["axis"], "slice_mm": shown["slices_mm"][len(shown["slices_mm"]) // 2]}
    draw_confounds(rows, maps, template_path, out["figure"], **place, **how, dpi=shown["dpi"])
    return findings.of_confounds(combinations, table, columns)


def _combinations(cells, settings):
    return combination_table(cells, same_scans=settings["same_scans"], classes=settings["classes"])
