"""Residual blocks that several networks are made of, on maps and on signals.

Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 3 and table 1. A stage's
stride is in its first block: in the first convolution of a basic block, in the 3x3 convolution of a
bottleneck block (as most later releases have it; in the 1x1 convolution before it in the paper).

Shape letters: B clips, C channels, T frames, F mel bands, L samples or frames of a signal.
"""

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional

from auricle.models.parts import conv_norm


def signal_conv_norm(
    size_in: int, size_out: int, kernel: int, *, stride: int = 1, padding: int = 0
) -> list[nn.Module]:
    """A 1D convolution without bias and its batch norm, which brings one.

    As 1 x k convolutions of maps in channels_last, a step of a small net is a tenth faster in bfloat16, but
    in float32 torch 2.13 then writes outside its memory on some CPUs.

    >>> len(signal_conv_norm(1, 8, 9))
    2
    """
    return [
        nn.Conv1d(size_in, size_out, kernel, stride=stride, padding=padding, bias=False),
        nn.BatchNorm1d(size_out),
    ]


class Block(nn.Module):
    """1x1, 3x3 and 1x1 convolutions beside a shortcut, which is a 1x1 convolution where the shape changes.

    Args:
        size_in: channels that come in.
        inner: channels of the 3x3 convolution; `expansion` times as many go out.
        stride: of the 3x3 convolution, in both directions.

    >>> import torch
    >>> Block(8, 4, stride=2)(torch.zeros(2, 8, 5, 6)).shape
    torch.Size([2, 16, 3, 3])
    """

    expansion = 4

    def __init__(self, size_in: int, inner: int, *, stride: int):
        super().__init__()
        size_out = self.expansion * inner
        self.inner = nn.Sequential(
            *conv_norm(size_in, inner, 1),
            nn.ReLU(inplace=True),
            *conv_norm(inner, inner, 3, stride=stride, padding=1),
            nn.ReLU(inplace=True),
            *conv_norm(inner, size_out, 1),
        )
        self.shortcut = _shortcut(conv_norm, size_in, size_out, stride)

    def forward(self, map_BCTF: Tensor) -> Tensor:
        """(B, C, T, F) -> (B, C', T / stride, F / stride), rounded up."""
        return functional.relu(self.inner(map_BCTF) + self.shortcut(map_BCTF), inplace=True)


class BasicBlock(nn.Module):
    """Two convolutions beside a shortcut, which is a convolution of size 1 where the shape changes.

    Args:
        size_in: channels that come in.
        size_out: channels of both convolutions.
        stride: of the first.
        kernel: odd size of both.
        convolution: `conv_norm` for maps (B, C, T, F), `signal_conv_norm` for signals (B, C, L).

    >>> import torch
    >>> BasicBlock(8, 16, stride=2)(torch.zeros(2, 8, 5, 6)).shape
    torch.Size([2, 16, 3, 3])
    >>> BasicBlock(8, 8, stride=2, kernel=9, convolution=signal_conv_norm)(torch.zeros(2, 8, 5)).shape
    torch.Size([2, 8, 3])
    """

    expansion = 1

    def __init__(
        self,
        size_in: int,
        size_out: int,
        *,
        stride: int,
        kernel: int = 3,
        convolution: Callable[..., list[nn.Module]] = conv_norm,
    ):
        super().__init__()
        self.inner = nn.Sequential(
            *convolution(size_in, size_out, kernel, stride=stride, padding=kernel // 2),
            nn.ReLU(inplace=True),
            *convolution(size_out, size_out, kernel, padding=kernel // 2),
        )
        self.shortcut = _shortcut(convolution, size_in, size_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, ...) -> (B, C', ... / stride), rounded up."""
        return functional.relu(self.inner(x) + self.shortcut(x), inplace=True)


def _shortcut(
    convolution: Callable[..., list[nn.Module]], size_in: int, size_out: int, stride: int
) -> nn.Module:
    if stride == 1 and size_in == size_out:
        return nn.Identity()
    return nn.Sequential(*convolution(size_in, size_out, 1, stride=stride))
