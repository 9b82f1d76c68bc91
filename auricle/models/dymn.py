"""EfficientAT's dymn: MobileNetV3-Large whose kernels and activations follow what is heard.

Source: Schmid et al., "Dynamic Convolutional Neural Networks as Efficient Pre-trained Audio Models", IEEE/ACM
TASLP 2024, https://arxiv.org/abs/2310.15648, section III. Each block makes a context of its input: means over
time and over frequency, through one layer. From the context's mean follow the shares of four kernels in every
convolution and the slopes of a ReLU with two pieces (Dy-ReLU-B, Chen et al. 2020); from its two sequences,
coordinate attention (Hou et al. 2021), which stands where squeeze-and-excitation did. As in the authors'
release (fschmid56/EfficientAT): a context of a quarter of the block's channels, 32 to 128 times the width.

What the release names dymn04, dymn10 and dymn20 is `width` 0.4, 1 and 2; "replace_se" is `dynamic` so named.

Ours: kernels are mixed by one product a batch, and a convolution without neighbours is that product with the
map; first weights. The paper cools the shares' temperature in training, from 30 to 1; here it is one number.

Shape letters: B clips, C channels, T frames (1000), F mel bands (128), H context, M kernels (4), E embedding
(960), K classes.
"""

from collections.abc import Sequence
from math import prod

import torch
from torch import Tensor, nn
from torch.nn import functional

from auricle.models.mobile import (
    EXPANDED_LAST,
    STRIDES,
    TEN_SECONDS,
    Inverted,
    Shape,
    conv_norm,
    frequency_first,
    in_eights,
    make_head,
    norm,
    shapes,
    swish,
)
from auricle.models.parts import initialise, patch_shape

KERNELS = 4  # M, that a convolution mixes
SMALLEST, LARGEST, SHARE = 32, 128, 4  # context of a block: at least, at most, and its channels over this
DYNAMIC = ("all", "replace_se")
SLOPE_SCALE = (1.0, 1.0, 0.5, 0.5)  # lambda of Dy-ReLU: how far two slopes and two offsets move
SLOPE_START = (1.0, 0.0, 0.0, 0.0)  # from a plain ReLU


class DyMN(nn.Module):
    """Log-mel of any length -> logits, by way of the mean of the last map.

    Args:
        num_classes: K, the width of the logits.
        input_shape: (1, T, F) of an example, for counting: any numbers of frames and bands will do.
        width: multiplies all channels, contexts and the head's units; 0.4, 1 and 2 are released.
        strides: of the four blocks that halve the map, 1 or 2 each.
        dynamic: "all" blocks, or "replace_se", those alone that have squeeze-and-excitation in `mn`.
        temperature: divides what the shares of the kernels are the softmax of; 1 at inference.
        head: "mlp", or "linear" for one linear layer on the embedding.
        dropout: share of the head's units dropped in training.

    Shapes:
        forward: (B, 1, T, F) log-mel -> (B, K) logits, no sigmoid.
        embed:   (B, 1, T, F) log-mel -> (B, E).

    Raises:
        ValueError: an argument is none of those above, or log-mel is not (B, 1, T, F).

    >>> DyMN(num_classes=5, width=0.4).embed(torch.zeros(2, 1, 100, 128)).shape
    torch.Size([2, 384])
    """

    input_kind = "logmel"
    input_shape: tuple[int, ...] = TEN_SECONDS

    def __init__(
        self,
        *,
        num_classes: int,
        input_shape: Sequence[int] = TEN_SECONDS,
        width: float = 1.0,
        strides: Sequence[int] = STRIDES,
        dynamic: str = "all",
        temperature: float = 1.0,
        head: str = "mlp",
        dropout: float = 0.2,
    ):
        super().__init__()
        rows = shapes(width, strides)
        if dynamic not in DYNAMIC:
            raise ValueError(f"dynamic is {dynamic!r}; known: {', '.join(DYNAMIC)}")
        if not temperature > 0:
            raise ValueError(f"temperature is {temperature}; expected a number above 0")
        self.num_classes, self.input_shape = num_classes, patch_shape(input_shape, least=(1, 1))
        self.embedding_size = EXPANDED_LAST * rows[-1].size_out
        self.least = 2 * prod(strides)
        self.stem = nn.Sequential(*conv_norm(1, rows[0].size_in, 3, stride=2), nn.Hardswish())
        self.blocks = nn.Sequential(
            *[
                Dynamic(row, width=width, temperature=temperature)
                if dynamic == "all" or row.squeeze
                else Inverted(row, squeeze=False)
                for row in rows
            ]
        )
        self.last = nn.Sequential(*conv_norm(rows[-1].size_out, self.embedding_size, 1), nn.Hardswish())
        self.head, last = make_head(head, self.embedding_size, num_classes, width=width, dropout=dropout)
        initialise(self, last)

    def embed(self, logmel_B1TF: Tensor) -> Tensor:
        """(B, 1, T, F) log-mel -> (B, E)."""
        map_BCFT = frequency_first(logmel_B1TF, training=self.training, least=self.least)
        return self.last(self.blocks(self.stem(map_BCFT))).mean((2, 3))

    def forward(self, logmel_B1TF: Tensor) -> Tensor:
        """(B, 1, T, F) log-mel -> (B, K) logits."""
        return self.head(self.embed(logmel_B1TF))


def context_size(expanded: int, width: float) -> int:
    """H of a block with so many channels.

    >>> [context_size(expanded, 1.0) for expanded in (16, 240, 960)]
    [32, 64, 128]
    """
    wanted = in_eights(expanded // SHARE)
    return min(max(wanted, in_eights(SMALLEST * width)), in_eights(LARGEST * width))


class Dynamic(nn.Module):
    """A block: context, expand, each channel by itself, Dy-ReLU, coordinate attention, project."""

    def __init__(self, shape: Shape, *, width: float, temperature: float):
        super().__init__()
        wide, size = shape.expanded, context_size(shape.expanded, width)
        self.context = Context(shape.size_in, wide, size, stride=shape.stride)

        def conv(size_in: int, size_out: int, **options: int) -> DynamicConv:
            return DynamicConv(size_in, size_out, size, temperature=temperature, **options)

        expands = wide != shape.size_in
        self.expand = conv(shape.size_in, wide) if expands else None
        self.expand_norm = norm(wide) if expands else None
        self.act = swish(shape.hard_swish)
        self.depth = conv(wide, wide, kernel=shape.kernel, stride=shape.stride, groups=wide)
        self.depth_norm = norm(wide)
        self.relu = DynamicReLU(wide, size)
        self.project = conv(wide, shape.size_out)
        self.project_norm = norm(shape.size_out)
        self.shortcut = shape.stride == 1 and shape.size_in == shape.size_out

    def forward(self, map_BCFT: Tensor) -> Tensor:
        """(B, C, F, T) -> (B, C', F / stride, T / stride), rounded up."""
        context_BH, over_time_BCF1, over_bands_BC1T = self.context(map_BCFT)
        inner = map_BCFT
        if self.expand is not None and self.expand_norm is not None:
            inner = self.act(self.expand_norm(self.expand(inner, context_BH)))
        inner = self.relu(self.depth_norm(self.depth(inner, context_BH)), context_BH)
        inner = inner * over_time_BCF1.sigmoid() * over_bands_BC1T.sigmoid()
        inner = self.project_norm(self.project(inner, context_BH))
        return inner + map_BCFT if self.shortcut else inner


class Context(nn.Module):
    """What a block's parts follow: a vector of the whole map, a sequence over bands, one over frames."""

    def __init__(self, size_in: int, expanded: int, size: int, *, stride: int):
        super().__init__()
        self.joint = nn.Sequential(nn.Conv2d(size_in, size, 1, bias=False), norm(size), nn.Hardswish())
        self.bands = nn.Conv2d(size, expanded, 1)
        self.frames = nn.Conv2d(size, expanded, 1)
        self.stride = stride

    def forward(self, map_BCFT: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, C, F, T) -> (B, H), (B, C', F / stride, 1), (B, C', 1, T / stride)."""
        over_time, over_bands = map_BCFT.mean(3, keepdim=True), map_BCFT.mean(2, keepdim=True)
        both = self.joint(torch.cat([over_time, over_bands.transpose(2, 3)], dim=2))  # (B, H, F + T, 1)
        bands = map_BCFT.shape[2]
        by_band, by_frame = both[:, :, :bands], both[:, :, bands:].transpose(2, 3)
        if self.stride > 1:  # zeros beyond the ends count, as in the release
            by_band = functional.avg_pool2d(by_band, (3, 1), (self.stride, 1), (1, 0))
            by_frame = functional.avg_pool2d(by_frame, (1, 3), (1, self.stride), (0, 1))
        return both.mean((2, 3)), self.bands(by_band), self.frames(by_frame)


class DynamicConv(nn.Conv2d):
    """A convolution whose kernel is a mixture of M, in shares that follow from the context.

    Its weight holds the M kernels one after the other, (M * C', C / groups, kernel, kernel); `groups` is 1,
    then the kernel is 1 x 1, or C: each channel by itself.
    """

    def __init__(
        self,
        size_in: int,
        size_out: int,
        context: int,
        *,
        temperature: float,
        kernel: int = 1,
        stride: int = 1,
        groups: int = 1,
    ):
        super().__init__(size_in, KERNELS * size_out, kernel, stride, kernel // 2, groups=groups, bias=False)
        assert groups == size_in == size_out or (groups == 1 and kernel == 1)
        self.shares = nn.Linear(context, KERNELS)
        self.temperature = temperature

    def forward(self, map_BCFT: Tensor, context_BH: Tensor) -> Tensor:  # type: ignore[override]
        """(B, C, F, T), (B, H) -> (B, C', F / stride, T / stride)."""
        shares_BM = torch.softmax(self.shares(context_BH) / self.temperature, dim=-1)
        if self.groups > 1 and torch.compiler.is_exporting():
            return self._by_sums(map_BCFT, shares_BM)
        mixed = (shares_BM @ self.weight.view(KERNELS, -1)).to(map_BCFT.dtype)
        if self.groups == 1:
            mixed_BOI = mixed.unflatten(1, (-1, self.in_channels))
            return (mixed_BOI @ map_BCFT.flatten(2)).unflatten(2, map_BCFT.shape[2:])
        channels = shares_BM.shape[0] * self.groups  # clips beside each other: one convolution for all
        out = functional.conv2d(
            map_BCFT.reshape(1, channels, *map_BCFT.shape[2:]),
            mixed.view(channels, 1, *self.kernel_size),
            stride=self.stride,
            padding=self.padding,
            groups=channels,
        )
        return out.view(-1, self.groups, *out.shape[2:])

    def _by_sums(self, map_BCFT: Tensor, shares_BM: Tensor) -> Tensor:
        """The same numbers with a graph's fixed kernels: all M convolutions, their maps mixed."""
        kernels = self.weight.view(KERNELS, self.groups, -1).transpose(0, 1)
        kernels = kernels.reshape(KERNELS * self.groups, 1, *self.kernel_size)
        maps = functional.conv2d(
            map_BCFT, kernels, stride=self.stride, padding=self.padding, groups=self.groups
        )
        apart = maps.unflatten(1, (self.groups, KERNELS))
        return (apart * shares_BM[:, None, :, None, None]).sum(2)


class DynamicReLU(nn.Module):
    """Dy-ReLU-B: the larger of two lines through each value, whose slopes and offsets follow the context."""

    scale: Tensor
    start: Tensor

    def __init__(self, channels: int, context: int):
        super().__init__()
        self.lines = nn.Linear(context, 4 * channels)
        self.register_buffer("scale", torch.tensor(SLOPE_SCALE), persistent=False)
        self.register_buffer("start", torch.tensor(SLOPE_START), persistent=False)

    def forward(self, map_BCFT: Tensor, context_BH: Tensor) -> Tensor:
        """(B, C, F, T), (B, H) -> (B, C, F, T)."""
        moved_BC4 = (2 * self.lines(context_BH).sigmoid() - 1).unflatten(1, (-1, 4))
        lines = (moved_BC4 * self.scale + self.start)[..., None, None]
        return torch.maximum(
            map_BCFT * lines[:, :, 0] + lines[:, :, 2], map_BCFT * lines[:, :, 1] + lines[:, :, 3]
        )
