"""Run time and memory of a study: the benchmarks that Snakemake writes for each job, summed by rule."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from voxelwhy.io.tables import LEAST_DRAWS
from voxelwhy.io.text import count, duration, number
from voxelwhy.report.sections import Item, Section

#: Columns of `sum_costs`, in seconds and MB; `unmeasured` counts jobs that ended before their first sample.
COLUMNS = ["rule", "jobs", "wall_s", "cpu_s", "longest_s", "memory_mb", "unmeasured"]


def cost_section(study_dir, *, writer, draws=0):
    """The section of the report on run time and memory, from the jobs that have ended when the report is written.

    Parameters
    ----------
    study_dir : path
        The study's folder, with benchmarks/ and logs/.
    writer : str
        The rule that writes the report: it is still running and has no benchmark yet.
    draws : int
        Draws of networks trained on shuffled diagnoses; with 0, the section states what they would cost.

    Returns
    -------
    list of one Section; empty if there is no benchmark
    """
    benchmarks, logs = Path(study_dir, "benchmarks"), Path(study_dir, "logs")
    costs = sum_costs(benchmarks)
    costs = costs[costs["rule"] != writer]
    if costs.empty:
        return []
    whole = {
        "rule": "all",
        "jobs": costs["jobs"].sum(),
        "wall_s": costs["wall_s"].sum(),
        "cpu_s": costs["cpu_s"].sum(),
        "longest_s": costs["longest_s"].max(),
        "memory_mb": costs["memory_mb"].max(),
    }
    unit, seconds = ("h", 3600) if whole["wall_s"] >= 3600 else ("min", 60)
    rows = tuple(_row(row, seconds) for row in [*costs.to_dict("records"), whole])
    columns = ("Rule", "Jobs", f"CPU time, {unit}", f"Wall time, {unit}", "Longest job", "Largest memory, GB")
    caption = _caption(costs, jobs_without(benchmarks, logs, leave_out=[writer]))
    item = Item("table", title="Time and memory by rule", caption=caption, columns=columns, rows=rows)
    told = () if draws else tuple(_cost_of_draws(costs))
    opening = "The jobs of this study by rule, longest first."
    return [Section("cost", "Run time and memory", opening, {"": [item]}, paragraphs=told)]


def _cost_of_draws(costs):
    """What networks trained on shuffled diagnoses would take and what they are for; nothing if nothing was trained."""
    # Jobs that ended before their first sample have no known time.
    seconds = costs.set_index("rule")["cpu_s"].fillna(0)
    training, maps = seconds.get("train_fold", 0), seconds.get("compute_heatmaps", 0)
    if not training > 0:
        return
    yield (
        "No networks were trained on shuffled diagnoses. They show how much relevance each method gives to a region "
        "whatever the diagnosis, and every region could be tested against them (z and p). With evaluation.shuffled: "
        f"{LEAST_DRAWS}, the fewest for which p can be 0.05, this would take at most about "
        f"{duration(LEAST_DRAWS * (training + maps))} of processor time: {LEAST_DRAWS} times the training "
        f"({duration(training)}) and the heatmaps ({duration(maps)}) of this study."
    )


def _row(row, seconds):
    return (
        row["rule"].replace("_", " "),
        f"{row['jobs']:,}",
        _time(row["cpu_s"] / seconds),
        _time(row["wall_s"] / seconds),
        duration(row["longest_s"]),
        number(row["memory_mb"] / 1024, 1),
    )


def _time(value):
    return "<0.01" if 0 < value < 0.005 else number(value)


def _caption(costs, without):
    told = [
        f"The last successful run of each of {count(int(costs['jobs'].sum()), 'job')}. Wall time is the sum over jobs, "
        "also of those that ran in parallel. CPU time and memory are sampled, every half second at first and later "
        "every 30 s, so actual use may be slightly higher. Memory is the resident set and includes memory maps: a "
        "training maps all its scans, and the operating system reclaims these pages when memory is short. The job that "
        "writes this page is not included."
    ]
    if unmeasured := int(costs["unmeasured"].sum()):
        told.append(f"{count(unmeasured, 'job')} ended before CPU time and memory could be sampled.")
    if without:
        named = ", ".join(f"{rule.replace('_', ' ')} {n}" for rule, n in without.items())
        told.append(f"{count(sum(without.values()), 'job')} with a log but without a benchmark: {named}.")
    return " ".join(told)


def read_benchmarks(folder):
    """The benchmarks of the jobs of a study, one row per job.

    Parameters
    ----------
    folder : path
        Holds files `<rule>.tsv` or `<rule>/…/<wildcards>.tsv`, as Snakemake writes them. A file that cannot be read,
        because it is being written, is skipped.

    Returns
    -------
    DataFrame with rule, job (the path without its ending), s, cpu_time and max_rss; the last two are empty for a job
    that ended before its first sample
    """
    folder, rows = Path(folder), []
    for path in sorted(folder.rglob("*.tsv")):
        try:
            table = pd.read_csv(path, sep="\t", na_values=["NA", "-"])
            row = table[["s", "cpu_time", "max_rss"]].astype(float).iloc[-1]
        except (OSError, ValueError, KeyError, IndexError):
            continue
        rows.append({"rule": _rule(path, folder), "job": _job(path, folder), **row})
    frame = pd.DataFrame(rows, columns=["rule", "job", "s", "cpu_time", "max_rss"])
    return frame[frame["s"].notna()].reset_index(drop=True)


def sum_costs(folder):
    """Time and memory by rule, the rule with the longest total time first.

    Returns
    -------
    DataFrame with COLUMNS; `memory_mb` is that of the largest job
    """
    jobs = read_benchmarks(folder)
    by_rule = jobs.groupby("rule").agg(
        jobs=("s", "size"),
        wall_s=("s", "sum"),
        cpu_s=("cpu_time", lambda values: values.sum(min_count=1)),
        longest_s=("s", "max"),
        memory_mb=("max_rss", "max"),
        unmeasured=("max_rss", lambda values: int(values.isna().sum())),
    )
    return by_rule.reset_index().sort_values(["wall_s", "rule"], ascending=[False, True], ignore_index=True)[COLUMNS]


def jobs_without(benchmarks, logs, *, leave_out=()):
    """Jobs with a log but no benchmark, {rule: n}: they failed, are still running, or their benchmark was deleted.

    Parameters
    ----------
    benchmarks, logs : paths of the study's folders, which have the same layout
    leave_out : rules that are not counted, such as the one that is running
    """
    measured = set(read_benchmarks(benchmarks)["job"])
    logs = Path(logs)
    rules = [_rule(path, logs) for path in logs.rglob("*.log") if _job(path, logs) not in measured]
    return pd.Series([rule for rule in rules if rule not in leave_out], dtype=object).value_counts().to_dict()


def _rule(path, folder):
    return path.relative_to(folder).with_suffix("").parts[0]


def _job(path, folder):
    # Not with_suffix, because names of scans contain dots.
    return str(path.relative_to(folder)).removesuffix(path.suffix)
