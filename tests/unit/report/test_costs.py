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
    assert '<section id="cost">' in page and '<td>train fold</td><td class="number" data-key="1.0">1</td>' in page


def test_a_rule_that_was_too_short_to_be_measured_has_dashes(tmp_path):
    benchmark(tmp_path, "a", 0.3, "NA", "NA")
    (section,) = cost_section(tmp_path, writer="write_report")
    assert section.items[""][0].rows[0] == ("a", "1", "–", "0.01", "0 s", "–")
    assert section.items[""][0].columns[2:4] == ("CPU time, min", "Wall time, min"), "a study of less than an hour"


def test_what_shuffled_diagnoses_would_take_is_told_where_there_are_none(tmp_path, study):
    """By hand: 19 times the processor time of training (14,000 s) and heatmaps (600 s) is 277,400 s, or 77.1 h."""
    benchmark(study, "compute_heatmaps/occlusion/1-of-2", 500, 100.0, 400)
    benchmark(study, "compute_heatmaps/occlusion/2-of-2", 300, 100.0, 200)
    (section,) = cost_section(study, writer="write_report")
    (told,) = section.paragraphs
    for part in (
        "No networks were trained on shuffled diagnoses",
        "evaluation.shuffled: 19, the fewest for which p can be 0.05",
        "at most about 77.1 h of processor time",
        "19 times the training (3.9 h) and the heatmaps (10 min) of this study",
    ):
        assert part in told, part
    words = {"title": "x", "simulated": False, "sentences": ["A."], "versions": {}, "citations": []}
    write_report([section], tmp_path / "report.html", **words)
    assert f"<p>{told}</p>" in (tmp_path / "report.html").read_text()
    (section,) = cost_section(study, writer="write_report", draws=1)
    assert section.paragraphs == ()
    for part in ("1-of-2", "2-of-2"):
        benchmark(study, f"compute_heatmaps/occlusion/{part}", 0.4, "NA", "NA")
    (section,) = cost_section(study, writer="write_report")
    assert "73.9 h of processor time" in section.paragraphs[0], "the time of the training alone is known"


def test_where_nothing_was_trained_nothing_can_be_trained_on_shuffled_diagnoses(tmp_path):
    benchmark(tmp_path, "compute_heatmaps/occlusion/1-of-1", 500, 100.0, 400)
    (section,) = cost_section(tmp_path, writer="write_report")
    assert section.paragraphs == ()
    benchmark(tmp_path, "train_fold/kfold/fold-0", 0.3, "NA", "NA")
    (section,) = cost_section(tmp_path, writer="write_report")
    assert section.paragraphs == (), "a training that was too short to be measured"


def test_a_study_without_benchmarks_has_no_such_section(tmp_path):
    assert cost_section(tmp_path, writer="write_report") == []
