"""Networks by name, devices, and models on disk."""

import os
import pickle

import numpy as np
import pytest
import torch
from torch import nn

from voxelwhy.errors import ConfigError, InputError, ModelError
from voxelwhy.networks.build import build_network, network_options, smallest_grid
from voxelwhy.networks.devices import pick_device
from voxelwhy.networks.layers import grid_after
from voxelwhy.networks.weights import hash_weights, load_model, save_model
from voxelwhy.registry import NETWORKS

SHAPE = (17, 20, 16)


def small(seed=0, shape=SHAPE, **options):
    torch.manual_seed(seed)
    return build_network("small", shape, **options).eval()


def card(**more):
    return {"network": "small", "options": {}, "spatial_shape": SHAPE, **more}


# ------------------------------------------------------------------ networks


def test_rieke2018_on_the_grid_of_the_paper_has_5120_inputs_to_its_first_dense_layer():
    with torch.device("meta"):
        net = build_network("rieke2018", (193, 229, 193))
    assert net.dense_1.in_features == 5120
    assert sum(p.numel() for p in net.parameters()) == 737_026


def test_rieke2018_layers_are_those_of_the_paper():
    with torch.device("meta"):
        net = build_network("rieke2018", (80, 80, 80))
    names = [name for name, _ in net.named_children()]
    block = ["Conv_{0}", "Conv_{0}_bn", "Conv_{0}_relu", "Conv_{0}_mp"]
    dense = ["flatten", "dropout", "dense_1", "dense_1_relu", "dense_2", "dense_2_relu", "dense_3"]
    assert names == [name.format(k) for k in (1, 2, 3, 4) for name in block] + dense
    assert [net[4 * k].out_channels for k in range(4)] == [8, 16, 32, 64]
    assert [net[4 * k + 3].kernel_size for k in range(4)] == [2, 3, 2, 3]
    assert net.dropout.p == 0.8


def test_small_gives_logits_for_anisotropic_grids_and_several_channels():
    net = small(channels=2, n_classes=3, dropout=0.1)
    assert net(torch.zeros(4, 2, *SHAPE)).shape == (4, 3)
    assert net.dropout.p == 0.1


@pytest.mark.parametrize("name", NETWORKS)
def test_smallest_grid_works_and_one_voxel_less_does_not(name):
    least = smallest_grid(name)
    build_network(name, least)(torch.zeros(2, 1, *least))
    for axis in range(3):
        less = tuple(length - (axis == k) for k, length in enumerate(least))
        with pytest.raises(ModelError, match=f"{least[0]} x {least[1]} x {least[2]}"):
            build_network(name, less)


def test_smallest_grids_are_those_known():
    assert smallest_grid("rieke2018") == (78, 78, 78)
    assert smallest_grid("small") == (16, 16, 16)
    assert smallest_grid("compact") == (8, 8, 8)
    assert smallest_grid("korolev2017") == (124, 124, 124)
    assert smallest_grid("small_dataset") == (71, 71, 71)
    assert smallest_grid("sfcn") == (32, 32, 32)
    assert smallest_grid("resnet18") == (17, 17, 17)
    assert smallest_grid("densenet121") == (29, 29, 29)


@pytest.mark.parametrize(("first_pool", "least"), [(1, 8), (2, 16), (3, 24), (7, 56)])
def test_compact_needs_eight_cells_after_its_first_pool(first_pool, least):
    """Three max-pools halve the grid, so that eight cells along each axis become one."""
    net = build_network("compact", (least,) * 3, first_pool=first_pool)
    assert net.dense.in_features == 32
    assert net(torch.zeros(2, 1, *(least,) * 3)).shape == (2, 2)
    for axis in range(3):
        less = [least - (k == axis) for k in range(3)]
        with pytest.raises(
            ModelError,
            match=rf"{'x'.join(f' {n} ' for n in less).strip()} voxels[^.]*.*"
            f"smallest possible grid is {least} x {least} x {least}",
        ):
            build_network("compact", less, first_pool=first_pool)


def test_the_first_pool_is_an_option_of_compact_alone():
    assert network_options({"network": "compact", "dropout": 0.5, "first_pool": 2}) == {"dropout": 0.5, "first_pool": 2}
    assert network_options({"network": "small", "dropout": 0.2}) == {"dropout": 0.2}
    with pytest.raises(ConfigError, match="first_pool"):
        build_network("small", (16, 16, 16), first_pool=2)


def test_grid_after_layers_agrees_with_torch():
    layers = [
        nn.Conv3d(1, 2, (3, 1, 5), stride=(1, 2, 1), padding=(0, 1, 3), dilation=(2, 1, 1)),
        nn.MaxPool3d(3, 2, 1),
    ]
    layers.append(nn.AvgPool3d(2))
    assert grid_after(layers[:2], SHAPE) == tuple(nn.Sequential(*layers[:2])(torch.zeros(1, 1, *SHAPE)).shape[2:])


def test_a_network_option_or_name_that_does_not_exist_is_refused():
    with pytest.raises(ConfigError, match="drop_out"):
        build_network("small", SHAPE, drop_out=0.5)
    with pytest.raises(ConfigError, match="did you mean rieke2018"):
        build_network("rieke2008", SHAPE)
    with pytest.raises(ModelError, match="3D network"):
        build_network("small", (32, 32))
    with pytest.raises(ModelError, match="3D network"):
        build_network("resnet18", (32, 32))


# ------------------------------------------------------------------ devices


def test_pick_device():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device("auto").type == ("cuda" if torch.cuda.is_available() else "cpu")
    with pytest.raises(InputError, match="cuda:99"):
        pick_device("cuda:99")
    with pytest.raises(InputError, match="gpu"):
        pick_device("gpu")


# ------------------------------------------------------------------ on disk


def test_a_saved_model_comes_back_with_its_card_in_eval_mode(tmp_path):
    net = small()
    mean = np.arange(6.0).reshape(2, 3)
    save_model(
        tmp_path / "model.pt", net, card(classes={"positive": "AD", "negative": "CN"}, mean=mean, epoch=np.int64(3))
    )
    state = torch.get_rng_state()
    again, read = load_model(tmp_path / "model.pt")
    assert torch.equal(torch.get_rng_state(), state)
    assert not any(module.training for module in again.modules())
    assert read["classes"] == {"positive": "AD", "negative": "CN"}
    assert read["epoch"] == 3 and torch.equal(read["mean"], torch.from_numpy(mean))
    image = torch.randn(1, 1, *SHAPE)
    assert torch.equal(net(image), again(image))
    assert hash_weights(again) == hash_weights(net)


def test_the_same_model_gives_the_same_bytes_under_any_name(tmp_path):
    word = "AD"
    other = "".join(["A", "D"])  # equal, not the same object: pickle would tell them apart
    assert word is not other
    save_model(tmp_path / "a.pt", small(), card(first=word, second=word, crop=(slice(0, 3).start, 4)))
    save_model(tmp_path / "other_name.pt", small(), card(first=word, second=other, crop=(0, 4)))
    assert (tmp_path / "a.pt").read_bytes() == (tmp_path / "other_name.pt").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pt", "other_name.pt"]
    save_model(tmp_path / "c.pt", small(seed=1), card(first=word, second=word, crop=(0, 4)))
    assert (tmp_path / "c.pt").read_bytes() != (tmp_path / "a.pt").read_bytes()


def test_a_view_is_saved_without_the_rest_of_its_storage(tmp_path):
    big = torch.zeros(1_000_000)
    save_model(tmp_path / "model.pt", small(), card(view=big[:3]))
    assert (tmp_path / "model.pt").stat().st_size < 1_000_000


def test_weights_of_another_architecture_name_the_layer_and_both_shapes(tmp_path):
    save_model(tmp_path / "model.pt", small(shape=(32, 32, 32)), card())
    with pytest.raises(ModelError, match=r"dense_1\.weight is \(64, 512\) there, \(64, 64\) in the network"):
        load_model(tmp_path / "model.pt")
    save_model(tmp_path / "model.pt", nn.Linear(2, 2), card())
    with pytest.raises(ModelError, match=r"Conv_1\.weight is missing there, \(8, 1, 3, 3, 3\)"):
        load_model(tmp_path / "model.pt")


class Hostile:
    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        return os.mkdir, (self.victim,)


@pytest.mark.parametrize("save", [torch.save, lambda thing, path: path.write_bytes(pickle.dumps(thing, protocol=2))])
def test_a_hostile_file_does_not_run(tmp_path, save):
    victim = tmp_path / "was_run"
    save({"card": card(), "weights": Hostile(str(victim))}, tmp_path / "model.pt")
    with pytest.raises(ModelError, match="not a model file"):
        load_model(tmp_path / "model.pt")
    assert not victim.exists()
    torch.load(tmp_path / "model.pt", weights_only=False) if save is torch.save else pickle.loads(
        (tmp_path / "model.pt").read_bytes()
    )
    assert victim.exists()  # it is hostile indeed


@pytest.mark.parametrize("content", [b"", b"not a model", b"PK\x03\x04 cut off"])
def test_a_file_that_is_no_model_is_refused(tmp_path, content):
    (tmp_path / "model.pt").write_bytes(content)
    with pytest.raises(ModelError, match="not a model file"):
        load_model(tmp_path / "model.pt")
    with pytest.raises(InputError, match="no such model file"):
        load_model(tmp_path / "none.pt")


def test_a_card_that_cannot_be_used_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ModelError, match="missing: options, spatial_shape"):
        save_model(tmp_path / "model.pt", small(), {"network": "small"})
    with pytest.raises(ModelError, match=r"card\['settings'\]\['x'\] .* a set"):
        save_model(tmp_path / "model.pt", small(), card(settings={"x": {1, 2}}))
    assert not list(tmp_path.iterdir())
    torch.save({"something": 1}, tmp_path / "model.pt")
    with pytest.raises(ModelError, match="needs weights and a card"):
        load_model(tmp_path / "model.pt")


def test_hash_weights_follows_values_names_and_buffers():
    net = small()
    first = hash_weights(net)
    assert first == hash_weights(small()) and len(first) == 64
    net.Conv_1_bn.running_mean[0] += 1e-6
    assert hash_weights(net) != first
    assert hash_weights(net.to(torch.bfloat16)) != first
