"""What all rules share, added to each once: log, benchmark, environment, digest of the code, default resources."""

from __future__ import annotations

import re
from itertools import pairwise
from pathlib import Path

from voxelwhy.jobs.code_digest import code_digest


def complete_rules(rules, scripts, *, environment, resources, overwritten):
    """Give each rule that runs a script what it does not set itself.

    The log and the benchmark lie at `<logs>/<rule>/<wildcards>.log` and `<benchmarks>/<rule>/<wildcards>.tsv`, with the
    wildcards of the first output in their order. `params.code` is the digest of the script; a rule whose script loads
    modules by name sets it itself. A rule without resources gets those of a job on tables.

    Parameters
    ----------
    rules : iterable of snakemake.rules.Rule, after the whole workflow has been read
    scripts : path of the folder of the scripts
    environment : str, path of the environment, relative to the rule files
    resources : {name: function}, of a job on tables
    overwritten : {rule: {resource: value}}, of the command line (--set-resources), which stay
    """
    for rule in rules:
        if rule.script is None:
            continue
        # fold-0 as in the results: a number alone would not tell what it counts.
        named = [f"fold-{{{name}}}" if name == "fold" else f"{{{name}}}" for name in wildcards_of(rule.output[0])]
        place = "/".join([rule.name, *named])
        if not rule.log:
            rule.log_modifier = rule.output_modifier
            rule.set_log(f"<logs>/{place}.log")
        if rule.benchmark is None:
            rule.benchmark_modifier = rule.output_modifier
            rule.benchmark = f"<benchmarks>/{place}.tsv"
        if rule.conda_env is None:
            rule.conda_env = environment
        if rule.ruleinfo.resources is None:
            for name in set(resources).difference(overwritten.get(rule.name, ())):
                rule.resources[name] = resources[name]
        if "code" not in dict(rule.params.items()):
            rule.set_params(code=code_digest(Path(scripts, Path(rule.script).name)))


def wildcards_of(pattern):
    """Names of the wildcards of a path, each once, in their order.

    >>> wildcards_of("splits/{split,a|b}/fold-{fold}/model.pt")
    ['split', 'fold']
    """
    return list(dict.fromkeys(re.findall(r"\{(\w+)(?:,[^{}]*(?:\{[^{}]*\}[^{}]*)*)?\}", str(pattern))))


def named_profiles(words):
    """The profiles that a Snakemake command line names, in their order: nested studies are run with them too.

    >>> named_profiles(["snakemake", "--profile", "a", "--profile=b", "--cores", "1"])
    ['a', 'b']
    """
    return [
        word.partition("=")[2] if "=" in word else after
        for word, after in pairwise([*words, ""])
        if word == "--profile" or word.startswith("--profile=")
    ]
