"""Logs for TensorBoard, read back record by record."""

from __future__ import annotations

import struct

import pandas as pd
import pytest
from tensorboardX.proto.event_pb2 import Event

from voxelwhy.report.training_logs import write_logs

COLUMNS = ["member", "epoch", "train_loss", "train_accuracy", "validation_loss", "validation_accuracy"]


def scalars(folder):
    """{name: {epoch: value}} of the event file of a run, which is a sequence of length, checksum, event, checksum."""
    (path,) = folder.glob("events.out.tfevents.*")
    content, found = path.read_bytes(), {}
    while content:
        (length,) = struct.unpack("<Q", content[:8])
        event = Event.FromString(content[12 : 12 + length])
        for value in event.summary.value:
            found.setdefault(value.tag, {})[event.step] = value.simple_value
        content = content[16 + length :]
    return found


def test_every_epoch_of_the_history_is_in_the_log(tmp_path):
    history = pd.DataFrame([[0, 1, 0.7, 0.5, 0.8, 0.4], [0, 2, 0.3, 0.9, 0.6, 0.7]], columns=COLUMNS)
    write_logs(tmp_path, history, 2)
    found = scalars(tmp_path / "fold-2")
    assert found["loss/train"] == pytest.approx({1: 0.7, 2: 0.3})
    assert found["loss/validation"] == pytest.approx({1: 0.8, 2: 0.6})
    assert found["accuracy/train"] == pytest.approx({1: 0.5, 2: 0.9})
    assert found["accuracy/validation"] == pytest.approx({1: 0.4, 2: 0.7})


def test_without_validation_scans_there_are_no_such_curves(tmp_path):
    history = pd.DataFrame([[0, 1, 0.7, 0.5, None, None]], columns=COLUMNS)
    write_logs(tmp_path, history, 0)
    assert set(scalars(tmp_path / "fold-0")) == {"loss/train", "accuracy/train"}


def test_each_training_is_a_run(tmp_path):
    history = pd.DataFrame([[0, 1, 0.7, 0.5, None, None], [1, 1, 0.2, 1.0, None, None]], columns=COLUMNS)
    write_logs(tmp_path, history, 0)
    assert sorted(run.name for run in tmp_path.iterdir()) == ["fold-0-training-0", "fold-0-training-1"]
    assert scalars(tmp_path / "fold-0-training-1")["loss/train"] == pytest.approx({1: 0.2})
