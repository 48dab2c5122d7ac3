"""Files of torch.export, explained as the network itself, for any number of images; the door to files of any kind."""

import copy
import zipfile

import numpy as np
import pytest
import torch
from torch import nn

import voxelwhy
from helpers.exported_files import BATCHES, DIM, export
from helpers.heatmap_cases import assert_same, network, picture
from helpers.onnx_models import Maker
from voxelwhy.errors import InputError, ModelError, ShapeError
from voxelwhy.explain.guided_backprop import guided_backprop
from voxelwhy.explain.occlusion import occlusion
from voxelwhy.explain.sensitivity_analysis import sensitivity_analysis
from voxelwhy.networks.build import build_network
from voxelwhy.networks.files.exported import load_exported
from voxelwhy.networks.files.load_network import load_network
from voxelwhy.networks.weights import save_model


@pytest.mark.parametrize("batch", BATCHES)
def test_any_number_of_images_goes_through(tmp_path, batch):
    net = network(2)
    torch.export.save(export(net, 2, batch), tmp_path / "net.pt2")
    model = load_exported(tmp_path / "net.pt2")
    for count in (1, 2, 4, 7):
        images = torch.randn(count, 1, 19, 16, generator=torch.Generator().manual_seed(count), dtype=torch.float64)
        torch.testing.assert_close(model(images), net(images), atol=1e-12, rtol=0)


@pytest.mark.parametrize("batch", ["one", "free"])
def test_it_can_be_exported_again_as_what_it_was(batch):
    program = export(network(2), 2, batch)
    count, dynamic = BATCHES[batch]
    images = picture(2)[None].repeat(count, 1, 1, 1)
    again = torch.export.export(load_exported(program), (images,), dynamic_shapes=dynamic)
    calls = [[node.target for node in p.graph.nodes if node.op == "call_function"] for p in (program, again)]
    assert calls[0] == calls[1]


@pytest.mark.parametrize("axes", [2, 3])
@pytest.mark.parametrize(
    ("method", "options"),
    [(sensitivity_analysis, {}), (guided_backprop, {}), (occlusion, {"size": 6, "stride": 4, "batch_size": 5})],
)
def test_a_program_for_one_image_is_explained_as_the_network(tmp_path, axes, method, options):
    net, image = network(axes), picture(axes)
    torch.export.save(export(net, axes), tmp_path / "net.pt2")
    model = load_network(tmp_path / "net.pt2")
    expected = method(net, image, 1, **options)
    assert_same(method(model, image, 1, **options), expected, least=1e-3)
    assert_same(method(model, image[0], 1, **options), expected, least=1e-3)  # the channel is found, too
    assert_same(method(load_exported(export(net, axes)), image, 1, **options), expected, least=1e-3)


def test_it_stays_in_eval_mode_and_can_be_copied():
    model = load_exported(export(network(2), 2))
    assert model.eval() is model
    assert not any(module.training for module in model.modules())
    with pytest.raises(ModelError, match="cannot be trained"):
        model.train()
    images = picture(2)[None]
    assert torch.equal(copy.deepcopy(model)(images), model(images))


def test_images_of_another_shape_are_refused():
    model = load_exported(export(network(2), 2))
    with pytest.raises(ShapeError, match=r"exported for images of shape \(1, 19, 16\); found \(1, 18, 16\)"):
        model(torch.zeros(1, 1, 18, 16, dtype=torch.float64))
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double().eval()
    limited = torch.export.export(net, (picture(2)[None],), dynamic_shapes=({2: DIM("h", min=10, max=20)},))
    model = load_exported(limited)
    torch.testing.assert_close(model(picture(2)[None, :, :12]), net(picture(2)[None, :, :12]))
    with pytest.raises(ShapeError, match=r"cannot take images of shape \(1, 1, 21, 16\)"):
        model(torch.zeros(1, 1, 21, 16, dtype=torch.float64))


def test_a_program_itself_is_no_network_and_it_says_what_to_do():
    with pytest.raises(
        ModelError, match=r"is a ExportedProgram; a torch.nn.Module is expected: load_exported\(program\)"
    ):
        sensitivity_analysis(export(network(2), 2), picture(2))
    with pytest.raises(ModelError, match=r"is a str; a torch.nn.Module is expected: load_network\(path\)"):
        sensitivity_analysis("net.pt2", picture(2))


@pytest.mark.parametrize("part", [nn.Dropout(0.5), nn.BatchNorm2d(1)])
def test_a_program_exported_in_training_mode_is_refused(part):
    net = nn.Sequential(part, nn.Flatten(), nn.Linear(19 * 16, 2)).double().train()
    with pytest.raises(
        ModelError, match=r"in training mode \((dropout|batch_norm)\), and stays in it: call model.eval"
    ):
        load_exported(export(net, 2))


class Two(nn.Module):
    def forward(self, image, other=None):
        return image.sum() if other is None else (image.flatten(1), other.flatten(1))


def test_programs_that_are_no_classifiers_of_images_are_refused():
    image = picture(2)[None]
    with pytest.raises(ModelError, match="has 2 inputs and 2 outputs; a network that takes images"):
        load_exported(torch.export.export(Two(), (image, image)))
    with pytest.raises(ModelError, match="does not take images"):
        load_exported(torch.export.export(nn.Linear(3, 2), (torch.zeros(1, 3),)))


def test_what_is_no_exported_file_is_refused(tmp_path, capfd):
    with pytest.raises(InputError, match="no such model file"):
        load_exported(tmp_path / "none.pt2")
    for name, content in (("text.pt2", b"text"), ("weights.pt2", None)):
        path = tmp_path / name
        torch.save({}, path) if content is None else path.write_bytes(content)
        with pytest.raises(ModelError, match=rf"{name} is not a torch.export file that can be read"):
            load_exported(path)
    assert capfd.readouterr().err == ""


# ------------------------------------------------------------------ the door to files of any kind


def test_a_file_is_known_by_what_it_holds(tmp_path):
    net = Maker(("n", 1, 6, 6))
    net.conv(1, 2, [6, 6])
    net.add("Flatten")
    net.save(tmp_path / "of_onnx.pt")
    assert load_network(tmp_path / "of_onnx.pt")(torch.zeros(2, 1, 6, 6)).shape == (2, 2)
    with pytest.raises(InputError, match="no such model file"):
        load_network(tmp_path / "none")
    (tmp_path / "text").write_text("text")
    with pytest.raises(ModelError, match="text is not an ONNX file"):
        load_network(tmp_path / "text")


def test_a_model_of_a_study_is_a_network(tmp_path):
    net = build_network("small", (16, 16, 16)).eval()
    save_model(tmp_path / "model.pt", net, {"network": "small", "options": {}, "spatial_shape": [16] * 3})
    image = torch.randn(1, 1, 16, 16, 16)
    assert torch.equal(load_network(tmp_path / "model.pt")(image), net(image))


@pytest.mark.parametrize("legacy", [False, True])
def test_weights_alone_are_no_network(tmp_path, legacy):
    torch.save(network(2).state_dict(), tmp_path / "w.pt", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ModelError, match=r"holds 11 tensors of weights and no network(.|\n)*load_state_dict"):
        load_network(tmp_path / "w.pt")


def test_a_model_of_keras_is_sent_to_onnx(tmp_path):
    (tmp_path / "net.h5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(100))
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved" / "saved_model.pb").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "net.keras", "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", "")
    for name in ("net.h5", "saved", "net.keras"):
        with pytest.raises(ModelError, match=r"model of Keras or TensorFlow: convert it to ONNX(.|\n)*tf2onnx"):
            load_network(tmp_path / name)


def test_the_package_exports_what_reads_networks():
    for name in ("load_network", "load_onnx", "load_torchscript", "load_exported"):
        assert callable(getattr(voxelwhy, name))
        assert name in voxelwhy.__all__
    assert np.ndim(voxelwhy.__version__) == 0
