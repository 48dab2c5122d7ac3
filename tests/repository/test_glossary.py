"""One word for one thing: words that voxelwhy no longer uses occur in no text that people read.

The test reads README, CHANGELOG and docs without their code, the descriptions of the schema, strings and docstrings of
the scripts and the package, the template of the report, and docstrings and messages of the rules.
"""

from __future__ import annotations

import ast
import re
from typing import NamedTuple

import pytest
import yaml

from helpers.paths import ROOT, SCHEMA, SCRIPTS

#: Where "cell" would mean one run of a comparison: elsewhere cells are those of grids, tables and networks.
COMPARISON = r"/comparison/|/comparison\.smk|cells?\.(py|smk)$|docs/trust/"


class Word(NamedTuple):
    """A word to avoid: what matches it, what to write, and where it counts."""

    pattern: str
    instead: str
    where: str = ""


WORDS = [
    Word(r"\b(a|the|any|no|one|false) find\b(?! \w+ing)|\b(few|all|no|false|the|such|of) finds\b", "detection"),
    Word(r"\bfound by\b", "detected by"),
    Word(r"\bbeside\b", "next to, together with, compared with"),
    Word(r"\b(held|hold|holds|holding)\b(\W+\w+){0,3}\W+against\b", "compared with"),
    Word(r"(?<![.'\w])others' \w|\b(maps|heatmaps|weights) of others\b", "imported (maps), existing (weights)"),
    Word(r"\bjudg(e|es|ed|ing|ements?)\b", "classified, classification"),
    Word(r"\banew\b", "again"),
    Word(r"\bdoors?\b", "script context"),
    Word(r"(?<![/<.\w])cells?(?![/>\w(]|\.\w)", "combination, run", COMPARISON),
    Word(r"\bcells? (of (a|the|this|each) comparison|(is|are|was|were) run)\b", "combination, run"),
    Word(r"\b(is|are|was|were|be) wanted\b", "is expected"),
    Word(r"\bwhat \w+ (comes?|came) to\b", "summary"),
    Word(r"\bwhat (\w+ ){1,2}took\b", "run time and memory"),
    Word(r"\b(learn\w*|kn[eo]ws?) nothing\b|\bnothing (is|was|were) learn\w+\b", "trained on shuffled diagnoses"),
    Word(r"\bbe had\b", "is possible, is not possible"),
    Word(r"\bleft out,? and said\b", "skipped and reported"),
    Word(
        r"\b(is|are|was|were|be|been|not) said\b|(?<!network\s)\bsa(ys?|id) so\b|\bnobody sa(ys|id)\b",
        "reported, not reported",
    ),
    Word(r"\bnobody foresaw\b", "failed with an unexpected error"),
]

#: A sentence that each line above catches, and sentences of which none catches anything.
CAUGHT = [
    "how often each method claims a find",
    "regions found by occlusion",
    "the scan beside it",
    "each map is held against the truth",
    "others' maps are drawn",
    "scans are judged by the model",
    "it is made anew",
    "the door of every script",
    "one row a cell and method",
    "a cell is run again",
    "a whole number is wanted",
    "what they come to is one figure",
    "what the study took, by rule",
    "networks that know nothing",
    "a combination that cannot be had",
    "it is left out and said",
    "which was not said",
    "stopped on something that nobody foresaw",
]
FREE = [
    "To find the scans, name the folder; besides, files are found below it and found again.",
    "A cell of the grid, each cell of the last convolution, the others and the others of its group.",
    "Why did the network say so? It says which column is missing, and nobody was scanned twice.",
    "what a rule takes, and the cells of a table; results/mine/cells/<cell>.json",
]


class Text(NamedTuple):
    """A piece of text and where it stands."""

    path: str
    line: int
    text: str


def markdown(path):
    """The lines of a page without code: fences, indented blocks, inline code and the targets of links are left out."""
    fenced = False
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        fence = line.lstrip().startswith("```")
        if not (fenced or fence or line.startswith("    ")):
            yield Text(_name(path), number, without_code(re.sub(r"\]\([^)]*\)", "]", line)))
        fenced ^= fence


def joined(texts):
    """A page as one text a paragraph, so that a phrase over a line's end is seen too."""
    paragraph = []
    for text in [*texts, Text("", 0, "")]:
        if paragraph and (not text.text.strip() or text.line != paragraph[-1].line + 1):
            yield Text(paragraph[0].path, paragraph[0].line, "\n".join(part.text for part in paragraph))
            paragraph = []
        if text.text.strip():
            paragraph.append(text)


def descriptions(path):
    """Every `description` of a schema."""

    def walk(node):
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                if key.value == "description" and isinstance(value, yaml.ScalarNode):
                    yield Text(_name(path), value.start_mark.line + 1, without_code(value.value))
                yield from walk(value)
        elif isinstance(node, yaml.SequenceNode):
            for value in node.value:
                yield from walk(value)

    yield from walk(yaml.compose(path.read_text(encoding="utf-8")))


def strings(path, source=None):
    """The string constants of a module that hold a space, docstrings and the constant parts of f-strings included."""

    def walk(node):
        if isinstance(node, ast.JoinedStr):
            parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
            yield node.lineno, "".join(parts)
            for part in node.values:
                if isinstance(part, ast.FormattedValue):
                    yield from walk(part.value)
        elif isinstance(node, ast.Constant):
            if isinstance(node.value, str):
                yield node.lineno, node.value
        else:
            for child in ast.iter_child_nodes(node):
                yield from walk(child)

    source = path.read_text(encoding="utf-8") if source is None else source
    for line, text in walk(ast.parse(source)):
        if " " in text.strip():
            yield Text(_name(path), line, without_code(text))


def rule_texts(path):
    """The docstrings and messages of a rule file, without what Snakemake fills in at run time."""
    source = path.read_text(encoding="utf-8")
    for match in re.finditer(r'"""(.*?)"""|^\s*message:\s*"([^\n]*)"$', source, re.S | re.M):
        text = re.sub(r"\{[^{}]*\}", "…", match[1] or match[2] or "")
        yield Text(_name(path), source.count("\n", 0, match.start()) + 1, without_code(text))


def template(path):
    """A page of HTML without its tags, and without what Jinja fills in."""
    text = re.sub(r"<style>.*?</style>", _blank, path.read_text(encoding="utf-8"), flags=re.S)
    text = re.sub(r"\{[#%{].*?[#%}]\}|<[^>]*>", _blank, text, flags=re.S)
    for number, line in enumerate(text.splitlines(), start=1):
        yield Text(_name(path), number, line)


def without_code(text):
    """`text` without what stands in backticks; the lines stay where they are."""
    return re.sub(r"``[^`]*``|`[^`]*`", _blank, text)


def _blank(match):
    return "…" + "\n" * match[0].count("\n")


def _name(path):
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.as_posix()


def problems(text):
    """The words to avoid in a text: file and line, the word, and what to write instead."""
    for word in WORDS:
        if re.search(word.where, text.path):
            for match in re.finditer(word.pattern.replace(" ", r"\s+"), text.text, re.I):
                line = text.line + text.text.count("\n", 0, match.start())
                yield f"{text.path}:{line}: '{' '.join(match[0].split())}': write {word.instead}"


SOURCES = {
    "pages": (markdown, [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), ROOT / "results" / "README.md"]),
    "schema": (descriptions, [SCHEMA]),
    "scripts": (strings, SCRIPTS.glob("*.py")),
    "package": (strings, (SCRIPTS / "voxelwhy").rglob("*.py")),
    "report": (template, (SCRIPTS / "voxelwhy").rglob("*.j2")),
    "rules": (rule_texts, [ROOT / "workflow" / "Snakefile", *(ROOT / "workflow" / "rules").glob("*.smk")]),
}


@pytest.mark.parametrize("source", SOURCES)
def test_no_word_that_the_glossary_replaced_is_left(source):
    read, paths = SOURCES[source]
    texts = [text for path in sorted(paths) for text in (joined(read(path)) if read is markdown else read(path))]
    assert len(texts) > 20, "hardly any text was read"
    found = [problem for text in texts for problem in problems(text)]
    assert not found, "\n" + "\n".join(found)


@pytest.mark.parametrize(("word", "sentence"), list(zip(WORDS, CAUGHT, strict=True)), ids=lambda value: str(value)[:30])
def test_each_word_is_caught(word, sentence):
    told = "\n".join(problems(Text("docs/trust/page.md", 7, sentence)))
    assert f"write {word.instead}" in told
    assert told.startswith("docs/trust/page.md:7: '")


@pytest.mark.parametrize("sentence", FREE)
def test_other_senses_of_these_words_are_free(sentence):
    assert not list(problems(Text("docs/workflow/page.md", 1, sentence)))


def caught(texts):
    """The words that are caught in `texts`, with their lines."""
    found = [problem for text in texts for problem in problems(text)]
    return [(int(problem.split(":")[1]), problem.split("'")[1]) for problem in found]


def test_the_text_of_a_page_is_read_and_its_code_is_not(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "One\ndoor.\n\n```yaml\na: door\n```\n\n    a door\n\nA `door`, a [link](door.md), cannot be\nhad.\n"
    )
    assert caught(joined(markdown(page))) == [(2, "door"), (10, "be had")]


def test_strings_of_a_module_are_read_and_names_are_not():
    source = """
def open_door(door):
    '''Open a door.'''
    show("door", "no door")
    return f"a {door} beside {open_door('is wanted here')}"
"""
    found = caught(strings(ROOT / "module.py", source))
    assert found == [(3, "door"), (4, "door"), (5, "beside"), (5, "is wanted")]


def test_rules_templates_and_schemas_are_read(tmp_path):
    rule, report, schema = (tmp_path / name for name in ("a.smk", "a.j2", "a.yaml"))
    rule.write_text('rule a:\n    """Do {wildcards.door} anew."""\n    message: "beside {x}"\n    input: "a door"\n')
    assert caught(rule_texts(rule)) == [(2, "anew"), (3, "beside")]
    report.write_text("<p class='door'>{{ a.door }} {% if door %}fine{% endif %}</p>\n<p>it is not said</p>\n")
    assert caught(template(report)) == [(2, "not said")]
    schema.write_text("description: a door\nproperties: {door: {description: fine}}\n")
    assert caught(descriptions(schema)) == [(1, "door")]
