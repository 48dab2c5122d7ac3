"""Config files that Snakemake cannot read: each is refused with its file, its line and what to do."""

from __future__ import annotations

import pytest

from voxelwhy.config.config_syntax import check_syntax, refuse_unreadable
from voxelwhy.errors import ConfigError

VALID = "study: a\ncohort: {source: folder}\n"


def refusal(tmp_path, content):
    path = tmp_path / "study.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError) as error:
        check_syntax(path)
    message = str(error.value)
    assert f"file {path}" in message
    return message


@pytest.mark.parametrize(
    ("text", "row", "found", "why"),
    [
        ("study: a\ncohort:\n\tsource: folder\n", 3, r"'\tsource: folder'", "tabs at the start"),
        ("study: a\ncohort:\n  source: folder\n \ttable: t\n", 4, r"' \ttable: t'", "tabs at the start"),
        ("study: a\ncohort:\n  source: folder\n   table: t\n", 4, "'   table: t'", "mapping values are not allowed"),
        ("study: a\ncohort: {source: folder\n", 2, "'cohort: {source: folder'", "while parsing a flow mapping"),
        ('study: "a\nseed: 1\nmore: 2\n', 1, "'study: \"a'", "while scanning a quoted scalar"),
        ("study: a\nsplits:\n- kind: kfold\n folds: 3\n", 4, "' folds: 3'", "expected <block end>"),
        ("study: a\n---\nstudy: b\n", 2, "'---'", "but found another document"),
        ("study: a\nseed: !five 5\n", 2, "'seed: !five 5'", "could not determine a constructor"),
    ],
)
def test_what_is_no_yaml_is_refused_with_its_line(tmp_path, text, row, found, why):
    message = refusal(tmp_path, text)
    assert "not valid YAML" in message and f", row {row}\n" in message
    assert f"found:   {found}" in message and why in message


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", ["is empty", "the README shows a config"]),
        ("\n# study: a\n", ["is empty"]),
        ("null\n", ["is empty"]),
        ("# a list\n- study: a\n", ["has no settings", "row 2", "'- study: a'", "name: value"]),
        ('["study"]', ["has no settings", "'[\"study\"]'"]),
        ("study a\n", ["has no settings", "row 1", "'study a'"]),
        ("study: a\nlabel: caf\xe9\n".encode("latin-1"), ["not UTF-8", "row 2", "'label: café'", "encoding UTF-8"]),
        ("study: a\n".encode("utf-16"), ["not UTF-8", "row 1"]),
        ("study: a\nlabel: \x07\n", ["not valid YAML", "row 2", "#x0007"]),
        ("study: a\nsince: 2006-02-31\n", ["not valid YAML", "day is out of range"]),
    ],
)
def test_what_holds_no_settings_is_refused(tmp_path, content, words):
    message = refusal(tmp_path, content)
    assert all(word in message for word in words), message


@pytest.mark.parametrize("text", [VALID, '{\n\t"study": "a"\n}', "\ufeff" + VALID, "# first\n\n" + VALID, "{}"])
def test_settings_pass_and_json_may_have_tabs(tmp_path, text):
    (tmp_path / "study.yaml").write_text(text, encoding="utf-8")
    check_syntax(tmp_path / "study.yaml")


def test_a_missing_file_is_named_with_the_nearest(tmp_path):
    (tmp_path / "adni_3t.yaml").write_text(VALID)
    with pytest.raises(ConfigError, match=r"no such config file\n.*adni_3.yaml\n.*did you mean .*adni_3t.yaml\?"):
        check_syntax(tmp_path / "adni_3.yaml")
    with pytest.raises(ConfigError, match=r"no such config file\n.*elsewhere/a.yaml$"):
        check_syntax(tmp_path / "elsewhere" / "a.yaml")
    with pytest.raises(ConfigError, match=r"no such config file\n.*none.yaml$"):  # the ending alone makes no name near
        check_syntax(tmp_path / "none.yaml")
    with pytest.raises(ConfigError, match=r"cannot be read\n.*\n.*Is a directory"):
        check_syntax(tmp_path)


def test_the_files_of_the_command_line_are_checked_and_else_the_default(tmp_path):
    good, bad, none = (tmp_path / name for name in ("good.yaml", "bad.yaml", "none.yaml"))
    good.write_text(VALID)
    bad.write_text("study:\n\ta\n")
    refuse_unreadable(["all", "--configfile", str(good), "--cores", "1"], bad)
    refuse_unreadable(["--config", "a=1", "--cores", "1"], none)  # --config is no abbreviation of --configfile
    for arguments, default in (
        (["-np", "--configfile", str(good), str(bad), "--cores", "1"], good),
        ([f"--configfile={bad}"], good),
        (["--cores", "1"], bad),
    ):
        with pytest.raises(SystemExit, match=r"not valid YAML\n.*bad.yaml, row 2"):
            refuse_unreadable(arguments, default)
