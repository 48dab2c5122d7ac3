"""Run time and memory of a study: sums by rule, unmeasured jobs, and the section of the report."""

import pytest

from voxelwhy.report.costs import cost_section, jobs_without, sum_costs
from voxelwhy.report.page import write_report

HEADER = "s\th:m:s\tmax_rss\tmax_vms\tmax_uss\tmax_pss\tio_in\tio_out\tmean_load\tcpu_time"


def benchmark(folder, job, seconds, memory, cpu):
    path = folder / "benchmarks" / f"{job}.tsv"
    path.parent.mkdir(parents=True, exist_ok=True)
    rest = "NA\t" * 6 if memory == "NA" else "1.00\t1.00\t1.00\t0.00\t0.00\t99.00\t"
    path.write_text(f"{HEADER}\n{seconds}\t0:00:00\t{memory}\t{rest.rstrip()}\t{cpu}\n")


def log(folder, job):
    path = folder / "logs" / f"{job}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("")


@pytest.fixture
def study(tmp_path):
    for n, (seconds, memory, cpu) in enumerate([(100.5, 2048.0, 80), (50, 1024.0, 40.25), (0.4, "NA", "NA")]):
        benchmark(tmp_path, f"register_scan/sub-1.5T_{n}", seconds, memory, cpu)
        log(tmp_path, f"register_scan/sub-1.5T_{n}")
    benchmark(tmp_path, "train_fold/kfold/fold-0", 7200, 10240.0, 14000)
    benchmark(tmp_path, "parse_tables", 2, 100.0, 1)
    benchmark(tmp_path, "write_report", 9999, 100.0, 9999)  # of the page before this one
    (tmp_path / "benchmarks" / "draw_cohort.tsv").write_text(HEADER)  # cut off
    log(tmp_path, "write_report")
    log(tmp_path, "draw_cohort")
    log(tmp_path, "train_fold/kfold/fold-1")
    return tmp_path


def test_jobs_are_summed_by_rule_the_longest_first(study):
    costs = sum_costs(study / "benchmarks").set_index("rule")
    assert costs.index.tolist() == ["write_report", "train_fold", "register_scan", "parse_tables"]
    assert costs.loc["register_scan"].to_dict() == {
        "jobs": 3,
        "wall_s": 150.9,
        "cpu_s": 120.25,
        "longest_s": 100.5,
        "memory_mb": 2048,
        "unmeasured": 1,
    }


def test_jobs_without_a_benchmark_are_counted(study):
    found = jobs_without(study / "benchmarks", study / "logs", leave_out=["write_report"])
    assert found == {"train_fold": 1, "draw_cohort": 1}


def test_the_section_says_hours_memory_and_what_is_missing(study, tmp_path):
    (section,) = cost_section(study, writer="write_report")
    (item,) = section.items[""]
    assert item.columns == ("Rule", "Jobs", "CPU time, h", "Wall time, h", "Longest job", "Largest memory, GB")
    assert item.rows == (
        ("train fold", "1", "3.89", "2.00", "2.0 h", "10.0"),
        ("register scan", "3", "0.03", "0.04", "2 min", "2.0"),
        ("parse tables", "1", "<0.01", "<0.01", "2 s", "0.1"),
        ("all", "5", "3.92", "2.04", "2.0 h", "10.0"),
    )
    for part in (
        "each of 5 jobs",
        "includes memory maps",
        "1 job ended before",
        "2 jobs with a log but without a benchmark",
    ):
        assert part in item.caption
    words = {"title": "x", "simulated": False, "sentences": ["A."], "versions": {}, "citations": []}
    write_report([section], tmp_path / "report.html", **words)
    page = (tmp_path / "report.html").read_text()
    assert '<section id="cost">' in page and "<td>train fold</td><td>1</td><td>3.89</td>" in page


def test_a_rule_that_was_too_short_to_be_measured_has_dashes(tmp_path):
    benchmark(tmp_path, "a", 0.3, "NA", "NA")
    (section,) = cost_section(tmp_path, writer="write_report")
    assert section.items[""][0].rows[0] == ("a", "1", "–", "0.01", "0 s", "–")
    assert section.items[""][0].columns[2:4] == ("CPU time, min", "Wall time, min"), "a study of less than an hour"


def test_a_study_without_benchmarks_has_no_such_section(tmp_path):
    assert cost_section(tmp_path, writer="write_report") == []
