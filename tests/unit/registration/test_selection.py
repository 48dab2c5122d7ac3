"""Selection of registered scans: everything is accounted for, with reasons and by class."""

from __future__ import annotations

import pandas as pd
import pytest

from voxelwhy.errors import ConfigError, InputError
from voxelwhy.io.tables import DROPPED, EXCLUDED, SCANS, SELECTED, read_table, write_table
from voxelwhy.registration.selection import exclusion_counts, require_known, select_scans


@pytest.fixture
def scans():
    rows = [("s1", "p1", "AD"), ("s2", "p2", "CN"), ("s3", "p3", "AD"), ("s4", "p3", "AD"), ("s5", "p4", "CN")]
    frame = pd.DataFrame(rows, columns=["scan_id", "subject_id", "label"])
    frame = frame.assign(session="Screening", age=70.0, sex=None, scan_date=None, image_id=None)
    return frame.assign(path="a.nii")[list(SCANS.columns)]


@pytest.fixture
def dropped():
    rows = [("t.csv", 3, None, "p9", None, "MCI", "class not used", None)]
    rows.append(("t.csv", 5, None, None, None, None, "no subject", None))
    return pd.DataFrame(rows, columns=list(DROPPED.columns))


@pytest.fixture
def qualities(scans):
    return {
        scan: {
            "scan_id": scan,
            "status": "ok",
            "reason": None,
            "skull_stripped": True,
            "scan_cm3": 1500.0,
            "correlation_brain": 0.5 + number / 10,
            "mask_dice": 0.9,
            "jacobian_min": None,
            "jacobian_max": None,
            "voxel_hash": str(number) * 64,
            "t1_hash": "f" * 64,
            "maps": {},
        }
        for number, scan in enumerate(scans["scan_id"])
    }


def fail(quality, reason):
    quality |= {"status": "failed", "reason": reason, "correlation_brain": None, "mask_dice": None, "voxel_hash": None}


def select(scans, dropped, qualities, **options):
    return select_scans(scans, dropped, qualities, {scan: f"{scan}/t1.nii" for scan in scans["scan_id"]}, **options)


def test_everything_is_accounted_for(scans, dropped, qualities, tmp_path):
    fail(qualities["s3"], "registration failed: ITK gave up")
    fail(qualities["s5"], "the image file is empty")
    selected, excluded = select(scans, dropped, qualities)
    assert selected["scan_id"].tolist() == ["s1", "s2", "s4"]
    assert selected["t1"].tolist() == ["s1/t1.nii", "s2/t1.nii", "s4/t1.nii"]
    assert selected["correlation_brain"].tolist() == pytest.approx([0.5, 0.6, 0.8])
    assert len(selected) + len(excluded) == len(scans) + len(dropped)
    later = excluded[excluded["stage"] == "register_scan"]
    assert later[["scan_id", "label", "reason"]].to_numpy().tolist() == [
        ["s3", "AD", "registration failed"],
        ["s5", "CN", "the image file is empty"],
    ]
    assert later["detail"].iloc[0] == "ITK gave up"
    for name, frame, schema in (("selected", selected, SELECTED), ("excluded", excluded, EXCLUDED)):
        write_table(frame, tmp_path / f"{name}.tsv", schema)
        assert len(read_table(tmp_path / f"{name}.tsv", schema)) == len(frame)
    assert read_table(tmp_path / "excluded.tsv", EXCLUDED)["row"].isna().tolist() == [False, False, True, True]


def test_counts_by_stage_reason_and_class(scans, dropped, qualities):
    fail(qualities["s1"], "registration failed: one thing")
    fail(qualities["s3"], "registration failed: another")
    counts = exclusion_counts(select(scans, dropped, qualities)[1])
    assert counts.to_numpy().tolist() == [
        ["parse_tables", "class not used", "MCI", 1],
        ["parse_tables", "no subject", "unknown", 1],
        ["register_scan", "registration failed", "AD", 2],
    ]


def test_nothing_excluded(scans, dropped, qualities, tmp_path):
    selected, excluded = select(scans, dropped.iloc[:0], qualities)
    assert len(selected) == 5 and len(excluded) == 0 and len(exclusion_counts(excluded)) == 0
    write_table(excluded, tmp_path / "excluded.tsv", EXCLUDED)
    assert len(read_table(tmp_path / "excluded.tsv", EXCLUDED)) == 0


def test_limits_exclude_with_their_figure(scans, dropped, qualities):
    selected, excluded = select(scans, dropped, qualities, limits={"correlation_brain": 0.55, "jacobian_min": 0.1})
    assert selected["scan_id"].tolist() == ["s2", "s3", "s4", "s5"]
    row = excluded.iloc[-1]
    assert row[["stage", "reason", "detail"]].tolist() == [
        "select_scans",
        "correlation_brain below 0.55",
        "correlation_brain 0.500",
    ]
    with pytest.raises(ConfigError, match="correlation_brain, mask_dice"):
        select(scans, dropped, qualities, limits={"correlation": 0.5})


def test_the_largest_jacobian_is_an_upper_limit(scans, dropped, qualities):
    for scan, largest in (("s1", 3.0), ("s2", 7.5)):
        qualities[scan]["jacobian_max"] = largest
    selected, excluded = select(scans, dropped, qualities, limits={"jacobian_max": 5.0})
    assert selected["scan_id"].tolist() == ["s1", "s3", "s4", "s5"]
    assert excluded.iloc[-1][["reason", "detail"]].tolist() == ["jacobian_max above 5", "jacobian_max 7.500"]


def test_a_scan_that_a_person_rejected_is_left_out_with_the_words(scans, dropped, qualities, tmp_path):
    del qualities["s3"]  # it is not registered
    selected, excluded = select(scans, dropped, qualities, skip={"s3": "moved in the scanner"})
    assert selected["scan_id"].tolist() == ["s1", "s2", "s4", "s5"]
    assert excluded.iloc[-1][["stage", "scan_id", "label", "reason", "detail"]].tolist() == [
        "select_scans",
        "s3",
        "AD",
        "rejected by a person",
        "moved in the scanner",
    ]
    assert ["select_scans", "rejected by a person", "AD", 1] in exclusion_counts(excluded).to_numpy().tolist()
    write_table(excluded, tmp_path / "excluded.tsv", EXCLUDED)


def test_brains_and_whole_heads_are_not_mixed(scans, dropped, qualities):
    qualities["s2"] |= {"skull_stripped": False, "scan_cm3": 3900.0}
    with pytest.raises(InputError, match=r"mixes brains and whole heads[\s\S]*4 brains: s1 .*1 whole head: s2 \(3900"):
        select(scans, dropped, qualities)
    assert len(select(scans, dropped, qualities, skip={"s2": "a whole head"})[0]) == 4
    fail(qualities["s2"], "registration failed: ITK gave up")
    assert len(select(scans, dropped, qualities)[0]) == 4


def test_both_classes_must_remain(scans, dropped, qualities):
    for scan in ("s2", "s5"):
        fail(qualities[scan], "the image is zero everywhere")
    with pytest.raises(InputError, match=r"fewer than two classes[\s\S]*\['AD'\][\s\S]*2 scans: the image is zero"):
        select(scans, dropped, qualities)


def test_a_scan_without_a_result_is_an_error(scans, dropped, qualities):
    del qualities["s4"]
    with pytest.raises(InputError, match="scan s4 has no registration result"):
        select(scans, dropped, qualities)


@pytest.mark.parametrize(("label", "what"), [("CN", "subjects"), ("AD", "subjects")])
def test_one_image_of_two_people_is_refused(scans, dropped, qualities, label, what):
    scans.loc[1, "label"] = label
    qualities["s2"]["voxel_hash"] = qualities["s1"]["voxel_hash"]
    with pytest.raises(InputError, match=rf"one image belongs to two {what}(.*\n)+.*s2 \(p2, .*the voxels of s1 \(p1"):
        select(scans, dropped, qualities)


def test_one_image_of_one_person_in_two_classes_is_refused(scans, dropped, qualities):
    scans.loc[3, "label"] = "CN"
    qualities["s4"]["voxel_hash"] = qualities["s3"]["voxel_hash"]
    with pytest.raises(InputError, match=r"one image belongs to two classes(.*\n)+.*s4 \(CN, .*of s3 \(AD"):
        select(scans, dropped, qualities)


def test_of_one_image_twice_the_first_is_used(scans, dropped, qualities):
    qualities["s4"]["voxel_hash"] = qualities["s3"]["voxel_hash"]
    selected, excluded = select(scans, dropped, qualities)
    assert selected["scan_id"].tolist() == ["s1", "s2", "s3", "s5"]
    assert excluded.iloc[-1][["scan_id", "stage", "reason", "detail"]].tolist() == [
        "s4", "select_scans", "the same image as another scan", "kept is s3"
    ]  # fmt: skip


def test_a_scan_that_a_person_rejected_may_be_a_copy(scans, dropped, qualities):
    qualities["s2"]["voxel_hash"] = qualities["s1"]["voxel_hash"]
    selected, _ = select(scans, dropped, qualities, skip={"s2": "the image of p1"})
    assert "s2" not in selected["scan_id"].tolist()


def test_scans_named_by_a_setting_have_to_exist(caplog):
    selected = pd.DataFrame({"scan_id": ["sub-01_ses-1", "sub-02_ses-1"]})
    excluded = pd.DataFrame({"scan_id": ["sub-03_ses-1", None], "reason": ["file missing", "diagnosis"]})
    with caplog.at_level("WARNING"):
        assert require_known(["sub-02_ses-1", "sub-03_ses-1"], selected, excluded, "heatmaps.scans") is None
    assert caplog.messages == ["heatmaps.scans names sub-03_ses-1, which is excluded (file missing)"]
    with pytest.raises(
        ConfigError, match=r"registration.skip names.*does not have\n.*'sub-1_ses-1'\n.*\n.*did you mean sub-01_ses-1\?"
    ):
        require_known(["sub-1_ses-1"], selected, excluded, "registration.skip")
