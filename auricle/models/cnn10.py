"""CNN10: four blocks of two convolutions, with a sixteenth of CNN14's weights.

Source: Kong et al., "PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern Recognition",
2020, https://arxiv.org/abs/1912.10211, section II-A and table I. As published: channels, kernels, an
average after each block, dropout of 0.2 after each and 0.5 before the layer of 512 units, whose output is the
embedding. Ours: see `auricle.models.panns`.

Shape letters: B clips, T frames, F mel bands (64), E embedding (512), K classes.
"""

from collections.abc import Sequence

from torch import Tensor, nn

from auricle.models.panns import CLIP, BandNorm, Summary, check_logmel, trunk
from auricle.models.parts import initialise, output_layers, patch_shape, scaled

CHANNELS = (64, 128, 256, 512)
LEAST = 16  # frames, and bands, of which something is left after four averages


class Cnn10(nn.Module):
    """Log-mel of any length -> logits, by way of 512 values.

    Args:
        num_classes: K, the width of the logits.
        input_shape: (1, T, F) of an example; any number of frames from 16 on will do, of bands only F.
        width: multiplies the channels.

    Shapes:
        forward: (B, 1, T, F) log-mel -> (B, K) logits, no sigmoid.
        embed:   (B, 1, T, F) log-mel -> (B, E), after the ReLU.

    Raises:
        ValueError: an argument is none of those above, or log-mel is not (B, 1, T, F).

    >>> import torch
    >>> Cnn10(num_classes=5, width=0.125)(torch.zeros(2, 1, 101, 64)).shape
    torch.Size([2, 5])
    """

    input_kind = "logmel"
    input_shape: tuple[int, ...] = CLIP
    least_frames = LEAST

    def __init__(self, *, num_classes: int, input_shape: Sequence[int] = CLIP, width: float = 1.0):
        super().__init__()
        self.num_classes, self.input_shape = num_classes, patch_shape(input_shape, least=(LEAST, LEAST))
        self.norm = BandNorm(self.input_shape[2])
        self.blocks = trunk(CHANNELS, width=width)
        size = scaled(CHANNELS[-1], width)
        self.summary = Summary(size, size)
        _, self.head, self.embedding_size = output_layers(size, num_classes, None)
        initialise(self, self.head)

    def embed(self, logmel_B1TF: Tensor) -> Tensor:
        """(B, 1, T, F) log-mel -> (B, E)."""
        check_logmel(logmel_B1TF, bands=self.input_shape[2], least=LEAST)
        return self.summary(self.blocks(self.norm(logmel_B1TF)))

    def forward(self, logmel_B1TF: Tensor) -> Tensor:
        """(B, 1, T, F) log-mel -> (B, K) logits."""
        return self.head(self.embed(logmel_B1TF))
