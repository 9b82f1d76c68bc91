"""VGGish: VGG configuration A, cut to four groups, with a 128-wide embedding.

Source: Hershey et al., "CNN Architectures for Large-Scale Audio Classification", ICASSP 2017,
https://arxiv.org/abs/1609.09430; layers as in Google's release (tensorflow/models,
research/audioset/vggish). As released: no batch norm; 72,141,184 weights; the embedding is taken before its
ReLU (torchvggish takes it after); maps are flattened in the order time, frequency, channel; embeddings may
be brought to the 8 bits of the released AudioSet and YouTube-8M features: PCA with whitening, clipped to
[-2, 2], spread over 0..255 and truncated (torchvggish rounds). Differs from the release: `head` is ours. With
`hidden` layers in it this is the larger model whose first layers are VGGish: train it from the released one.

With another `input_shape` the same layers stand over longer patches, to be trained from scratch: over the
1 x 862 x 128 of Tompkins and Nichols (2019, section 4), where it "failed to improve past the first epoch",
the first fully connected layer alone has 889 of 911 million weights; a `width` of 0.25 leaves 57 million.

Shape letters: B clips, C channels (1), T frames (96 of 10 ms), F mel bands (64), E embedding (128), K
classes.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from auricle.models.parts import PATCH, check_patches, initialise, output_layers, patch_shape, scaled

GROUPS = ((64,), (128,), (256, 256), (512, 512))  # channels; a 2x2 max pool ends each group
POOLED = 2 ** len(GROUPS)  # frames and bands of a place of the last map
UNITS = 4096
EMBEDDING = 128
QUANTISED = (-2.0, 2.0)  # whitened values that become 0 and 255


class VGGish(nn.Module):
    """Log-mel patch of 0.96 s -> logits, by way of a 128-wide embedding.

    Args:
        num_classes: K, the width of the logits; 0 for the released network, which embeds only.
        postprocess: embeddings are whitened and quantised, 0..255, by the buffers `pca_means` (128,) and
            `pca_eigenvectors` (128, 128). Only without classes: those are learned on the embedding before it.
        bottleneck: width of the embedding, which is this net's bottleneck; None for the released 128.
        hidden: units of fully connected layers with ReLU between the embedding and the output; none at first.
        width: multiplies channels and units, but not the embedding.
        input_shape: (1, T, F), at least 16 frames and 16 bands; the released network takes (1, 96, 64) alone.

    Shapes:
        forward: (B, 1, T, F) log-mel -> (B, K) logits, no sigmoid.
        embed:   (B, 1, T, F) log-mel -> (B, 128), before the ReLU.

    >>> import torch
    >>> VGGish(num_classes=5, width=0.1).embed(torch.zeros(2, 1, 96, 64)).shape
    torch.Size([2, 128])
    """

    input_kind = "logmel"
    input_shape: tuple[int, ...] = PATCH

    pca_means: Tensor
    pca_eigenvectors: Tensor

    def __init__(
        self,
        *,
        num_classes: int,
        postprocess: bool = False,
        bottleneck: int | None = None,
        hidden: Sequence[int] = (),
        width: float = 1.0,
        input_shape: Sequence[int] = PATCH,
    ):
        super().__init__()
        self.input_shape = patch_shape(input_shape, least=(POOLED, POOLED))
        if not isinstance(hidden, (list, tuple)) or not all(isinstance(n, int) and n > 0 for n in hidden):
            raise ValueError(f"hidden is {hidden!r}; expected numbers of units, say [512]")
        if postprocess and num_classes:
            raise ValueError(f"postprocess is for num_classes 0, embeddings only; got {num_classes} classes")
        self.num_classes = num_classes
        layers: list[nn.Module] = []
        size = 1
        for group in GROUPS:
            for channels in group:
                layers += [nn.Conv2d(size, scaled(channels, width), 3, padding=1), nn.ReLU(inplace=True)]
                size = scaled(channels, width)
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        units = scaled(UNITS, width)
        _, frames, bands = self.input_shape
        size_out = EMBEDDING if bottleneck is None else bottleneck
        narrow, output, self.embedding_size = output_layers(units, num_classes or 1, size_out)
        self.embedding = nn.Sequential(
            nn.Linear((frames // POOLED) * (bands // POOLED) * size, units),
            nn.ReLU(inplace=True),
            nn.Linear(units, units),
            nn.ReLU(inplace=True),
            narrow,
        )
        above: list[nn.Module] = [nn.ReLU()]
        size = self.embedding_size
        for count in hidden:
            above += [nn.Linear(size, scaled(count, width)), nn.ReLU(inplace=True)]
            size = scaled(count, width)
        output = nn.Linear(size, num_classes) if hidden else output
        self.head = nn.Sequential(*above, output) if num_classes else _NoClasses()
        initialise(self, output)
        self.postprocess = postprocess
        if postprocess:
            self.register_buffer("pca_means", torch.zeros(self.embedding_size, dtype=torch.float64))
            self.register_buffer("pca_eigenvectors", torch.eye(self.embedding_size, dtype=torch.float64))

    def embed(self, logmel_BCTF: Tensor) -> Tensor:
        """(B, 1, 96, 64) log-mel -> (B, 128), before the ReLU; postprocessed where the network is."""
        check_patches(logmel_BCTF, self.input_shape)
        map_BCTF = self.features(logmel_BCTF)
        # The released weights were trained with channels last: flatten as (T, F, C).
        embedding_BE = self.embedding(map_BCTF.permute(0, 2, 3, 1).flatten(1))
        return self._quantise(embedding_BE) if self.postprocess else embedding_BE

    def _quantise(self, embedding_BE: Tensor) -> Tensor:
        """(B, 128) -> (B, 128), whole numbers 0..255. In float64, as released: a step may hang on it."""
        low, high = QUANTISED
        with torch.autocast(embedding_BE.device.type, enabled=False):
            white_BE = (embedding_BE.double() - self.pca_means) @ self.pca_eigenvectors.T
            return ((white_BE.clamp(low, high) - low) * (255 / (high - low))).floor().float()

    def forward(self, logmel_BCTF: Tensor) -> Tensor:
        """(B, 1, 96, 64) log-mel -> (B, K) logits."""
        return self.head(self.embed(logmel_BCTF))


class _NoClasses(nn.Module):
    """The head of a network that embeds only: (B, E) -> (B, 0)."""

    def forward(self, embedding_BE: Tensor) -> Tensor:
        """See the class."""
        return embedding_BE[:, :0]
