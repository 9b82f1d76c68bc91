"""The end-to-end system on raw waveforms: a 1D ResNet, whose output a 2D ResNet reads as a picture.

Source: Chen et al., "An End-to-End Audio Classification System based on Raw Waveforms and Mix-Training
Strategy", Interspeech 2019, section 3.1, https://arxiv.org/abs/1911.09349. As published: 10 s at 16 kHz; a 1D
ResNet-18 gives 128 features of 2,500 frames (1,250 in the smaller variant), which are transposed from C x 1 x
T to 1 x C x T; a 2D ResNet-50; after its second, third and fourth block an attention structure of two
attention modules, one on the block's features and one after two fully connected layers of 600 with ReLU;
the output is the mean of the three predictions, the loss the mean of their losses. The paper gives no count
of weights or multiplies.

Open there, and settled so:

- The 1D ResNet: a stem of kernel 80 and stride 4 (8 in the smaller variant), after Dai et al., "Very deep
  convolutional neural networks for raw waveforms", ICASSP 2017, then a max pool of 3 and stride 2; four
  stages of basic blocks of kernel 9 with 16, 32, 64 and 128 channels and strides 1, 2, 2, 2: 64 samples a
  frame. The stem is padded so that any N samples give N / 64 frames, rounded up.
- The 2D ResNet: stem and strides of He et al. 2016 (7x7 of stride 2, max pool of 3 and stride 2).
- Maps are averaged over frequency, so that attention is over time.
- An attention module gives probabilities (Kong et al. 2018); the two of a structure are concatenated and a
  last linear layer maps them to the labels, as in Yu et al. 2018. No batch norm or dropout between the fully
  connected layers: the paper names neither.
- First weights: the modules begin at a probability of a half, the last layer at "absent"; see `Head`.
- The mean of the three predictions is one of probabilities; `forward` gives its logit.

Shape letters: B clips, N samples, C features of the 1D ResNet and bands of the 2D one (128), T frames, F
bands left, D channels, K classes.
"""

import math
from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from auricle.models.attention import AttentionPool, logit_of_mean
from auricle.models.parts import conv_norm, initialise, scaled
from auricle.models.residual import BasicBlock, Block, signal_conv_norm

COUNTS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}  # blocks of a stage, by the depth
STRIDES = (1, 2, 2, 2)  # of the first block of each stage
CHANNELS = (64, 128, 256, 512)  # of the 2D blocks, inside
STEMS = {64: 4, 128: 8}  # stride of the first convolution, by the samples of a frame
KERNEL_STEM, KERNEL = 80, 9
HEARD = 8.0  # first weight of what a module says of a class in that class's logit
ABSENT = -4.0  # first logit, as of other networks
FRAMES = 32  # total stride of the 2D ResNet: fewer frames would be less than one column at its end
CLIP = (160_000,)  # 10 s at 16 kHz


class RawWaveform(nn.Module):
    """Waveform -> logits, without a front end.

    Args:
        num_classes: K, the width of the logits.
        depth_1d: layers of the 1D ResNet, 18 or 34.
        depth_2d: layers of the 2D ResNet, 18 or 34 (basic blocks), or 50 (bottleneck blocks).
        stride: samples of a frame between the two, 64 or 128.
        bands: C, a multiple of 8; the 1D stages have C/8, C/4, C/2 and C channels.
        hidden: units of each of the two fully connected layers before the second attention.
        squash: of the attention: "sigmoid", or "softmax" over the classes.
        width: multiplies the 2D channels and the hidden units.
        input_shape: (N,) of an example, for counting and training; any N from `shortest` on will do.

    Shapes:
        forward:     (B, N) float32 at 16 kHz, N at least `shortest` -> (B, K) float32 logits, no sigmoid.
        forward_all: (B, N) -> three (B, K) logits, of the predictions after blocks 2, 3 and 4.
        embed:       (B, N) -> (B, E): the mean of the last map, E = 2048 (512 of basic blocks) x width.

    Raises:
        ValueError: an argument is none of those above; an input of another rank (stereo, say) or of whole
            numbers, or shorter than `shortest`, `FRAMES` frames; an empty batch; in training, one clip alone
            whose last map is 1 x 1.

    >>> net = RawWaveform(num_classes=5, depth_2d=18, bands=16, width=0.125)
    >>> net(torch.zeros(2, 16_000)).shape, net.shortest
    (torch.Size([2, 5]), 2048)
    """

    input_kind = "waveform"
    input_shape: tuple[int, ...] = CLIP

    def __init__(
        self,
        *,
        num_classes: int,
        depth_1d: int = 18,
        depth_2d: int = 50,
        stride: int = 64,
        bands: int = 128,
        hidden: int = 600,
        squash: str = "sigmoid",
        width: float = 1.0,
        input_shape: Sequence[int] = CLIP,
    ):
        super().__init__()
        _known("depth_1d", depth_1d, (18, 34))
        _known("depth_2d", depth_2d, COUNTS)
        _known("stride", stride, STEMS)
        if bands < 8 or bands % 8:
            raise ValueError(f"bands is {bands}; expected a multiple of 8")
        if num_classes < 1 or hidden < 1:
            raise ValueError(f"expected at least one class and one unit, got {num_classes} and {hidden}")
        self.shortest = FRAMES * stride
        self.input_shape = tuple(int(size) for size in input_shape)
        if len(self.input_shape) != 1 or self.input_shape[0] < self.shortest:
            raise ValueError(f"input_shape is {self.input_shape}; expected (N,), N at least {self.shortest}")
        self.num_classes, self.bands = num_classes, bands
        self.front = Front(depth=depth_1d, stride=stride, bands=bands)
        self.body = Body(depth=depth_2d, width=width)
        self.embedding_size = self.body.sizes[-1]
        units = scaled(hidden, width)
        heads = [Head(size, units, num_classes, squash) for size in self.body.sizes[1:]]
        self.heads = nn.ModuleList(heads)
        initialise(self)
        for head in heads:
            head.start_absent()

    def _maps(self, waveform_BN: Tensor) -> list[Tensor]:
        """What the heads read: the maps (B, D, F, T) after blocks 2, 3 and 4."""
        shape = tuple(waveform_BN.shape)
        # While a graph is traced for export, lengths are symbols; the graph is compared with torch after.
        long_enough = torch.compiler.is_exporting() or len(shape) != 2 or shape[1] >= self.shortest
        if len(shape) != 2 or not long_enough or not waveform_BN.is_floating_point():
            raise ValueError(
                f"expected waveforms (B, N) float32, mono, N at least {self.shortest} samples, got {shape} "
                f"{str(waveform_BN.dtype).removeprefix('torch.')}"
            )
        if not torch.compiler.is_exporting():
            self._check_batch(shape)
        features_BCT = self.front(waveform_BN.to(next(self.parameters()).dtype))
        return self.body(features_BCT[:, None])[1:]  # (B, 1, C, T): features become a picture's rows

    def _check_batch(self, shape: tuple[int, ...]) -> None:
        """Refuse no waveform at all, and a single one whose last map has one place: batch norm needs more."""
        if not shape[0]:
            raise ValueError(f"expected at least one waveform (B, N), got {shape}")
        if self.training and shape[0] == 1 and shape[1] == self.shortest and self.bands <= FRAMES:
            raise ValueError(
                "expected more than one waveform (B, N) in training, or longer ones: batch norm cannot train "
                f"on a last map of 1 x 1, got {shape}"
            )

    def _predictions(self, maps: list[Tensor]) -> list[Tensor]:
        return [head(map_BDFT) for head, map_BDFT in zip(self.heads, maps, strict=True)]

    def forward_all(self, waveform_BN: Tensor) -> list[Tensor]:
        """(B, N) -> the three (B, K) logits whose losses are averaged in training."""
        return self._predictions(self._maps(waveform_BN))

    def forward_both(self, waveform_BN: Tensor) -> tuple[Tensor, Tensor]:
        """(B, N) -> (B, K) logits and (B, E) embedding, in one pass."""
        maps = self._maps(waveform_BN)
        predictions_3BK = torch.stack(self._predictions(maps))
        return logit_of_mean(predictions_3BK, -math.log(len(maps)), 0), maps[-1].mean((2, 3))

    def forward(self, waveform_BN: Tensor) -> Tensor:
        """(B, N) -> (B, K) logits of the mean of the three probabilities."""
        return self.forward_both(waveform_BN)[0]

    def embed(self, waveform_BN: Tensor) -> Tensor:
        """(B, N) -> (B, E): the mean of the last map over frequency and time."""
        return self._maps(waveform_BN)[-1].mean((2, 3))


class Front(nn.Module):
    """The 1D ResNet: (B, N) -> (B, C, T), T = N / stride, rounded up.

    Args:
        depth: 18 or 34.
        stride: samples of a frame, 64 or 128.
        bands: C.

    >>> Front(depth=18, stride=64, bands=8)(torch.zeros(2, 160_000)).shape
    torch.Size([2, 8, 2500])
    """

    def __init__(self, *, depth: int, stride: int, bands: int):
        super().__init__()
        size = bands // 8
        self.stem = nn.Sequential(
            *signal_conv_norm(1, size, KERNEL_STEM, stride=STEMS[stride]),
            nn.ReLU(inplace=True),
            # Over (C, N) as over a map: torch cannot export its 1D pool for more than one length.
            nn.MaxPool2d((1, 3), (1, 2), padding=(0, 1)),
        )
        blocks: list[nn.Module] = []
        for count, stage_stride, part in zip(COUNTS[depth], STRIDES, (8, 4, 2, 1), strict=True):
            for number in range(count):
                first = stage_stride if number == 0 else 1
                blocks.append(
                    BasicBlock(size, bands // part, stride=first, kernel=KERNEL, convolution=signal_conv_norm)
                )
                size = bands // part
        self.blocks = nn.Sequential(*blocks)

    def forward(self, waveform_BN: Tensor) -> Tensor:
        """See the class."""
        # Kernel - 1 zeros in all: every sample is heard, and strides divide lengths rounded up.
        padded_B1N = functional.pad(waveform_BN, ((KERNEL_STEM - 1) // 2, KERNEL_STEM // 2))[:, None]
        return self.blocks(self.stem(padded_B1N))


class Body(nn.Module):
    """The 2D ResNet: (B, 1, C, T) -> the maps (B, D, F, T) after its four blocks, C and T / 4, 8, 16 and 32.

    Args:
        depth: 18, 34 or 50.
        width: multiplies the channels.

    `sizes` are the maps' channels D.

    >>> maps = Body(depth=18, width=0.125)(torch.zeros(2, 1, 128, 2500))
    >>> [tuple(map_BDFT.shape[1:]) for map_BDFT in maps]
    [(8, 32, 625), (16, 16, 313), (32, 8, 157), (64, 4, 79)]
    """

    def __init__(self, *, depth: int, width: float):
        super().__init__()
        kind = Block if depth >= 50 else BasicBlock
        size = scaled(CHANNELS[0], width)
        self.stem = nn.Sequential(
            *conv_norm(1, size, 7, stride=2, padding=3),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, padding=1),
        )
        self.blocks = nn.ModuleList()  # in the paper's words: each of several units
        self.sizes: list[int] = []
        for channels, count, stride in zip(CHANNELS, COUNTS[depth], STRIDES, strict=True):
            units: list[nn.Module] = []
            for number in range(count):
                units.append(kind(size, scaled(channels, width), stride=1 if number else stride))
                size = kind.expansion * scaled(channels, width)
            self.blocks.append(nn.Sequential(*units))
            self.sizes.append(size)

    def forward(self, picture_B1CT: Tensor) -> list[Tensor]:
        """See the class."""
        maps = [self.stem(picture_B1CT)]
        for block in self.blocks:
            maps.append(block(maps[-1]))
        return maps[1:]


class Head(nn.Module):
    """The attention structure on one map: (B, D, F, T) -> (B, K) logits.

    Args:
        size: D.
        units: of the two fully connected layers.
        num_classes: K.
        squash: see `AttentionPool`.

    >>> Head(16, 8, 5, "sigmoid")(torch.zeros(2, 16, 4, 10)).shape
    torch.Size([2, 5])
    """

    def __init__(self, size: int, units: int, num_classes: int, squash: str):
        super().__init__()
        self.early = AttentionPool(size, num_classes, squash=squash)
        self.layers = nn.Sequential(
            nn.Linear(size, units), nn.ReLU(inplace=True), nn.Linear(units, units), nn.ReLU(inplace=True)
        )
        self.late = AttentionPool(units, num_classes, squash=squash)
        self.last = nn.Linear(2 * num_classes, num_classes)

    def start_absent(self) -> None:
        """First weights: both modules say 0.5 of every class, and the last layer makes -4 of that.

        The two decide their class from there, -12 to 4; other classes are heard a little, by He's weights.
        Random weights alone start as absent, but with a few labels there are so few inputs that the last
        layer takes thousands of steps to say anything else.
        """
        with torch.no_grad():
            for pool in (self.early, self.late):
                pool.classify.weight.normal_(std=0.01)
            self.last.weight += HEARD * torch.eye(len(self.last.bias)).repeat(1, 2)
            self.last.bias.copy_(ABSENT - 0.5 * self.last.weight.sum(1))

    def forward(self, map_BDFT: Tensor) -> Tensor:
        """See the class."""
        features_BTD = map_BDFT.mean(2).transpose(1, 2)
        both_BK = [self.early(features_BTD), self.late(self.layers(features_BTD))]
        return self.last(torch.cat(both_BK, 1).to(self.last.weight.dtype))


def _known(name: str, value: int, known: Collection[int]) -> None:
    if value not in known:
        raise ValueError(f"{name} is {value}; expected one of {', '.join(str(one) for one in known)}")
