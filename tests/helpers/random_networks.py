"""Random small networks in 2D and 3D: all operators that the incremental engine knows, and some that it doesn't."""

import torch
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

CONV, TURNED = {2: nn.Conv2d, 3: nn.Conv3d}, {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
NORM, INSTANCE = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}, {2: nn.InstanceNorm2d, 3: nn.InstanceNorm3d}
MAX, MEAN = {2: nn.MaxPool2d, 3: nn.MaxPool3d}, {2: nn.AvgPool2d, 3: nn.AvgPool3d}
ADAPTIVE = {2: nn.AdaptiveAvgPool2d, 3: nn.AdaptiveAvgPool3d}
ADAPTIVE_MAX = {2: nn.AdaptiveMaxPool2d, 3: nn.AdaptiveMaxPool3d}


class Call(nn.Module):
    """A function as a layer, with the layers that it uses."""

    def __init__(self, function, **layers):
        super().__init__()
        self.function, self.layers = function, nn.ModuleDict(layers)

    def forward(self, x):
        return self.function(x, **self.layers)


def convolution(draw, width, axes):
    groups, out = draw(st.sampled_from([(1, 2), (1, 3), (2, 4), (width, width)]))
    groups = groups if width % groups == 0 else 1
    options = {"groups": groups, "bias": draw(st.booleans()), "dilation": draw(each(axes, 1, 2))}
    if draw(st.integers(0, 4)) == 0:
        options |= {"padding": "same", "padding_mode": draw(st.sampled_from(["zeros", "zeros", "circular"]))}
    else:
        options |= {"padding": draw(each(axes, 0, 2)), "stride": draw(each(axes, 1, 2))}
    return CONV[axes](width, out, draw(each(axes, 1, 3)), **options)


def each(axes, least, most):
    """One number an axis, as a tuple."""
    return st.tuples(*[st.integers(least, most)] * axes)


def same(width, axes, out=None):
    return CONV[axes](width, out or width, 3, padding=1)


def max_pool(draw, width, axes):
    kernel = draw(each(axes, 1, 3))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    return MAX[axes](kernel, draw(each(axes, 1, 3)), padding, draw(each(axes, 1, 2)), ceil_mode=draw(st.booleans()))


def mean_pool(draw, width, axes):
    kernel = draw(each(axes, 1, 3))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    options = {"ceil_mode": draw(st.booleans()), "count_include_pad": draw(st.booleans())}
    return MEAN[axes](
        kernel, draw(each(axes, 1, 3)), padding, divisor_override=draw(st.sampled_from([None, 3])), **options
    )


def pad(draw, width, axes):
    around = draw(each(2 * axes, -1, 2))
    value = draw(st.sampled_from([0.0, 0.7]))
    return Call(lambda x: F.pad(x, around, value=value))


def activation(draw, width, axes):
    return draw(
        st.sampled_from(
            [
                nn.ReLU(), nn.ReLU(inplace=True), nn.ELU(inplace=True), nn.SiLU(), nn.SiLU(True), nn.ReLU6(True),
                nn.LeakyReLU(0.2), nn.GELU(), nn.Hardswish(inplace=True), nn.PReLU(), nn.Softplus(), nn.Dropout(0.5),
                Call(F.relu), Call(torch.tanh), Call(lambda x: x.clamp_(-1, 1)), Call(lambda x: x.abs() + 0.5),
                Call(lambda x: torch.where(x > 0, x, 0.1 * x)), Call(lambda x: x.mul_(2).add_(0.1)),
            ]
        )
    )  # fmt: skip


def residual(draw, width, axes):
    return Call(lambda x, a, b: x + b(F.relu(a(x))), a=same(width, axes), b=same(width, axes))


def residual_in_place(draw, width, axes):
    def run(x, a):
        y = a(x)
        y += x
        return F.relu(y, inplace=True)

    return Call(run, a=same(width, axes))


def pooled_shortcut(draw, width, axes):
    pool = MAX[axes](3, 1, 1) if draw(st.booleans()) else MEAN[axes](3, 1, 1)
    return Call(lambda x, a, b: torch.cat([a(x), b(x), x], dim=1), a=same(width, axes, 1), b=pool)


def gate(draw, width, axes):
    return Call(lambda x, a: x * a(x).sigmoid(), a=CONV[axes](width, width, 1))


def halves(draw, width, axes):
    """The halves of the channels in each other's place, by views; the second also goes on alone."""

    def run(x):
        first, second = x.chunk(2, dim=1) if x.shape[1] > 1 else (x, x)
        return torch.cat([second * 2, first.relu() + second[:, :1], x[:, -1:]], dim=1)

    return Call(run)


def over_channels(draw, width, axes):
    return Call(lambda x: torch.cat([x.softmax(dim=1), x * x.mean(dim=1, keepdim=True), x.amax(1, keepdim=True)], 1))


def norm(draw, width, axes):
    return NORM[axes](width, affine=draw(st.booleans()))


def positions(draw, width, axes):
    """A sum with a map of its own along the grid, made from the shape alone."""

    def run(x):
        steps = torch.arange(x.shape[-1], dtype=x.dtype, device=x.device)
        return x + steps.cos() + x.new_ones(x.shape).cumsum(2) / 10

    return Call(run)


def squeeze_excitation(draw, width, axes):
    space = tuple(range(2, 2 + axes))

    def run(x, a, b):
        return x * b(F.silu(a(x.mean(dim=space, keepdim=True)))).sigmoid()

    return Call(run, a=CONV[axes](width, 2, 1), b=CONV[axes](2, width, 1))


def attention(draw, width, axes):
    def run(x, a):
        tokens = x.flatten(2).transpose(1, 2)
        query, key, value = a(tokens).chunk(3, dim=-1)
        weights = (query @ key.transpose(1, 2)).softmax(dim=-1)
        return x + (weights @ value).transpose(1, 2).reshape(x.shape)

    return Call(run, a=nn.Linear(width, 3 * width))


def layer_norm(draw, width, axes):
    return Call(lambda x, a: a(x.movedim(1, -1)).movedim(-1, 1), a=nn.LayerNorm(width))


def global_norm(draw, width, axes):
    options = [nn.GroupNorm(1, width), INSTANCE[axes](width, affine=True)]
    return draw(st.sampled_from(options))


def turned(draw, width, axes):
    return TURNED[axes](width, 2, 2, stride=draw(st.integers(1, 2)))


def unknown(draw, width, axes):
    each_image = tuple(range(1, 2 + axes))  # a mean over all images would let the parts of a batch change each other
    return draw(
        st.sampled_from(
            [
                Call(lambda x: x + x.flip(-1)), Call(lambda x: x + x.roll(1, 2)), Call(lambda x: x[..., 1:]),
                Call(lambda x: F.pad(x, (1, 1) * axes, mode="replicate")), Call(lambda x: x - x.mean(each_image, True)),
                Call(lambda x: F.interpolate(x, scale_factor=2)), Call(lambda x: x.cumsum(-1) / 8),
            ]
        )
    )  # fmt: skip


LOCAL = [
    convolution, convolution, convolution, max_pool, mean_pool, pad, activation, activation, norm, residual,
    residual_in_place, pooled_shortcut, gate, halves, over_channels, positions,
]  # fmt: skip
WIDE = [squeeze_excitation, attention, layer_norm, global_norm, turned, unknown]


def end(draw, width, axes):
    """From a layer to three logits."""
    kind = draw(st.integers(0, 3))
    if kind == 0:
        return nn.Sequential(nn.Flatten(), nn.LazyLinear(3))
    if kind == 1:
        return nn.Sequential(ADAPTIVE[axes](draw(st.integers(1, 2))), nn.Flatten(), nn.LazyLinear(3))
    if kind == 2:
        return nn.Sequential(ADAPTIVE_MAX[axes](1), Call(lambda x: x.view(x.size(0), -1)), nn.LazyLinear(3))
    return nn.Sequential(Call(lambda x: x.mean(dim=tuple(range(2, 2 + axes)))), nn.LazyLinear(3))


@st.composite
def networks(draw, shape, channels, most=6):
    """A network of up to `most` layers for images (n, channels, *shape), in float64 and eval mode."""
    torch.manual_seed(draw(st.integers(0, 2**31 - 1)))
    x = torch.randn(2, channels, *shape)
    layers = []
    for _ in range(draw(st.integers(1, most))):
        kinds = LOCAL if draw(st.integers(0, 5)) else WIDE
        layer = draw(st.sampled_from(kinds))(draw, x.shape[1], len(shape)).eval()
        try:
            with torch.no_grad():
                after = layer(x.clone())
        except RuntimeError:  # a kernel that does not fit: the layer is left out
            continue
        if min(after.shape[2:]) < 1 or after[0].numel() > 40 * x[0].numel() + 400:
            continue
        layers.append(layer)
        x = after.clone()
    layers.append(end(draw, x.shape[1], len(shape)))
    net = nn.Sequential(*layers)
    net.eval()
    with torch.no_grad():
        net(torch.randn(2, channels, *shape))
        for module in net.modules():
            if getattr(module, "running_mean", None) is not None:
                module.running_mean.normal_(std=0.3)
                module.running_var.uniform_(0.5, 2.0)
            if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.affine:
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(std=0.3)
    return net.double()


class Several(nn.Module):
    """Networks side by side on one image: their logits in one row. One export serves them all."""

    def __init__(self, nets):
        super().__init__()
        self.nets = nn.ModuleList(nets)

    def forward(self, x):
        return torch.cat([net(x.clone()) for net in self.nets], dim=1)
