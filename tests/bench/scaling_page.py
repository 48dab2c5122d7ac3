"""Write docs/running/scaling.md and docs/figures/scaling.png from what `bench.scaling` measured."""

from __future__ import annotations

import json
import sys

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from bench.results import ROOT
from bench.scaling import FOLDER, RESOLUTION_MM

PAGE, PICTURE = ROOT / "docs" / "running" / "scaling.md", ROOT / "docs" / "figures" / "scaling.png"
#: Memory counts as flat when the power of the number of scans with which it grows is below this.
FLAT = 0.1


def read(kind):
    """The measured files of a kind ("size" or "dry"), by number of scans."""
    found = [json.loads(path.read_text()) for path in FOLDER.glob(f"{kind}_*.json")]
    return sorted(found, key=lambda content: content["n_scans"])


def power(sizes, values):
    """The exponent p of values ~ sizes^p: the slope of the straight line through their logarithms."""
    if len(sizes) < 2 or min(values) <= 0:
        return float("nan")
    return float(np.polyfit(np.log(sizes), np.log(values), 1)[0])


def by_rule(runs, column):
    """A frame of rules by number of scans; rules of which some size has no figure are left out."""
    frame = pd.DataFrame({run["n_scans"]: {r: own.get(column) for r, own in run["rules"].items()} for run in runs})
    return frame.dropna()


def page(runs, dry):
    """The page as Markdown."""
    sizes = [run["n_scans"] for run in runs]
    memory, seconds = by_rule(runs, "anonymous_mb"), by_rule(runs, "seconds").drop(index="snakemake", errors="ignore")
    whole = pd.DataFrame({run["n_scans"]: [run["seconds"], run["files"], run["megabytes"]] for run in runs})
    whole.index = ["wall time of the study, s", "files in the results", "size of these files, MB"]
    jobs = memory.drop(index="snakemake", errors="ignore")
    steepest = max(power(sizes, jobs.loc[rule].tolist()) for rule in jobs.index)
    host = runs[0]["machine"]
    return f"""# How a study grows

`make scaling` wrote this page. It runs the whole study on {", ".join(f"{n:,}" for n in sizes)} small simulated scans
(the template with noise, on a grid of {RESOLUTION_MM} mm that is the study's own), with five folds of one epoch and
three methods, registered in batches. All numbers are from this run. A quantity grows with the number of scans to the
power p, the slope of the straight line through the logarithms. Times include the start of each job (some four seconds),
which dominates in small cohorts.

Machine: {host["processor"]}, {host["cores"]} cores; Python {host["python"]}, torch {host["torch"]}.

![Memory and time of each rule against the number of scans](../figures/scaling.png)

## Memory of a job

The largest anonymous memory of any job of a rule, MB (RssAnon, which excludes the memory maps of scans). The steepest
rule has p = {steepest:.3f}; a rule below {FLAT:g} counts as flat. The row snakemake is Snakemake itself, which
holds the graph of jobs.

{_table(memory, sizes, "{:,.0f}")}

## Time of a rule

Seconds, summed over all jobs of a rule.

{_table(seconds, sizes, "{:,.0f}")}

## The study

{_table(whole, sizes, "{:,.0f}")}

## Dry runs

`snakemake --dry-run` with five folds and all methods, after the table was read.

| scans | jobs | seconds | at most | met |
| --- | --- | --- | --- | --- |
{_dry_rows(dry)}
"""


def _dry_rows(dry):
    return "\n".join(
        f"| {run['n_scans']:,} | {run['jobs']:,} | {run['seconds']:.0f} | {run['most']} | "
        f"{'yes' if run['seconds'] <= run['most'] else 'no'} |"
        for run in dry
    )


def _table(frame, sizes, form):
    shown = frame.map(form.format)
    shown["p"] = [f"{power(sizes, frame.loc[row].tolist()):.2f}" for row in frame.index]
    shown.index = [str(name).replace("_", " ") for name in shown.index]
    shown.columns = [f"{name:,} scans" if isinstance(name, int) else name for name in shown.columns]
    return shown.rename_axis(index="").to_markdown(disable_numparse=True)


def draw(runs):
    """Memory and time of each rule against the number of scans, both axes logarithmic."""
    figure = Figure(figsize=(9, 4.2), dpi=110, layout="constrained")
    sizes = [run["n_scans"] for run in runs]
    panels = figure.subplots(1, 2)
    for axes, column, label in zip(
        panels, ("anonymous_mb", "seconds"), ("largest memory of a job, MB", "seconds, all jobs"), strict=True
    ):
        frame = by_rule(runs, column).drop(index="snakemake", errors="ignore")
        last = frame[sizes[-1]].sort_values(ascending=False)
        for rule in frame.index:
            named = rule in last.index[:6]
            style = {"lw": 1.8, "marker": "o", "ms": 4} if named else {"lw": 0.8, "color": "#b8bec6"}
            label_of = rule.replace("_", " ") if named else None
            axes.plot(sizes, frame.loc[rule], label=label_of, zorder=3 if named else 2, **style)
        axes.set(xscale="log", yscale="log", xlabel="scans", ylabel=label)
        axes.set_xticks(sizes, [f"{n:,}" for n in sizes])
        axes.minorticks_off()
        if column == "anonymous_mb":  # room for the legend above the lines
            axes.set_ylim(50, 5 * last.iloc[0])
            axes.set_yticks([50, 100, 200, 400, 800, 1600], [50, 100, 200, 400, 800, "1,600"])
        else:
            axes.set_ylim(0.5, 30 * last.iloc[0])
        axes.legend(fontsize=7, frameon=False, title="the six largest; others grey", title_fontsize=7)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="y", color="#e3e7ec", lw=0.6)
    figure.suptitle("Simulated small scans, grid of 6 mm", fontsize=9)
    figure.savefig(PICTURE, metadata={"Software": None})


def main():
    """Write the page, if all that it shows was measured."""
    runs, dry = read("size"), read("dry")
    if len(runs) < 3 or not dry:
        sys.exit(f"not enough was measured: sizes {[run['n_scans'] for run in runs]}; run python -m bench.scaling")
    PAGE.write_text(page(runs, dry), encoding="utf-8")
    draw(runs)
    print(f"wrote {PAGE} and {PICTURE}")


if __name__ == "__main__":
    main()
