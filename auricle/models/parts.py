"""Pieces that several published networks share: convolution with batch norm, sizes, first weights, refusals.

Shape letters: B clips, C channels, T frames, F mel bands, E embedding, K classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

PATCH = (1, 96, 64)  # C, T, F: 0.96 s of 64 mel bands (Hershey et al. 2017, section 3.1)


def scaled(count: int, width: float) -> int:
    """A published number of channels or units times `width`, in eights so that processors like it.

    >>> [scaled(80, width) for width in (1.0, 0.5, 0.25, 0.01)]
    [80, 40, 24, 8]
    """
    if not 0 < width < 100:
        raise ValueError(f"width is {width}; expected a number above 0, 1 for the published size")
    return count if width == 1 else max(8, 8 * int(count * width / 8 + 0.5))


def conv_norm(
    size_in: int,
    size_out: int,
    kernel: int | tuple[int, int],
    *,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
) -> list[nn.Module]:
    """A convolution without bias and its batch norm, which brings one.

    >>> len(conv_norm(1, 8, 3))
    2
    """
    return [
        nn.Conv2d(size_in, size_out, kernel, stride=stride, padding=padding, bias=False),
        nn.BatchNorm2d(size_out),
    ]


class MapDropout(nn.Dropout):
    """Dropout of large maps: torch's own on a GPU, the same with cheaper random numbers on a CPU.

    Torch draws one number of its generator for each value there, which is a third of the time of a network
    whose maps are large: here one draw serves four values, 16 bits each, so the share that is dropped is
    rounded to 1/65536.

    >>> MapDropout(0.5).eval()(torch.ones(1, 2, 2, 2)).sum().item()
    8.0
    """

    def forward(self, x: Tensor) -> Tensor:
        """What is dropped is zero, the rest is larger by 1 / (1 - p); outside training, the input."""
        if not self.training or not self.p or x.device.type != "cpu" or self.inplace:
            return super().forward(x)
        bits = torch.empty(-(-x.numel() // 4), dtype=torch.int64).random_(-(2**63), None)
        kept = bits.view(torch.int16)[: x.numel()] >= round(2**16 * self.p) - 2**15
        scale = kept.to(x.dtype).mul_(1 / (1 - self.p))
        if x.is_contiguous(memory_format=torch.channels_last):
            return x * scale.as_strided(x.shape, x.stride())  # in the order in which both lie in memory
        return x * scale.view(x.shape)


def output_layers(size_in: int, num_classes: int, bottleneck: int | None) -> tuple[nn.Module, nn.Linear, int]:
    """What stands at the end of a network: the bottleneck (or nothing), the head, the embedding's size.

    Args:
        size_in: width of the penultimate layer.
        num_classes: K.
        bottleneck: units of a linear layer without activation before the head; None for none
            (Hershey et al. 2017, section 4.2).

    >>> output_layers(2048, 10, 128)[2]
    128
    """
    if num_classes < 1:
        raise ValueError(f"num_classes is {num_classes}; expected at least 1")
    if bottleneck is not None and bottleneck < 1:
        raise ValueError(f"bottleneck is {bottleneck}; expected at least 1 unit, or None for no bottleneck")
    size = size_in if bottleneck is None else bottleneck
    squeeze = nn.Identity() if bottleneck is None else nn.Linear(size_in, bottleneck)
    return squeeze, nn.Linear(size, num_classes), size


def initialise(net: nn.Module, *heads: nn.Linear) -> None:
    """First weights: He et al. (2015) before each ReLU, heads that start near "absent" for every class.

    Most classes are absent from most patches: a sigmoid of 0.018 (bias -4) saves the first steps from
    learning that, thousands of classes at once.

    >>> layer = nn.Linear(4, 2)
    >>> initialise(layer, layer)
    >>> layer.bias.tolist()
    [-4.0, -4.0]
    """
    for module in net.modules():
        if isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Linear)):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    for head in heads:
        nn.init.normal_(head.weight, std=0.01)
        nn.init.constant_(head.bias, -4.0)


def check_patches(logmel_BCTF: Tensor, shape: Sequence[int]) -> None:
    """Refuse log-mel that is not (B, *shape).

    >>> import torch
    >>> check_patches(torch.zeros(2, 1, 98, 64), (1, 96, 64))
    Traceback (most recent call last):
    ValueError: expected log-mel patches (B, 1, 96, 64), got (2, 1, 98, 64)
    """
    if logmel_BCTF.ndim != 4 or tuple(logmel_BCTF.shape[1:]) != tuple(shape):
        wanted = ", ".join(str(size) for size in shape)
        raise ValueError(f"expected log-mel patches (B, {wanted}), got {tuple(logmel_BCTF.shape)}")


def patch_shape(shape: Sequence[int], *, least: tuple[int, int]) -> tuple[int, int, int]:
    """An `input_shape` argument as a tuple, if it is (1, T, F) and large enough for the network.

    >>> patch_shape([1, 96, 64], least=(32, 32))
    (1, 96, 64)
    """
    sizes = tuple(int(size) for size in shape)
    if len(sizes) != 3 or sizes[0] != 1 or sizes[1] < least[0] or sizes[2] < least[1]:
        raise ValueError(
            f"input_shape is {sizes}; expected (1, T, F) with at least {least[0]} frames and {least[1]} bands"
        )
    return sizes[0], sizes[1], sizes[2]
