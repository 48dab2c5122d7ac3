"""ONNX files for tests, made node by node, and what onnxruntime gives for them: the independent answer."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import helper, numpy_helper

from voxelwhy.networks.files.onnx_import import load_onnx

KINDS = {2: (9, 11), 3: (9, 8, 11)}


class Maker:
    """A graph in the making: `add` appends an operator and gives the name of its output."""

    def __init__(self, shape, seed=0, dtype=np.float32):
        self.shape, self.rng, self.dtype = shape, np.random.default_rng(seed), dtype
        self.nodes, self.initializers, self.last = [], [], "image"

    def constant(self, array):
        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def random(self, *shape, scale=1.0):
        return self.constant((self.rng.normal(size=shape) * scale).astype(self.dtype))

    def add(self, kind, *inputs, outputs=1, domain="", **options):
        """An operator on the last value (or on `inputs`, where the first is "" for the last value)."""
        inputs = [name or self.last for name in inputs] if inputs else [self.last]
        names = [f"v{len(self.nodes)}_{n}" for n in range(outputs)]
        node = helper.make_node(kind, inputs, names, name=f"{kind.lower()}_{len(self.nodes)}", domain=domain, **options)
        self.nodes.append(node)
        self.last = names[0]
        return self.last

    def conv(self, channels, out, kernel, **options):
        groups = options.get("group", 1)
        weight = self.random(out, channels // groups, *kernel, scale=(channels * np.prod(kernel)) ** -0.5)
        return self.add("Conv", "", weight, self.random(out), kernel_shape=kernel, **options)

    def batch_norm(self, channels):
        spread = self.constant(self.rng.uniform(0.5, 2, channels).astype(self.dtype))
        return self.add(
            "BatchNormalization", "", self.random(channels), self.random(channels), self.random(channels), spread
        )

    def model(self, opset=17, output=None):
        output = output or self.last
        kind = helper.np_dtype_to_tensor_dtype(np.dtype(self.dtype))
        graph = helper.make_graph(
            self.nodes,
            "net",
            [helper.make_tensor_value_info("image", kind, self.shape)],
            [helper.make_empty_tensor_value_info(output)],
            self.initializers,
        )
        opsets = [helper.make_opsetid("", opset), helper.make_opsetid("com.example", 1)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
        return onnx.shape_inference.infer_shapes(model)

    def save(self, path, opset=17):
        onnx.save(self.model(opset), path)
        return str(path)


def run(path, images):
    """What onnxruntime gives for a batch, image by image where the file fixes the batch to one."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (first,) = session.get_inputs()
    step = first.shape[0] if isinstance(first.shape[0], int) else len(images)
    parts = [session.run(None, {first.name: images[i : i + step]})[0] for i in range(0, len(images), step)]
    return np.concatenate(parts)


def images(*shape, seed=1, count=3):
    return np.random.default_rng(seed).normal(size=(count, *shape)).astype(np.float32)


def assert_same(path, batch, least=0.05, **options):
    """The network gives what onnxruntime gives, to 1e-5, and that is something; as it is, and when exported again."""
    model = load_onnx(path, logits=False, **options)
    assert not any(module.training for module in model.modules())
    expected = run(path, batch)
    taken = torch.from_numpy(np.moveaxis(batch, -1, 1) if options.get("channels") == "last" else batch)
    with torch.no_grad():
        found = model(taken)
    assert expected.std() > least
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, atol=1e-5 * max(1, np.abs(expected).max()))
    program = torch.export.export(model, (taken,), dynamic_shapes=({0: torch.export.Dim.DYNAMIC},))
    np.testing.assert_allclose(program.module()(torch.cat([taken, taken])).detach()[-1], found[-1], atol=1e-5)
    return model


def channels_last(path, *, axes, channels, moves, fixed=None):
    """A network as tf2onnx writes that of Keras, and the same with channels first; `moves` says how axes are moved."""
    spatial, nets = KINDS[axes], {}
    to_front, to_back = (0, axes + 1, *range(1, axes + 1)), (0, *range(2, axes + 2), 1)
    for last in (True, False):
        net = Maker((fixed or "n", *spatial, channels) if last else (fixed or "n", channels, *spatial), seed=4)
        scale = net.rng.uniform(0.5, 1.5, channels).astype(np.float32)
        net.add("Mul", "", net.constant(scale if last else scale.reshape(-1, *[1] * axes)))  # a Rescaling layer
        shape = spatial
        for number, (before, after) in enumerate([(channels, 4), (4, 5)]):
            if last and moves == "reshape" and number == 0:
                net.add("Reshape", "", net.constant([-1, channels, *spatial]))
            elif last and (moves == "all" or number == 0):
                net.add("Transpose", perm=to_front)
            net.conv(before, after, [3] * axes, strides=[2] * axes, auto_pad="SAME_UPPER")
            shape = [-(-n // 2) for n in shape]
            if last and moves == "all":
                net.add("Transpose", perm=to_back)
            net.add("Relu")
        if last and moves != "all":
            net.add("Transpose", perm=to_back)
        features = 5 * int(np.prod(shape))
        weight = net.rng.normal(size=(*shape, 5, 3)).astype(np.float32) / 4
        weight = weight if last else np.moveaxis(weight, -2, 0)
        net.add("Reshape", "", net.constant([-1, features]))
        net.add("MatMul", "", net.constant(weight.reshape(features, 3)))
        net.add("Add", "", net.random(3))
        net.add("Softmax")
        nets[last] = net.save(path / f"last_{last}.onnx")
    return nets[True], nets[False]
