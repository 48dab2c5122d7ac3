"""What a person is told at the end of a run in which jobs failed."""

import io
import logging

import pytest

from voxelwhy.jobs.failures import FailedJobs


def record(**fields):
    made = logging.makeLogRecord({"msg": "", "levelno": logging.ERROR})
    made.__dict__.update(fields)
    return made


class Run:
    """Records as Snakemake 9 logs them (jobs.py: log_info, get_log_error_info, GroupJob.log_error)."""

    def __init__(self, folder):
        self.out, self.folder = io.StringIO(), folder
        self.handler = FailedJobs(stream=self.out)

    def start(self, job, rule, **wildcards):
        resources = {"mem_mb": 4000, "runtime": 60, "tmpdir": "/tmp"}
        info = {"jobid": job, "rule_name": rule, "wildcards": wildcards, "resources": resources, "log": []}
        self.handler.emit(record(event="job_info", **info))

    def log(self, name, text):
        path = self.folder / name
        path.write_text(text)
        return str(path)

    def info(self, job, rule, logs, output=(), **fields):
        return {"jobid": job, "rule_name": rule, "rule_msg": None, "log": logs, "output": list(output)} | fields

    def fail(self, job, rule, *logs, said=None, cause=None):
        if cause:
            text = f"RuleException:\nCalledProcessError in file x.smk, line 3:\nCommand 'set -euo pipefail; x' {cause}."
            self.handler.emit(record(event="error", msg=text, exception="RuleException"))
        self.handler.emit(record(event="job_error", indent=False, **self.info(job, rule, list(logs), rule_msg=said)))

    def end(self):
        """What is printed at the end, and not before."""
        before = len(self.out.getvalue())
        self.handler.show_end()
        return self.out.getvalue()[before:]


@pytest.fixture
def run(tmp_path):
    return Run(tmp_path)


def test_a_failed_job_is_told_with_the_end_of_its_log(run):
    run.start(3, "train_fold", split="holdout", fold="0")
    log = run.log(
        "a.log", "".join(f"12:00:{n:02d} INFO line {n}\n" for n in range(20)) + "12:01:00 ERROR the loss is nan\n"
    )
    run.fail(3, "train_fold", log, cause="returned non-zero exit status 1")
    assert run.out.getvalue() == "FAILED: train fold, split holdout, fold 0 (details at the end of the run)\n"
    text = run.end()
    assert "1 job failed. Finished results are kept.\n\ntrain fold, split holdout, fold 0\n" in text
    assert f"  log:    {log}, which ends with:\n          12:00:06 INFO line 6\n" in text
    assert text.count("INFO line") == 14
    assert "the loss is nan" in text
    assert "  to do:  solve the problem that its log reports\n" in text
    assert text.endswith(
        "To continue: solve the problems listed above, then run the same command again. "
        "Only failed jobs, and jobs that depend on them, will run.\n"
    )
    assert "pipefail" not in text and "returned non-zero exit status 1." in text


@pytest.mark.parametrize(
    ("cause", "said", "advice"),
    [
        (
            "died with <Signals.SIGKILL: 9>",
            None,
            "killed, most likely for lack of memory (it had requested 4000 MB): run fewer",
        ),
        ("returned non-zero exit status 137", None, "run fewer jobs at once (--cores)"),
        ("died with <Signals.SIGTERM: 15>", None, "it was stopped from outside"),
        (None, "SLURM-job '9' failed, SLURM status is: 'OUT_OF_MEMORY'. ", "--set-resources register_scan:mem_mb=8000"),
        (None, "SLURM-job '9' failed, SLURM status is: 'TIMEOUT'. ", "--set-resources register_scan:runtime=120"),
        (None, "SLURM-job '9' failed due to a node failure, SLURM status is: 'NODE_FAIL'.", "run it again"),
        (None, "SLURM-job '9' failed, SLURM status is: 'CANCELLED'. ", "it was stopped from outside"),
    ],
)
def test_what_to_do_follows_from_how_it_ended(run, cause, said, advice):
    run.start(1, "register_scan", scan="s1")
    own = run.log("own.log", "")
    cluster = [run.log("slurm.log", "")] if said else []
    run.fail(1, "register_scan", own, *cluster, cause=cause, said=said)
    text = run.end()
    assert advice in text
    assert f"{own} (nothing was logged)" in text
    assert (said or cause.replace("<Signals.", "").replace(">", "")) in text


def test_where_the_rules_log_is_empty_the_clusters_own_is_shown(run):
    run.start(1, "register_scan", scan="s1")
    own = run.log("own.log", "")
    cluster = run.log("99.log", "host: node7\nslurmstepd: error: Detected 1 oom_kill event in StepId=9.0\n")
    run.fail(1, "register_scan", own, cluster, said="SLURM-job '99' failed, SLURM status is: 'FAILED'. ")
    text = run.end()
    assert (
        f"{cluster}, which ends with:\n          host: node7\n          slurmstepd: error: Detected 1 oom_kill" in text
    )
    assert "mem_mb=8000" in text


def test_where_the_rules_log_says_it_the_clusters_is_only_named(run):
    run.start(1, "a")
    own, cluster = run.log("own.log", "ERROR no such column\n"), run.log("99.log", "Building DAG of jobs...\n")
    run.fail(1, "a", own, cluster, said="SLURM-job '99' failed, SLURM status is: 'FAILED'. ")
    text = run.end()
    assert "ERROR no such column" in text and "Building DAG" not in text and f"and:    {cluster}" in text


def test_of_a_group_only_the_members_that_failed_are_told(run):
    """Snakemake reports every member of a group as failed, those that ended well too."""
    done = run.log("t1.nii", "x")
    cluster = run.log("group.log", "the group\n")
    infos = []
    for job, (output, text) in enumerate([(done, "fine\n"), ("missing", "ERROR the disk is full\n"), ("no", "")]):
        run.start(job, "register_scan", scan=f"s{job}")
        infos.append(run.info(job, "register_scan", [run.log(f"{job}.log", text)], [output]))
    run.handler.emit(record(event="group_error", groupid="g", aux_logs=[cluster], job_error_info=infos))
    for info in infos:
        run.handler.emit(record(event="job_error", indent=True, **info))
    text = run.end()
    assert "1 job failed" in text and "scan s1" in text and "ERROR the disk is full" in text
    assert "scan s0" not in text and "scan s2" not in text
    assert f"and:    {cluster}" in text


def test_the_member_that_the_groups_log_names_is_the_one(run):
    """A chain that breaks in its middle: what waits for it wrote nothing either, and neither has a log."""
    text = (
        "Error in rule split_folds:\n    message: None\n    jobid: 0\n    input: a.tsv\n    output: b.tsv\n    log: x\n"
    )
    cluster = run.log("group.log", f"Command 'x' died with <Signals.SIGKILL: 9>.\n[Thu]\n{text}Shutting down\n")
    infos = []
    for job, (rule, output) in enumerate(
        [("split_folds", "b.tsv"), ("audit_folds", "c.json"), ("split_folds", "d.tsv")]
    ):
        run.start(job, rule, split=f"s{job}")
        infos.append(run.info(job, rule, [str(run.folder / f"none{job}.log")], [output]))
    run.handler.emit(record(event="group_error", groupid="g", aux_logs=[cluster], job_error_info=infos))
    text = run.end()
    assert "1 job failed" in text and "split folds, split s0\n" in text
    assert "--set-resources split_folds:mem_mb=8000" in text


def test_a_group_that_died_before_any_log_is_told_with_the_clusters_log(run):
    run.start(0, "register_scan", scan="s0")
    cluster = run.log("group.log", "slurmstepd: error: *** JOB 9 CANCELLED AT x DUE TO TIME LIMIT ***\n")
    info = run.info(0, "register_scan", [str(run.folder / "none.log")], ["missing"])
    run.handler.emit(record(event="group_error", groupid="g", aux_logs=[cluster], job_error_info=[info]))
    assert "runtime=120" in run.end()


def test_a_job_that_ended_well_when_it_was_tried_again_did_not_fail(run):
    for job in (1, 2):
        run.start(job, "a", scan=str(job))
        run.fail(job, "a", run.log(f"{job}.log", "no\n"))
    run.start(1, "a", scan="1")
    run.handler.emit(record(event="job_finished", job_id=1))
    text = run.end()
    assert "1 job failed" in text and "scan 2" in text and "scan 1" not in text


def test_of_many_failed_jobs_five_are_shown_and_the_others_named(run):
    for job in range(12):
        run.start(job, "register_scan", scan=f"s{job:02d}")
        run.fail(job, "register_scan", run.log(f"{job}.log", f"ERROR number {job}\n"))
    text = run.end()
    assert "12 jobs failed." in text
    assert text.count("ERROR number") == 5
    assert "And 7 more: register scan, scan s05; register scan, scan s06" in text


def test_an_error_that_belongs_to_no_job_is_told_too(run):
    said = "MissingOutputException in rule a: Job 5 completed successfully, but some output files are missing."
    run.handler.emit(record(event="error", msg=said, exception="MissingOutputException"))
    assert said in run.end()


def test_a_run_that_was_interrupted_says_how_to_go_on(run):
    assert run.end() == "\nThe run stopped early. Finished results are kept: to continue, run the same command again.\n"


def test_a_full_disk_under_snakemake_itself_is_told_without_a_traceback(run):
    text = (
        "Traceback (most recent call last):\n  File x\nOSError: [Errno 28] No space left on device: 'results/a/logs'\n"
    )
    error = record(event="error", msg=text, exception="OSError")
    assert run.handler.says_it_better(error)
    run.handler.emit(error)
    told = run.out.getvalue()
    assert "the disk is full\n  where:   file results/a/logs" in told and "Traceback" not in told
    other = record(event="error", msg="Traceback (most recent call last):\nKeyError: 'x'\n", exception="KeyError")
    assert not run.handler.says_it_better(other)
