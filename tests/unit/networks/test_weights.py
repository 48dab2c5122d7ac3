"""Files of weights of any age and make: read where they hold tensors, refused otherwise, and never run."""

import os
import pickle
import struct
from collections import OrderedDict

import pytest
import torch
from torch import nn

from voxelwhy.errors import InputError, ModelError
from voxelwhy.networks.build import build_network
from voxelwhy.networks.weights import check_weights, fit_weights, hash_weights, read_weights, save_model

SHAPE = (20, 20, 20)
LEGACY = {"_use_new_zipfile_serialization": False}


@pytest.fixture
def net():
    torch.manual_seed(5)
    model = build_network("small", SHAPE)
    for layer in model:
        if isinstance(layer, nn.BatchNorm3d):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    return model.eval()


def same(read, net):
    expected = net.state_dict()
    return set(read) == set(expected) and all(torch.equal(read[key], expected[key]) for key in expected)


def without_counters(state):
    return OrderedDict((key, value) for key, value in state.items() if not key.endswith("num_batches_tracked"))


# ------------------------------------------------------------------ files as they are passed on


@pytest.mark.parametrize("options", [{}, LEGACY], ids=["zip", "legacy"])
@pytest.mark.parametrize("place", [None, "state_dict", "model_state_dict", "model"])
def test_a_state_dict_is_found_alone_or_in_a_checkpoint(tmp_path, net, options, place):
    state = net.state_dict()
    stored = state if place is None else {"epoch": 20, "best": 0.8, place: state, "optimizer": {"state": {}}}
    torch.save(stored, tmp_path / "w.pt", **options)
    weights, card = read_weights(tmp_path / "w.pt")
    assert card is None
    assert same(weights, net)


def test_the_prefix_of_data_parallel_is_taken_off(tmp_path, net):
    parallel = nn.DataParallel(nn.DataParallel(net))
    assert next(iter(parallel.state_dict())).startswith("module.module.Conv_1")
    torch.save({"state_dict": parallel.state_dict()}, tmp_path / "w.pt")
    assert same(read_weights(tmp_path / "w.pt")[0], net)


@pytest.mark.parametrize("options", [{}, LEGACY], ids=["zip", "legacy"])
def test_storages_of_a_gpu_are_read_on_the_cpu(tmp_path, net, monkeypatch, options):
    """The location tag of each storage says cuda:0, as in a file that was saved on a GPU."""
    with monkeypatch.context() as patched:
        patched.setattr(torch.serialization, "location_tag", lambda storage: "cuda:0")
        torch.save(net.state_dict(), tmp_path / "w.pt", **options)
    if not torch.cuda.is_available():
        with pytest.raises(RuntimeError, match="CUDA"):
            torch.load(tmp_path / "w.pt", weights_only=True)
    weights, _ = read_weights(tmp_path / "w.pt")
    assert same(weights, net)
    assert {tensor.device.type for tensor in weights.values()} == {"cpu"}


def as_pytorch_031_of_python_2(state):
    """A state dict as PyTorch 0.3.1 wrote it under Python 2 on a GPU, opcode by opcode (the paper's environment)."""

    def text(word):
        return b"U" + bytes([len(word)]) + word.encode()  # SHORT_BINSTRING: a str of Python 2

    def number(value):
        return b"J" + struct.pack("<i", value)

    def tuple_of(*parts):
        return b"(" + b"".join(parts) + b"t"

    tensors = b""
    for key, tensor in state.items():
        storage = tuple_of(
            text("storage"), b"ctorch.cuda\nFloatStorage\n", text(key), text("cuda:0"), number(tensor.numel()), b"N"
        )
        sizes = [tuple_of(*map(number, which)) for which in (tensor.shape, tensor.stride())]
        rebuilt = b"ctorch._utils\n_rebuild_tensor\n" + tuple_of(storage + b"Q", number(0), *sizes) + b"R"
        tensors += b"](" + text(key) + rebuilt + b"e"  # an OrderedDict of Python 2 is made from a list of lists
    state_dict = b"\x80\x02ccollections\nOrderedDict\n](" + tensors + b"e\x85R."
    keys = list(state)
    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    parts = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, system)]
    parts += [state_dict, pickle.dumps(keys, 2)]
    return b"".join(parts) + b"".join(struct.pack("<q", t.numel()) + t.numpy().tobytes() for t in state.values())


def test_a_file_of_pytorch_031_under_python_2_with_the_papers_layers(tmp_path):
    """Layers Conv_1 to dense_3 of the paper on its grid, without the counters that PyTorch did not have yet."""
    torch.manual_seed(1)
    net = build_network("rieke2018", (193, 229, 193))
    old = without_counters(net.state_dict())
    (tmp_path / "softmax-output_state-dict.pt").write_bytes(as_pytorch_031_of_python_2(old))
    weights, card = read_weights(tmp_path / "softmax-output_state-dict.pt")
    assert card is None
    assert list(weights) == list(old)
    assert weights["dense_1.weight"].shape == (128, 5120)
    torch.manual_seed(2)
    other = build_network("rieke2018", (193, 229, 193))
    assert hash_weights(other) != hash_weights(net)
    fit_weights(other, weights, "w.pt")
    assert hash_weights(other) == hash_weights(net)


def test_a_model_of_voxelwhy_comes_with_its_card(tmp_path, net):
    save_model(tmp_path / "m.pt", net, {"network": "small", "options": {}, "spatial_shape": SHAPE})
    weights, card = read_weights(tmp_path / "m.pt")
    assert card["network"] == "small"
    assert same(weights, net)


# ------------------------------------------------------------------ files that are refused


class Hostile:
    def __init__(self, victim):
        self.victim = victim

    def __reduce__(self):
        return os.mkdir, (self.victim,)


@pytest.mark.parametrize("save", ["zip", "legacy", "pickle"])
def test_a_hostile_file_does_not_run(tmp_path, net, save):
    victim = tmp_path / "was_run"
    stored = {"state_dict": net.state_dict(), "note": Hostile(str(victim))}
    if save == "pickle":
        (tmp_path / "w.pt").write_bytes(pickle.dumps(Hostile(str(victim)), protocol=2))
    else:
        torch.save(stored, tmp_path / "w.pt", **({} if save == "zip" else LEGACY))
    with pytest.raises(ModelError, match=r"was not run: .*\.mkdir" if save != "pickle" else "was not run"):
        read_weights(tmp_path / "w.pt")
    assert not victim.exists()
    if save == "pickle":
        pickle.loads((tmp_path / "w.pt").read_bytes())
    else:
        torch.load(tmp_path / "w.pt", weights_only=False)
    assert victim.exists()  # it is hostile indeed


@pytest.mark.parametrize("options", [{}, LEGACY], ids=["zip", "legacy"])
@pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")
def test_a_whole_network_is_refused_with_what_to_save_instead(tmp_path, net, options):
    torch.save(net, tmp_path / "w.pt", **options)
    with pytest.raises(ModelError, match=r"holds torch\.nn.*Sequential.*save its weights alone.*model\.state_dict\(\)"):
        read_weights(tmp_path / "w.pt")


def test_what_was_found_in_the_place_of_a_state_dict_is_said(tmp_path):
    path = tmp_path / "w.pt"
    for stored, found in (
        ([torch.zeros(2)], "found list"),
        ({}, r"found a dict of \{\}"),
        ({"state_dict": {"Conv_1.weight": [1.0]}}, r"found a dict of \{Conv_1.weight: list\}"),
        (
            {"weights": torch.zeros(1), "epoch": 3},
            r"found a dict of \{weights: Tensor, epoch: int\}.*state_dict, model_state_dict, model",
        ),
    ):
        torch.save(stored, path)
        with pytest.raises(ModelError, match=f"holds no state dict: {found}"):
            read_weights(path)
    itself = {"epoch": 1}
    itself["model"] = itself
    torch.save(itself, path)
    with pytest.raises(ModelError, match="holds no state dict"):
        read_weights(path)


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 cut off", b"\x80\x02cos\nsystem\n"])
def test_a_file_that_is_none_is_refused_without_torchs_advice(tmp_path, content):
    (tmp_path / "w.pt").write_bytes(content)
    with pytest.raises(ModelError, match="not a model file") as refused:
        read_weights(tmp_path / "w.pt")
    assert "weights_only" not in str(refused.value)
    with pytest.raises(InputError, match="no such model file"):
        read_weights(tmp_path / "none.pt")


def test_every_layer_that_differs_is_named_with_both_shapes(net):
    weights = dict(net.state_dict())
    weights["Conv_1.weight"] = torch.zeros(8, 1, 5, 5, 5)
    weights["Conv_2.bias"] = torch.zeros(3)
    weights["fc.weight"] = weights.pop("dense_2.weight")
    with pytest.raises(ModelError) as refused:
        check_weights(net, weights, "w.pt")
    assert str(refused.value).splitlines() == [
        "the weights in w.pt are of another architecture:",
        "  Conv_1.weight is (8, 1, 5, 5, 5) there, (8, 1, 3, 3, 3) in the network",
        "  Conv_2.bias is (3,) there, (16,) in the network",
        "  dense_2.weight is missing there, (2, 64) in the network",
        "  fc.weight is (2, 64) there, missing in the network",
    ]
    with pytest.raises(ModelError) as refused:
        check_weights(net, {f"block.{key}": value for key, value in weights.items()}, "w.pt")
    # 32 entries: weight and bias of 4 convolutions and 2 dense layers, 5 of each batch normalisation.
    assert str(refused.value).count("and 20 more of this kind") == 2
    assert "block.Conv_1.weight is (8, 1, 5, 5, 5) there, missing in the network" in str(refused.value)


def test_weights_of_another_grid_say_so(net):
    other = build_network("small", (32, 32, 32)).state_dict()
    with pytest.raises(ModelError, match=r"dense_1.weight is \(64, 512\) there, \(64, 64\)[\s\S]*resolution or crop"):
        check_weights(net, other, "w.pt")


def test_missing_counters_are_filled_and_nan_is_refused(net):
    weights = without_counters(net.state_dict())
    torch.manual_seed(0)
    other = build_network("small", SHAPE)
    fit_weights(other, weights, "w.pt")
    image = torch.randn(1, 1, *SHAPE)
    assert torch.equal(other.eval()(image), net(image))
    weights["dense_1.bias"] = torch.full((64,), torch.nan)
    with pytest.raises(ModelError, match=r"NaN or infinity: dense_1\.bias"):
        fit_weights(other, weights, "w.pt")
    with pytest.raises(ModelError, match=r"num_batches_tracked is missing there"):
        check_weights(other, without_counters(net.state_dict()), "w.pt")
