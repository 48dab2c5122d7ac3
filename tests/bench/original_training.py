"""Training as the original package does it: float32, whole volumes, each NIfTI file read whenever it is its turn."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import torch
from torch.nn.functional import cross_entropy

BATCH_SIZE, LEARNING_RATE = 5, 1e-4


class NiftiScans(torch.utils.data.Dataset):
    """Gzipped NIfTI files and their classes; each is read, unpacked and normalised when it is asked for."""

    def __init__(self, paths, targets, mean, scale):
        self.paths, self.targets, self.mean, self.scale = paths, targets, mean, scale

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        volume = np.asarray(nib.load(self.paths[index]).dataobj, dtype=np.float32)
        return torch.from_numpy((volume - self.mean) * self.scale)[None], int(self.targets[index])


def train_as_original(model, scans, *, threads, seed=0):
    """One epoch over `scans`, by Adam and cross-entropy; the model is trained in place."""
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    optimiser = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE)
    model.train()
    for images, targets in torch.utils.data.DataLoader(scans, batch_size=BATCH_SIZE, shuffle=True):
        optimiser.zero_grad()
        loss = cross_entropy(model(images), targets)
        loss.backward()
        optimiser.step()
    return model
