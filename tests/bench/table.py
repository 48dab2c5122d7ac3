"""Write docs/explaining/speed.md from the measurements of one state of the code on one machine."""

from __future__ import annotations

import json

from bench.plan_rows import MOST_MEMORY, MOST_TIME
from bench.results import FOLDER, ROOT, code_of
from bench.rows import ROWS

PAGE = ROOT / "docs" / "explaining" / "speed.md"
HEAD = """\
# How fast

`make bench` measured every number on this page and wrote the page. Maps are compared first: a time is listed only if
the two maps agree to a thousandth of the map's maximum in float32. Runs alternate (ours, theirs, ours, theirs, …). A
ratio is that of two consecutive runs; the tables give its median (minimum to maximum) over these pairs. A peer that
would take a quarter of an hour runs a part of its windows, and its time is scaled by their number; `make bench FULL=1`
runs all of them, and `make bench ROWS=occlusion_rieke2018` runs one row. The image is the ICBM152 template on 193 x 229
x 193 voxels of 1 mm, z-scored inside the brain. Weights are random, scaled so that the network is uncertain of its
class. Rows that name a shape are about other architectures, on the same brain with fewer voxels or on a slice of it;
windows have a quarter of the side (half of it in 96 x 96 x 96), and the engine is `auto`, whose first call includes all
that is done once for a network.
"""
SECTIONS = {
    "Line": (
        "Times",
        "work | against | peer ran | map's maximum | largest difference | ours, s | theirs, s | ratio | target | met",
        "`times faster`: their time / ours, the target is a minimum. `times the time`: ours / theirs, the target is a "
        "maximum. The largest difference is relative to the map's maximum. The times of methods that take steps are "
        "those of one step, and the times of training those of one sample.",
    ),
    "Plan": (
        "Compared with the plan's own multiply-adds",
        "work | parts that change anything | multiply-adds of the plan | of the plain loop | predicted, s | "
        "measured, s | measured / predicted | extra memory | of one plain pass | met",
        "Multiply-adds of convolutions, in billions; a part that is already blank costs nothing. Predicted: the plan's "
        "multiply-adds at the speed of each convolution on its whole layer. Extra memory: by how much a process grows. "
        f"Targets: at most {MOST_TIME:g} times, at most {MOST_MEMORY / 1e9:g} GB.",
    ),
    "Accuracy": (
        "What bfloat16 does to accuracy",
        "cohort | precision | scans | subjects | accuracy (95 % interval) | AUC (95 % interval)",
        "Trained on the registered scans of `make demo` with its settings, except for training.precision; seeds, folds "
        "and order of scans are the same. Accuracy and AUC (within folds) are by subject; intervals are over subjects.",
    ),
}


def read() -> dict:
    """The rows that were measured, by name."""
    found = {path.stem: json.loads(path.read_text()) for path in FOLDER.glob("*.json")}
    return {name: found[name] for name in ROWS if name in found}


def missing(found) -> list[str]:
    """Why no page can be made of these rows; empty where it can."""
    problems = [f"{name} was not measured" for name in ROWS if name not in found]
    problems += [f"{name} was measured with other code" for name, row in found.items() if row["code"] != code_of(name)]
    if len({json.dumps(row["machine"], sort_keys=True) for row in found.values()}) > 1:
        problems.append("rows were measured on different machines or with different versions")
    return problems


def page(found) -> str:
    """The whole page, Markdown."""
    parts = [HEAD, where(found), targets(found)]
    for kind, (title, columns, note) in SECTIONS.items():
        lines = [CELLS[kind](line) for row in found.values() for line in row["lines"] if line["table"] == kind]
        if lines:
            parts += [f"## {title}\n", _markdown(columns.split(" | "), lines), f"{note}\n"]
    return "\n".join(parts)


def where(found) -> str:
    """The sentence about the machine."""
    rows = list(found.values())
    m, loads = rows[0]["machine"], [load for row in rows for load in row["load"]]
    bfloat16 = "" if m["bfloat16"] else " without bfloat16 (which is not timed here: a training step takes minutes)"
    return (
        f"Machine: {m['processor']}{bfloat16}, {m['cores']} cores, {m['threads']} threads; torch {m['torch']}, captum "
        f"{m['captum']}, Python {m['python']}; load average {min(loads):.1f} to {max(loads):.1f}.\n"
    )


def targets(found) -> str:
    """How many targets were met, and which were not."""
    judged = [line for row in found.values() for line in row["lines"] if line.get("met") is not None]
    missed = [f"{line['work']} against {line.get('against', 'its plan')}" for line in judged if not line["met"]]
    said = f"{len(judged) - len(missed)} of {len(judged)} targets are met"
    return said + (f"; missed: {'; '.join(missed)}.\n" if missed else ".\n")


def _line(line):
    least = "at least" if line["kind"] == "times faster" else "at most"
    return [
        line["work"],
        line["against"],
        line["run"],
        _figure(line["top"]),
        "–" if line["difference"] is None else f"{line['difference']:.0e}",
        _seconds(line["ours"]),
        _seconds(line["theirs"]),
        f"{_spread(line['ratio'])} {line['kind']}",
        "–" if line["target"] is None else f"{least} {line['target']:g}",
        {None: "–", True: "yes", False: "**no**"}[line["met"]],
    ]


def _plan(line):
    return [
        line["work"],
        f"{line['changing']:,} of {line['parts']:,}",
        f"{line['multiply_adds'] / 1e9:,.0f}",
        f"{line['of_plain_loop'] / 1e9:,.0f}",
        f"{line['needed']:.2f}",
        _seconds(line["taken"]),
        _spread(line["ratio"]),
        f"{line['extra_memory'] / 1e9:.2f} GB",
        f"{line['pass_memory'] / 1e9:.2f} GB",
        "yes" if line["met"] else "**no**",
    ]


def _accuracy(line):
    intervals = ["{:.3f} ({:.3f} to {:.3f})".format(*line[name]) for name in ("accuracy", "auc")]
    return [line["work"], line["precision"], line["n_scans"], line["n_subjects"], *intervals]


CELLS = {"Line": _line, "Plan": _plan, "Accuracy": _accuracy}


def _figure(value):
    return "–" if value is None else f"{value:.2g}"


def _seconds(spread):
    return _digits(spread["median"])


def _spread(spread):
    return "{} ({} to {})".format(*(_digits(spread[name]) for name in ("median", "low", "high")))


def _digits(value):
    """Three digits that count."""
    return f"{float(f'{value:.3g}'):,.0f}" if value >= 1000 else f"{value:.3g}"


def _markdown(columns, rows):
    lines = [columns, ["---"] * len(columns), *rows]
    return "".join(f"| {' | '.join(map(str, cells))} |\n" for cells in lines)
