"""The operators of a network, classified by how far a change of their input reaches."""

from __future__ import annotations

import operator

import torch

from voxelwhy.explain.incremental.boxes import Window
from voxelwhy.explain.incremental.graph import evaluate, operator_name

MAX_POOLS = {"max_pool2d_with_indices": 2, "max_pool3d_with_indices": 3}
MEAN_POOLS = {"avg_pool2d": 2, "avg_pool3d": 3}
SAME_CELL = {"clone", "_to_copy", "alias", "detach", "lift_fresh_copy", "_native_batch_norm_legit_no_training"}
ALONG_CHANNELS = {"cat": 1, "slice": 1, "split_with_sizes": 2, "split": 2, "_softmax": 1, "_log_softmax": 1}
OVER_CHANNELS = {"mean", "sum", "amax", "amin", "prod"}


class Step:
    """An operator that needs its whole input: any that is not known to work by cell or by window."""

    def __init__(self, graph, node):
        self.node = node
        self.inputs = [source for source in node.all_input_nodes if source in graph.dependent]

    def whole(self, value_of):
        """The value on whole layers; `value_of` returns the value of an input node."""

        def as_exported(node):  # views in the exported graph need the memory layout of the export
            value = value_of(node)
            return value.contiguous() if isinstance(value, torch.Tensor) and value.ndim > 3 else value

        return evaluate(self.node, as_exported)


class SameCell(Step):
    """An operator whose output cells depend only on the same cell of its inputs, all on one grid."""

    def whole(self, value_of):
        return evaluate(self.node, value_of)


class Windowed(Step):
    """A convolution, pool or padding: an output cell depends on a window of cells of its single input.

    Each subclass has `on(cells, boxes)`: the output in `boxes`, from the input cells needed for it, including padding.

    window : the input window of an output cell
    fill : value beyond the border
    multiplications : number of multiplications per output cell
    """

    def __init__(self, graph, node, window, fill, multiplications=0):
        super().__init__(graph, node)
        self.window, self.fill, self.multiplications = window, fill, multiplications
        self.inputs = self.inputs[:1]


class Convolution(Windowed):
    """A convolution, with the batch normalisation and the ReLU after it unless other nodes read values in between."""

    def __init__(self, graph, node, normalisation, rectifier):
        _, weight, bias, stride, padding, dilation, _, _, self.groups = node.args
        axes = len(grid_of(node))
        self.weight = graph.constants[weight]
        self.bias = None if bias is None else graph.constants[bias]
        options = (_each(option, axes) for option in (stride, padding, dilation))
        window = Window(tuple(self.weight.shape[2:]), *options)
        super().__init__(graph, node, window, 0.0, self.weight[0].numel() * len(self.weight))
        self.rectified = rectifier is not None
        self.node = rectifier or normalisation or node
        if normalisation is not None:
            self._fold(graph, normalisation.args[0])

    def _fold(self, graph, node):
        weight, bias, mean, var = (None if arg is None else graph.constants[arg] for arg in node.args[1:5])
        scale = (var + node.args[6]).rsqrt() * (1 if weight is None else weight)
        shift = (0 if bias is None else bias) - mean * scale
        self.weight = self.weight * scale.reshape(-1, *[1] * (self.weight.ndim - 1))
        self.bias = shift if self.bias is None else self.bias * scale + shift

    def on(self, cells, boxes):
        return self._convolve(cells, [0] * len(self.window.kernel))

    def whole(self, value_of):
        return self._convolve(value_of(self.inputs[0]), list(self.window.padding))

    def _convolve(self, cells, padding):
        _, stride, _, dilation = (list(option) for option in self.window)
        if cells.device.type == "cpu" and cells.dtype == torch.float32 and torch.backends.mkldnn.is_available():
            # By itself, torch does not use oneDNN for a single image or a single thread, which is several times slower
            # in 3D.
            found = torch.mkldnn_convolution(cells, self.weight, self.bias, padding, stride, dilation, self.groups)
        else:
            options = (stride, padding, dilation, False, [0] * len(padding), self.groups)
            found = torch.convolution(cells, self.weight, self.bias, *options)
        return found.relu_() if self.rectified else found


class MaxPool(Windowed):
    """The largest value in a window; cells beyond the border do not count."""

    def __init__(self, graph, node, largest):
        axes = len(grid_of(node))
        args = [*node.args[1:], *[None] * 5]
        kernel = _each(args[0], axes)
        stride = _each(args[1], axes) if args[1] else kernel
        options = (_each(args[2] or 0, axes), _each(args[3] or 1, axes))
        super().__init__(graph, node, Window(kernel, stride, *options), -torch.inf)
        self.node, self.pool = largest, node
        self.operator = torch.max_pool2d if axes == 2 else torch.max_pool3d

    def on(self, cells, boxes):
        kernel, stride, _, dilation = self.window
        return self.operator(cells, kernel, stride, 0, dilation)

    def whole(self, value_of):
        kernel, stride, padding, dilation = self.window
        ceil_mode = len(self.pool.args) > 5 and self.pool.args[5]
        return self.operator(value_of(self.inputs[0]), kernel, stride, padding, dilation, ceil_mode)


class MeanPool(Windowed):
    """The mean of a window: its sum, divided by the divisor of the operator, which differs at the border."""

    def __init__(self, graph, node):
        axes = len(grid_of(node))
        given = dict(enumerate(node.args[1:]))
        kernel = _each(given[0], axes)
        stride = _each(given[1], axes) if given.get(1) else kernel
        padding, ceil_mode = _each(given.get(2, 0), axes), given.get(3, False)
        super().__init__(graph, node, Window(kernel, stride, padding, (1,) * axes), 0.0)
        self.operator = torch.nn.functional.avg_pool2d if axes == 2 else torch.nn.functional.avg_pool3d
        source = self.inputs[0].meta["val"]
        ones = torch.ones((1, 1, *source.shape[2:]), dtype=source.dtype, device=source.device)
        # The number of cells inside the layer.
        within = self.operator(ones, kernel, stride, padding, ceil_mode, divisor_override=1)
        self.factor = self.operator(ones, kernel, stride, padding, ceil_mode, given.get(4, True), given.get(5)) / within
        first = self.factor.flatten()[0]
        self.constant = float(first) if bool((self.factor == first).all()) else None

    def on(self, cells, boxes):
        kernel, stride, _, _ = self.window
        total = self.operator(cells, kernel, stride, divisor_override=1)
        if self.constant is not None:
            return total.mul_(self.constant)
        for one, lo in zip(total, boxes.lo, strict=True):
            one *= self.factor[(0, slice(None), *_slices(lo, boxes.extent))]
        return total


class Pad(Windowed):
    """Padding by a constant: an output cell is one input cell, or the constant. Negative padding crops."""

    def __init__(self, graph, node):
        axes = len(grid_of(node))
        before = tuple([*node.args[1][::2], *[0] * axes][:axes][::-1])
        fill = node.args[2] if len(node.args) > 2 else 0.0
        super().__init__(graph, node, Window((1,) * axes, (1,) * axes, before, (1,) * axes), float(fill))

    def on(self, cells, boxes):
        return cells


def steps_of(graph) -> list[Step]:
    """The step of each operator that depends on the image, in order."""
    steps, skipped = [], set()
    for node in graph.nodes:
        if node in graph.dependent and node not in skipped and (node.users or node is graph.output):
            step, covered = _step(graph, node)
            skipped |= covered
            steps.append(step)
    return steps


def _step(graph, node):
    """The step of a node, and the following nodes that the step also covers."""
    name = operator_name(node)
    if grid_of(node) is None or any(
        grid_of(source) is None for source in node.all_input_nodes if source in graph.dependent
    ):
        return Step(graph, node), set()
    if name == "convolution" and _is_plain_convolution(graph, node):
        normalisation = _normalisation_behind(graph, node)
        rectifier = _relu_behind(normalisation or node)
        covered = {normalisation, normalisation.args[0]} if normalisation else set()
        return Convolution(graph, node, normalisation, rectifier), covered | {rectifier}
    if name in MAX_POOLS and (largest := _only_first(node)):
        return MaxPool(graph, node, largest), {largest}
    if name in MEAN_POOLS:
        return MeanPool(graph, node), set()
    if name == "constant_pad_nd" and len(node.args[1]) <= 2 * len(grid_of(node)):
        return Pad(graph, node), set()
    return (SameCell if _keeps_cells(graph, node, name) else Step)(graph, node), set()


def grid_of(node) -> tuple[int, ...] | None:
    """Cells along each axis of a layer (n, channels, *cells); None if the node is not such a layer."""
    value = node.meta.get("val")
    value = value[0] if isinstance(value, (list, tuple)) and value else value
    if not isinstance(value, torch.Tensor) or value.ndim not in (4, 5):
        return None
    return tuple(value.shape[2:]) if all(isinstance(n, int) for n in value.shape[1:]) else None


def channels_of(node) -> int:
    """Channels of a layer; those of the first output if a node has several."""
    value = node.meta["val"]
    return (value[0] if isinstance(value, (list, tuple)) else value).shape[1]


def _is_plain_convolution(graph, node):
    weights = [arg for arg in node.args[1:3] if arg is not None]
    return not node.args[6] and all(weight in graph.constants for weight in weights)


def _normalisation_behind(graph, node):
    """The output of a batch normalisation with constant weights that is the only reader of a convolution; else None."""
    users = list(node.users)
    if len(users) != 1 or operator_name(users[0]) != "_native_batch_norm_legit_no_training":
        return None
    if any(arg is not None and arg not in graph.constants for arg in users[0].args[1:5]):
        return None
    return _only_first(users[0]) if users[0].args[0] is node else None


def _relu_behind(node):
    """The ReLU that is the only reader of a node; else None."""
    users = list(node.users)
    return users[0] if len(users) == 1 and operator_name(users[0]) == "relu" else None


def _only_first(node):
    """The node that takes the first of several outputs, if no other output is used; else None."""
    users = list(node.users)
    if len(users) == 1 and users[0].target is operator.getitem and users[0].args[1] == 0:
        return users[0]
    return None


def _keeps_cells(graph, node, name):
    """Whether an output cell depends only on the same cell of the inputs."""
    grid = grid_of(node)
    if any(grid_of(source) != grid for source in node.all_input_nodes if source in graph.dependent):
        return False
    if name in SAME_CELL or node.target is operator.getitem:
        return True
    if name in ALONG_CHANNELS:
        place = ALONG_CHANNELS[name]
        axis = node.args[place] if len(node.args) > place else 0
        return axis in (1, 1 - node.meta["val"][0].ndim if name.startswith("split") else 1 - node.meta["val"].ndim)
    if name in OVER_CHANNELS:
        axes = node.args[1] if len(node.args) > 1 else None
        return axes in ([1], 1) and len(node.args) > 2 and bool(node.args[2])
    return torch.Tag.pointwise in getattr(node.target, "tags", ())


def _each(value, axes):
    values = list(value) if isinstance(value, (list, tuple)) else [value]
    return tuple(int(v) for v in (values * axes if len(values) == 1 else values))


def _slices(lo, extent):
    return [slice(int(start), int(start) + size) for start, size in zip(lo, extent, strict=True)]
