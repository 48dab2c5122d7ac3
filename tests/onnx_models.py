"""ONNX files for tests, made node by node, and what onnxruntime gives for them: the independent answer."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT


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
