"""Published models: the same network, and scans prepared as in the training, without the training's code."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from voxelwhy import load_network, occlusion
from voxelwhy.errors import ModelError, ShapeError
from voxelwhy.io.images import save_int16
from voxelwhy.networks.build import build_network
from voxelwhy.networks.ensemble import Ensemble
from voxelwhy.networks.files.safetensors_file import load_safetensors, save_safetensors
from voxelwhy.networks.weights import load_model, read_weights, save_model
from voxelwhy.training.volumes import Normaliser, Volumes

GRID, AFFINE = (26, 28, 24), np.diag([8.0, 8, 8, 1])


@pytest.fixture
def scans(tmp_path):
    """Six registered scans with two channels, and a mask with a margin."""
    rng, paths = np.random.default_rng(3), []
    for number in range(6):
        folder = tmp_path / f"scan{number}"
        folder.mkdir()
        for channel in ("t1", "log_jacobian"):
            save_int16(folder / f"{channel}.nii", rng.gamma(2, 100, GRID).astype(np.float32), AFFINE)
        paths.append(folder / "t1.nii")
    mask = np.zeros(GRID, bool)
    mask[2:25, 3:26, 1:22] = rng.random((23, 23, 21)) > 0.2
    return paths, mask


def publish(tmp_path, scans, *, kind, crop, channels=("t1",), seeds=1):
    """A model as a study stores it, published; what prepared its scans, and both files."""
    paths, mask = scans
    volumes = Volumes(paths, mask, crop=crop, channels=channels)
    normaliser = Normaliser.fit(kind, volumes, range(4))
    torch.manual_seed(5)
    options = {"image_channels": len(channels), "dropout": 0.5}
    members = [build_network("compact", volumes.shape, first_pool=2, **options) for _ in range(seeds)]
    model = (Ensemble(members) if seeds > 1 else members[0]).eval()
    card = {
        "network": "compact",
        "options": {"dropout": 0.5, "first_pool": 2},
        "spatial_shape": list(volumes.shape),
        "affine": AFFINE.tolist(),
        "classes": {"positive": "AD", "negative": "CN"},
        "crop": crop,
        "channels": list(channels),
        "normalisation": vars(normaliser),
        "seeds": seeds,
        "subjects_sha256": ["secret"],
    }
    save_model(tmp_path / "model.pt", model, card)
    save_safetensors(tmp_path / "model.safetensors", *read_weights(tmp_path / "model.pt"), mask)
    return volumes, normaliser


@pytest.mark.parametrize("kind", ["voxelwise", "voxelwise_sd", "scan", "none"])
@pytest.mark.parametrize("crop", ["brain", "none"])
def test_scan_and_logits_are_those_of_the_training(tmp_path, scans, kind, crop):
    volumes, normaliser = publish(tmp_path, scans, kind=kind, crop=crop)
    network, (model, _) = load_network(tmp_path / "model.safetensors"), load_model(tmp_path / "model.pt")
    prepared = network.prepare(scans[0][5])
    expected = normaliser(volumes[5], volumes.mask)
    np.testing.assert_allclose(prepared, expected, rtol=1e-5, atol=1e-5)
    assert prepared.dtype == np.float32 and np.ptp(prepared) > 0
    with torch.no_grad():
        images = [torch.from_numpy(image)[None] for image in (prepared, expected)]
        torch.testing.assert_close(network(images[0]), model(images[1]), rtol=1e-4, atol=1e-5)


def test_five_lines_explain_a_scan(tmp_path, scans):
    publish(tmp_path, scans, kind="voxelwise", crop="brain")
    cnn = load_network(tmp_path / "model.safetensors")
    mri_scan = cnn.prepare(nib.load(scans[0][0]))
    heatmap = occlusion(cnn, mri_scan, size=8, stride=8, positive_only=False)
    assert heatmap.shape == (23, 23, 21) and np.abs(heatmap).max() > 0


def test_channels_and_trainings_are_kept(tmp_path, scans):
    channels = ("t1", "log_jacobian")
    volumes, normaliser = publish(tmp_path, scans, kind="voxelwise", crop="brain", channels=channels, seeds=2)
    network = load_safetensors(tmp_path / "model.safetensors")
    assert len(network.members) == 2
    images = [scans[0][5].with_name(f"{channel}.nii") for channel in channels]
    np.testing.assert_allclose(network.prepare(*images), normaliser(volumes[5], volumes.mask), rtol=1e-5, atol=1e-5)
    with pytest.raises(ShapeError, match=r"channels t1, log_jacobian: found 1 image"):
        network.prepare(images[0])


def test_safetensors_alone_reads_the_layers(tmp_path, scans):
    publish(tmp_path, scans, kind="scan", crop="brain")
    tensors, (model, _) = load_file(tmp_path / "model.safetensors"), load_model(tmp_path / "model.pt")
    weights = {name: tensor for name, tensor in tensors.items() if not name.startswith("preparation.")}
    assert weights.keys() == model.state_dict().keys()
    assert all(torch.equal(weights[name], tensor) for name, tensor in model.state_dict().items())
    assert b"secret" not in (tmp_path / "model.safetensors").read_bytes()


def test_equal_models_give_equal_bytes(tmp_path, scans):
    publish(tmp_path, scans, kind="voxelwise", crop="brain")
    first = (tmp_path / "model.safetensors").read_bytes()
    publish(tmp_path, scans, kind="voxelwise", crop="brain")
    assert (tmp_path / "model.safetensors").read_bytes() == first


def test_what_cannot_be_used_is_named(tmp_path, scans):
    publish(tmp_path, scans, kind="scan", crop="brain")
    network = load_network(tmp_path / "model.safetensors")
    with pytest.raises(ShapeError, match=r"not on the grid of the study: found \(10, 10, 10\)"):
        network.prepare(np.zeros((10, 10, 10)))
    with pytest.raises(ShapeError, match="not on the grid"):
        network.prepare(nib.Nifti1Image(np.zeros(GRID, np.float32), np.diag([7.0, 7, 7, 1])))
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "cut.safetensors").write_bytes(whole[:-100])
    with pytest.raises(ModelError, match="not a safetensors file that can be read"):
        load_network(tmp_path / "cut.safetensors")
    from safetensors.torch import save_file

    save_file({"a": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(ModelError, match="weights and no network"):
        load_network(tmp_path / "other.safetensors")
    weights, card = read_weights(tmp_path / "model.pt")
    mask = np.ones(GRID, bool)
    save_safetensors(tmp_path / "own.safetensors", weights, card | {"network": "mine:build"}, mask)
    with pytest.raises(ModelError, match=r"whose code is not in the file.*load_safetensors\(path, own='mine:build'\)"):
        load_network(tmp_path / "own.safetensors")
