"""The settings of a training that takes a second."""

from __future__ import annotations

SETTINGS = {
    "network": "small",
    "channels": ["t1"],
    "crop": "none",
    "normalisation": "voxelwise",
    "optimiser": "adam",
    "schedule": "constant",
    "learning_rate": 1e-3,
    "weight_decay": 0.0,
    "class_weights": "none",
    "augmentation": {},
    "batch_size": 4,
    "epochs": 4,
    "dropout": 0.5,
    "keep": "last",
    "average": "none",
    "seeds": 1,
    "calibrate": "none",
    "threads": 1,
    "precision": "float32",
}
