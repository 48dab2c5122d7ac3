"""The config against its schema: defaults, messages, and that every key is described."""

from __future__ import annotations

import copy
import json

import pytest
import yaml
from jsonschema import Draft202012Validator

from helpers.settings_cases import MINIMAL, SCHEMA, SCHEMA_PATH, SEXES, load
from voxelwhy import registry
from voxelwhy.config.settings import _all_keys, load_settings, resolve
from voxelwhy.errors import ConfigError


def _nodes(node, path=""):
    """Every key of the schema with its node, $ref followed."""
    node = resolve(node, SCHEMA)
    for branch in node.get("oneOf", []):
        yield from _nodes(branch, path)
    for key in ("items", "additionalProperties"):
        if isinstance(node.get(key), dict):
            yield f"{path}[]", resolve(node[key], SCHEMA)
            yield from _nodes(node[key], f"{path}[]")
    for key, child in node.get("properties", {}).items():
        yield f"{path}.{key}", resolve(child, SCHEMA)
        yield from _nodes(child, f"{path}.{key}")


def test_the_schema_is_a_schema():
    Draft202012Validator.check_schema(SCHEMA)


def test_every_key_is_described_and_closed():
    nodes = list(_nodes(SCHEMA))
    assert len(nodes) > 60
    for path, node in nodes:
        assert len(node.get("description", "")) > 7, path
        if node.get("type") == "object":
            free_names = isinstance(node.get("additionalProperties"), dict)
            assert node.get("additionalProperties") is False or free_names, path
        if node.get("type") in ("number", "integer") and not path.endswith(("occlusion_value", "baseline")):
            assert {"minimum", "exclusiveMinimum"} & set(node), path
            assert {"maximum", "exclusiveMaximum"} & set(node), path


def test_every_default_is_allowed_by_its_own_node():
    for path, node in _nodes(SCHEMA):
        if "default" in node and node.get("type") not in ("object", "array") and "oneOf" not in node:
            errors = list(Draft202012Validator(node).iter_errors(node["default"]))
            assert not errors, path


def test_the_papers_values_are_the_defaults():
    settings = load()
    assert settings["registration"] == {
        "resolution_mm": 1,
        "grid": "icbm",
        "transform": "syn_quick",
        "n4": False,
        "keep_transforms": False,
        "maps": [],
        "store": "results/.registrations",
        "batch": "auto",
        "skip": {},
        "limits": {"correlation_brain": 0.2},
    }
    assert settings["scans"] == {"modality": "t1w", "skull_stripped": "auto"}
    assert settings["splits"] == [
        {"kind": "kfold", "name": "kfold", "folds": 5, "validation_fraction": 0, "heatmaps": True}
    ]
    training = settings["training"]
    assert (training["network"], training["normalisation"], training["keep"]) == ("rieke2018", "voxelwise", "last")
    assert (training["learning_rate"], training["batch_size"], training["epochs"]) == (1e-4, 5, 20)
    assert (training["dropout"], training["crop"], training["precision"]) == (0.8, "none", "float32")
    assert (training["optimiser"], training["mask"], training["channels"]) == ("adam", "brain", ["t1"])
    heatmaps = settings["heatmaps"]
    # The paper explains the predicted class; the study of the paper sets that itself (tests/study/test_configs.py).
    assert (heatmaps["target"], heatmaps["output"]) == ("positive", "probability")
    assert list(heatmaps["methods"]) == list(registry.METHODS)[:5]
    assert heatmaps["methods"]["occlusion"] == {"size_mm": 40, "stride_mm": 20, "occlusion_value": 0}
    assert settings["atlas"] == {"name": "AAL", "vanished": "error", "merge_sides": False}
    assert settings["cohort"]["classes"]["positive"] == {"name": "AD", "values": ["Dementia"]}
    assert (settings["cohort"]["reprocessed"], settings["cohort"]["corrupt"]) == ("keep", [])
    assert settings["evaluation"]["bootstrap"] == 1000
    assert (training["schedule"], training["weight_decay"]) == ("constant", 0)
    assert "first_pool" not in training


def test_full_settings_follow_the_schema_and_come_back_unchanged():
    split = "splits: [{kind: kfold}, {kind: holdout, test_subjects: 3}, {kind: paper_holdout, name: paper}]"
    compact, coarse = "training: {network: compact}", "registration: {resolution_mm: 3}"
    for text in ("", split, compact, coarse, f"cohort: {{source: folder, classes: {SEXES}}}"):
        settings = load(text)
        Draft202012Validator(SCHEMA).validate(settings)
        again = load_settings(settings, SCHEMA_PATH)
        # Snakemake compares settings with their order: another one would run a finished study again.
        assert json.dumps(again) == json.dumps(settings)


def test_what_is_given_stays_and_the_config_is_not_changed():
    config = copy.deepcopy(MINIMAL) | {
        "training": {"epochs": 3},
        "heatmaps": {"methods": {"occlusion": {"size_mm": 30}}},
    }
    before = copy.deepcopy(config)
    settings = load_settings(config, SCHEMA_PATH)
    assert config == before
    assert settings["training"]["epochs"] == 3
    assert settings["heatmaps"]["methods"] == {"occlusion": {"size_mm": 30, "stride_mm": 20, "occlusion_value": 0}}


def test_names_in_the_schema_are_those_of_the_registry():
    keys = dict(_nodes(SCHEMA))
    assert keys[".training.network"]["enum"] == list(registry.NETWORKS)
    assert list(keys[".heatmaps.methods"]["properties"]) == list(registry.METHODS)
    assert list(keys[".heatmaps.methods"]["default"]) == list(registry.METHODS)[:5]  # the paper's, and Grad-CAM
    readers = [resolve(branch, SCHEMA) for branch in SCHEMA["properties"]["cohort"]["oneOf"]]
    assert [reader["properties"]["source"]["const"] for reader in readers] == list(registry.SOURCES)


def test_yaml_as_people_write_it():
    settings = load("training: {learning_rate: 1e-3, epochs: 5.0}\nheatmaps: {target: true, methods: {grad_cam: }}")
    assert settings["training"]["learning_rate"] == 1e-3
    assert repr(settings["training"]["epochs"]) == "5"
    assert settings["heatmaps"]["target"] == "true"
    assert settings["heatmaps"]["methods"] == {"grad_cam": {}}
    assert load("registration: \nheatmaps: {target: positive}")["heatmaps"]["target"] == "positive"
    assert load(f"cohort: {{source: folder, classes: {SEXES}, data_dir: d}}")["cohort"]["classes"]["drop"] == []


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("heatmaps: {target: ad}", r"heatmaps\.target cannot be used(.*\n)+.*positive, predicted, true"),
        ("trainig: {}", r"no setting trainig\n(.*\n)+.*did you mean training\?"),
        ("training: {learning_rat: 1}", r"no setting training.learning_rat\n(.*\n)+.*mean training.learning_rate\?"),
        ("epochs: 3", r"no setting epochs\n(.*\n)+.*did you mean training.epochs\?"),
        ("size_mm: 3", r"no setting size_mm\n(.*\n)+.*did you mean heatmaps.methods.occlusion.size_mm\?"),
        ("heatmaps: {methods: {gradcam: {}}}", r"heatmaps.methods.gradcam\n(.*\n)+.*heatmaps.methods.grad_cam\?"),
        ("heatmaps: {methods: {grad_cam: {layer: 3}}}", r"no setting heatmaps.methods.grad_cam.layer"),
        ("splits: [{kind: holdout, folds: 3}]", r"no setting splits\[0\].folds"),
        ("cohort: {corrupted: [a/b]}", r"mean cohort.corrupt\?"),
        (f"cohort: {{source: folder, classes: {SEXES}, corrupt: [a/b]}}", r"no setting cohort.corrupt\n"),
    ],
)
def test_a_misspelt_key_names_the_nearest_right_one(text, match):
    with pytest.raises(ConfigError, match=match):
        load(text)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("study: ../x", r"setting study cannot(.*\n)+.*'../x'"),
        ("study: 3", r"setting study cannot(.*\n)+.*3\n.*text"),
        ("seed: -1", r"setting seed cannot.*\n.*-1\n.*whole number, at least 0"),
        ("training: {dropout: 1}", r"training.dropout cannot.*\n.*1\n.*at least 0, at most 0.99"),
        ("training: {learning_rate: 0}", r"training.learning_rate cannot.*\n.*0\n.*above 0, at most 1"),
        ("training: {learning_rate: .nan}", r"training.learning_rate cannot.*\n.*nan"),
        ("training: {epochs: 2.5}", r"training.epochs cannot.*\n.*2.5\n.*whole number"),
        ("training: {epochs: true}", r"training.epochs cannot.*\n.*True"),
        ("training: {network: resnet}", r"training.network cannot.*\n.*'resnet'\n.*rieke2018, compact, small"),
        ("training: {device: gpu}", r"training.device cannot"),
        ("use_gpu: true\ntraining: {device: cpu}", r"does not use them(.*\n)+.*use_gpu: false"),
        ("training: {mask: gray_white}", r"training.mask cannot.*\n.*'gray_white'\n.*grey_white(.|\n)*path of a NIfTI"),
        ("training: {optimiser: sgd}", r"training.optimiser cannot.*\n.*'sgd'\n.*adam, adamw, rmsprop"),
        ("training: {schedule: step}", r"training.schedule cannot.*\n.*'step'\n.*constant, one_cycle, cosine"),
        ("training: {network: compact, first_pool: 0}", r"training.first_pool cannot.*\n.*0\n.*at least 1, at most 16"),
        ("evaluation: {shuffled: 1.5}", r"evaluation.shuffled cannot.*\n.*1.5\n.*at least 0, at most 1000"),
        ("training: {normalisation: scale}", r"training.normalisation cannot.*\n.*'scale'\n.*voxelwise_sd"),
        ("registration: {grid: mni152}", r"registration.grid cannot.*\n.*'mni152'\n.*icbm, mni"),
        ("training: [1]", r"setting training cannot.*\n.*\[1\]\n.*settings"),
        ("registration: {resolution_mm: 0.1}", r"resolution_mm cannot.*\n.*0.1\n.*at least 0.5, at most 8.*mm"),
        ("registration: {transform: none, n4: true}", r"n4: N4 is not applied to images[\s\S]*n4: false"),
        (
            "registration: {transform: affine, limits: {jacobian_min: 0.1}}",
            r"limits.jacobian_min: only a deformable transform has a Jacobian[\s\S]*found.*affine[\s\S]*syn_quick",
        ),
        ("registration: {limits: {jacobian: 3}}", r"no setting registration.limits.jacobian[\s\S]*did you mean"),
        ("registration: {skip: {sub-01: }}", r"registration.skip.sub-01 cannot be used"),
        ("scans: {skull_stripped: maybe}", r"skull_stripped cannot be used[\s\S]*auto, true, false"),
        ("scans: {extract: bet in out}", r"scans.extract cannot be used[\s\S]*\{scan\} and \{brain\}"),
        ("scans: {template_sha256: abc}", r"template_sha256 cannot be used[\s\S]*64 hexadecimal"),
        (
            "registration: {batch: 0}",
            r"registration.batch cannot.*\n.*0\n.*at least 1, at most 100000.*scans that a job registers",
        ),
        ("registration: {batch: many}", r"registration.batch cannot.*\n.*'many'\n.*or auto"),
        ("registration: {store: }", r"registration.store cannot.*\n.*allowed: text. Folder"),
        ("registration: {n4: 1}", r"registration.n4 cannot.*\n.*1\n.*true or false"),
        ("splits: []", r"setting splits cannot.*\n.*\[\]\n.*at least 1"),
        (
            "splits: [{kind: kfodl}]",
            r"splits\[0\].kind cannot.*\n.*'kfodl'\n.*kfold, holdout(.*\n)+.*did you mean kfold",
        ),
        ("splits: [{folds: 3}]", r"splits\[0\].kind is missing"),
        ("splits: [3]", r"splits\[0\] cannot"),
        ("splits: [{kind: kfold, folds: 1}]", r"splits\[0\].folds cannot.*\n.*1\n.*at least 2"),
        ("splits: [{kind: kfold, name: a/b}]", r"splits\[0\].name cannot.*\n.*'a/b'"),
        ("splits: [{kind: kfold, validation_fraction: 0.6}]", r"validation_fraction cannot.*\n.*0.6\n.*at most 0.5"),
        ("cohort: {source: folder}", r"cohort.classes is missing"),
        ("cohort: {source: foldr}", r"cohort.source cannot(.*\n)+.*did you mean folder"),
        ("cohort: {corrupt: [067_S_0077]}", r"cohort.corrupt\[0\] cannot.*\n.*'067_S_0077'\n.*PTID/Visit"),
        ("cohort: {corrupt: [a/b, a/b]}", r"cohort.corrupt cannot(.*\n)+.*each entry once"),
        ("heatmaps: {methods: {}}", r"heatmaps.methods cannot"),
        ("figures: {slices_mm: [1, 2, 500]}", r"figures.slices_mm\[2\] cannot.*\n.*500"),
    ],
)
def test_a_value_that_cannot_be_is_named_with_what_is_allowed(text, match):
    with pytest.raises(ConfigError, match=match):
        load(text)


def test_a_yes_that_yaml_made_true_is_explained():
    classes = "{positive: {name: A, values: [Yes]}, negative: {name: B, values: [No]}}"
    with pytest.raises(ConfigError, match=r"positive.values\[0\] cannot.*\n.*True\n(.*\n)+.*put the word in quotes"):
        load(f"cohort: {{source: folder, classes: {classes}}}")


@pytest.mark.parametrize(
    ("text", "match"),
    [
        (
            "cohort: {classes: {positive: {name: x, values: [a]}, negative: {name: X, values: [b]}}}",
            "both classes have",
        ),
        ("cohort: {classes: {positive: {name: TP, values: [a]}, negative: {name: X, values: [b]}}}", "group of scans"),
        ("cohort: {classes: {positive: {name: A, values: [a]}, negative: {name: B, values: [b, a]}}}", "two lists"),
        (
            "cohort: {classes: {positive: {name: A, values: [a, 1]}, negative: {name: B, values: [b]}, drop: ['1']}}",
            "two lists, positive.values and drop",
        ),
        ("splits: [{kind: kfold}, {kind: kfold, folds: 3}]", r"two splits have the same name\n.*'kfold'"),
        (
            "training: {keep: best_validation}",
            r"keep is best_validation, but the split kfold has no validation",
        ),
        ("training: {patience: 5}", r"patience is 5, but the split kfold has no validation sub(.*\n)+.*or no patience"),
        ("training: {calibrate: temperature}", r"calibrate is temperature, but the split kfold has no validation"),
        (
            "training: {patience: 5, schedule: cosine}\nsplits: [{kind: kfold, validation_fraction: 0.1}]",
            r"patience ends a training early, but its schedule.*\n.*'schedule: cosine'\n.*schedule: constant, or no",
        ),
        ("atlas: {name: mine}", r"no atlas of this name(.*\n)+.*AAL, AAL3, HCPEx, Neuromorphometrics \(installed"),
        ("atlas: {image: a.nii}", "atlas.table is missing"),
        ("atlas: {table: a.tsv, name: mine}", "atlas.image is missing"),
        ("atlas: {image: a.nii, table: a.tsv}", "the name of a built-in atlas"),
        ("heatmaps: {methods: {occlusion: {stride_mm: 41}}}", "stride_mm is above size_mm"),
        ("training: {first_pool: 2}", r"first_pool belongs to the network compact\n.*2, network: rieke2018"),
        ("training: {network: small, first_pool: 1}", r"first_pool belongs to the network compact\n.*network: small"),
        (
            "model: {architecture: my.net:build}\ntraining: {first_pool: 2}",
            r"first_pool belongs to the network compact\n.*network: your own",
        ),
        (
            "training: {network: small_dataset}",
            r"guided_backprop is defined for ReLU, but the network small_dataset has none\n(.*\n)*.*"
            r"allowed: sensitivity_analysis, occlusion, area_occlusion, grad_cam\n",
        ),
    ],
)
def test_settings_that_do_not_go_together(text, match):
    with pytest.raises(ConfigError, match=match):
        load(text)


def test_settings_that_go_together():
    validated = "\nsplits: [{kind: kfold, validation_fraction: 0.1}]"
    training = load("training: {patience: 5, calibrate: temperature, average: ema, seeds: 3}" + validated)["training"]
    assert (training["patience"], training["average"], training["seeds"]) == (5, "ema", 3)
    plain = load("")["training"]
    assert "patience" not in plain
    assert (plain["average"], plain["seeds"], plain["calibrate"]) == ("none", 1, "none")
    settings = load("training: {keep: best_validation}" + validated)
    assert settings["splits"][0]["validation_fraction"] == 0.1
    assert load("atlas: {image: a.nii, table: a.tsv, name: mine}")["atlas"]["image"] == "a.nii"
    small = load("training: {network: small_dataset, mask: a/my.nii.gz}\nheatmaps: {methods: {grad_cam: {}}}")
    assert small["training"]["mask"] == "a/my.nii.gz"
    settings = load("heatmaps: {methods: {sensitivity_analysis: {}}}\nregistration: {resolution_mm: 8}")
    assert settings["heatmaps"]["methods"] == {"sensitivity_analysis": {}}


def test_shuffled_diagnoses_are_a_default_of_simulated_cohorts_alone():
    """19 draws are the fewest with which p can be 0.05; where scans are somebody's own, nobody asked for the time."""
    assert load()["evaluation"]["shuffled"] == 0
    assert load("evaluation: {shuffled: 19}")["evaluation"]["shuffled"] == 19
    simulated = {"study": "x", "simulation": {"regions": {"a": {"labels": ["A"], "change": -0.1, "source": "s"}}}}
    assert load(base=simulated)["evaluation"]["shuffled"] == 19
    assert 1 / (1 + 19) == 0.05 < 1 / (1 + 18)
    assert load("evaluation: {shuffled: 0}", base=simulated)["evaluation"]["shuffled"] == 0
    assert load("evaluation: {bootstrap: 100}", base=simulated)["evaluation"]["shuffled"] == 19


def test_a_cohort_needs_a_table_unless_it_is_simulated():
    with pytest.raises(ConfigError, match=r"cohort.table is missing(.*\n)+.*simulation"):
        load_settings({"study": "x"}, SCHEMA_PATH)
    settings = load_settings(
        {"study": "x", "simulation": {"regions": {"a": {"labels": ["A"], "change": -0.1, "source": "s"}}}}, SCHEMA_PATH
    )
    assert "table" not in settings["cohort"]
    assert load_settings(settings, SCHEMA_PATH) == settings
    assert "simulation" not in load()
    with pytest.raises(ConfigError, match="setting study is missing"):
        load_settings({"cohort": {"table": "t"}}, SCHEMA_PATH)


def test_where_names_are_free_each_entry_follows_its_schema(tmp_path):
    region = {"change": {"type": "number", "maximum": 0, "default": -0.1}}
    region = {"type": "object", "additionalProperties": False, "properties": region}
    schema = copy.deepcopy(SCHEMA)
    regions = {"type": "object", "additionalProperties": region}
    schema["properties"]["simulation"] = {"type": "object", "properties": {"regions": regions}}
    (tmp_path / "schema.yaml").write_text(yaml.safe_dump(schema))

    def load(text):
        config = {"study": "x", "simulation": {"regions": yaml.safe_load(text)}}
        return load_settings(config, tmp_path / "schema.yaml")["simulation"]["regions"]

    assert load("{a: {}, b: {change: -1e-2}}") == {"a": {"change": -0.1}, "b": {"change": -0.01}}
    with pytest.raises(ConfigError, match=r"simulation.regions.a.change cannot.*\n.*3\n.*at most 0"):
        load("{a: {change: 3}}")
    with pytest.raises(ConfigError, match=r"no setting simulation.regions.a.chnge(.*\n)+.*regions.a.change\?"):
        load("{a: {chnge: 3}}")


def test_a_config_that_is_none():
    with pytest.raises(ConfigError, match=r"this is not a config.*\n.*\['a'\]"):
        load_settings(["a"], SCHEMA_PATH)


def test_all_keys_are_found_for_hints():
    keys = list(_all_keys(SCHEMA, SCHEMA))
    assert {"splits.folds", "cohort.classes.positive.name", "heatmaps.methods.occlusion.size_mm"} <= set(keys)


@pytest.mark.parametrize(
    ("resolution", "asked", "used"), [(1, (40, 20), (40, 20)), (3, (40, 20), (42, 21)), (2.5, (36, 27), (35, 27.5))]
)
def test_occlusion_lengths_become_what_the_grid_can_have(resolution, asked, used):
    """Whole voxels, and an even number of them for a window, which reaches half its size to each side."""
    occlusion = {"size_mm": asked[0], "stride_mm": asked[1]}
    sections = {"registration": {"resolution_mm": resolution}, "heatmaps": {"methods": {"occlusion": occlusion}}}
    settings = load_settings(MINIMAL | sections, SCHEMA_PATH)
    found = settings["heatmaps"]["methods"]["occlusion"]
    assert (found["size_mm"], found["stride_mm"]) == used
    assert load_settings(settings, SCHEMA_PATH) == settings


def test_a_slice_outside_the_template_is_refused_at_once():
    with pytest.raises(ConfigError, match=r"outside the template\n.*100\n.*-132 to 96 mm for coronal"):
        load_settings(MINIMAL | {"figures": {"slices_mm": [0, 100]}}, SCHEMA_PATH)
    mni = {"figures": {"slices_mm": [-128]}, "registration": {"grid": "mni"}}
    with pytest.raises(ConfigError, match=r"outside the template\n.*-128\n.*-126 to 90 mm for coronal"):
        load_settings(MINIMAL | mni, SCHEMA_PATH)
    assert load_settings(MINIMAL | mni | {"registration": {}}, SCHEMA_PATH)["figures"]["slices_mm"] == [-128]
