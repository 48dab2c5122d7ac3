"""What a study took: time and memory of its jobs, as Snakemake's benchmarks have them, summed by rule."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from voxelwhy.io.text import count, duration, number
from voxelwhy.report.sections import Item, Section

#: Columns of `sum_costs`. Seconds and, for `memory_mb`, MB; `unmeasured` jobs ended before they could be looked at.
COLUMNS = ["rule", "jobs", "wall_s", "cpu_s", "longest_s", "memory_mb", "unmeasured"]


def cost_section(study_dir, *, writer):
    """The section of the report that says what the study took, as far as it is known while the report is written.

    Parameters
    ----------
    study_dir : path
        The study's folder, with benchmarks/ and logs/.
    writer : str
        The rule that writes the report: it still runs, and has no benchmark yet.

    Returns
    -------
    list of one Section; empty where there is no benchmark
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
    columns = ("Rule", "Jobs", f"Processor, {unit}", f"Start to end, {unit}", "Longest job", "Largest memory, GB")
    caption = _caption(costs, jobs_without(benchmarks, logs, leave_out=[writer]))
    item = Item("table", title="Time and memory by rule", caption=caption, columns=columns, rows=rows)
    return [Section("cost", "What it took", "The jobs of this study, the rule that took longest first.", {"": [item]})]


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
        f"The last run of each of {count(int(costs['jobs'].sum()), 'job')} that ended well. Jobs that ran side by side "
        "are added up. Processor time and memory are looked at now and then (every half second at first, later every "
        "30 s), so that a little more may have been used. Memory is the resident set and includes memory maps: a "
        "training maps all its scans, and the system takes that back where memory is short. The job that writes this "
        "page is not among them."
    ]
    if unmeasured := int(costs["unmeasured"].sum()):
        told.append(f"{count(unmeasured, 'job')} ended before processor time and memory could be looked at.")
    if without:
        named = ", ".join(f"{rule.replace('_', ' ')} {n}" for rule, n in without.items())
        told.append(f"{count(sum(without.values()), 'job')} with a log and without a benchmark: {named}.")
    return " ".join(told)


def read_benchmarks(folder):
    """The benchmarks of a study's jobs, one row each.

    Parameters
    ----------
    folder : path
        Of files `<rule>.tsv`, or `<rule>/…/<wildcards>.tsv`, as Snakemake writes them; one that cannot be read (it is
        being written) is left out.

    Returns
    -------
    DataFrame with rule, job (the path without its ending), s, cpu_time and max_rss, the last two empty for a job that
    ended before it was looked at
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
    """Time and memory by rule, the rule that took longest first.

    Returns
    -------
    DataFrame with COLUMNS; `memory_mb` is the largest job's
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
    """Jobs that have a log and no benchmark, {rule: n}: those that failed or still run, or whose benchmark was deleted.

    Parameters
    ----------
    benchmarks, logs : paths of the study's folders, laid out alike
    leave_out : rules that do not count: the one that asks is still running
    """
    measured = set(read_benchmarks(benchmarks)["job"])
    logs = Path(logs)
    rules = [_rule(path, logs) for path in logs.rglob("*.log") if _job(path, logs) not in measured]
    return pd.Series([rule for rule in rules if rule not in leave_out], dtype=object).value_counts().to_dict()


def _rule(path, folder):
    return path.relative_to(folder).with_suffix("").parts[0]


def _job(path, folder):
    # Not with_suffix: the names of scans have dots.
    return str(path.relative_to(folder)).removesuffix(path.suffix)
