"""CNN14 that decides for each 0.32 s, and for a clip by the loudest of these decisions.

Source: Kong et al., "PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern Recognition",
2020, https://arxiv.org/abs/1912.10211, whose authors released it as Cnn14_DecisionLevelMax for finding when a
sound is there (audioset_tagging_cnn, pytorch/models.py). The blocks are those of CNN14. As released: over
three steps in time the peak plus the mean (of zeros beyond the ends, too), then on every step by itself
dropout, a layer of 2,048 units with ReLU, dropout and the output; a clip's probability is the greatest of its
steps'. Ours: the embedding, the mean over time of what the output sees; the rest see `auricle.models.panns`.

Shape letters: B clips, T frames, F mel bands (64), S steps (T / 32), E embedding (2048), K classes.
"""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional

from auricle.models.cnn14 import CHANNELS, LEAST
from auricle.models.panns import CLIP, SUMMARY_DROPOUT, BandNorm, check_logmel, trunk
from auricle.models.parts import initialise, output_layers, patch_shape, scaled


class Cnn14Decision(nn.Module):
    """Log-mel of any length -> logits, each the greatest of those of its steps of 32 frames.

    Args:
        num_classes: K, the width of the logits.
        input_shape: (1, T, F) of an example; any number of frames from 32 on will do, of bands only F.
        width: multiplies the channels.

    Shapes:
        forward:       (B, 1, T, F) log-mel -> (B, K) logits, no sigmoid.
        forward_steps: (B, 1, T, F) log-mel -> (B, S, K) logits and (B, S, E) embeddings, S = T // 32.
        embed:         (B, 1, T, F) log-mel -> (B, E).

    `step_frames` is how many frames a step stands for.

    Raises:
        ValueError: an argument is none of those above, or log-mel is not (B, 1, T, F).

    >>> import torch
    >>> net = Cnn14Decision(num_classes=5, width=0.125)
    >>> net(torch.zeros(2, 1, 101, 64)).shape, net.forward_steps(torch.zeros(2, 1, 101, 64))[0].shape
    (torch.Size([2, 5]), torch.Size([2, 3, 5]))
    """

    input_kind = "logmel"
    input_shape: tuple[int, ...] = CLIP
    least_frames = step_frames = LEAST

    def __init__(self, *, num_classes: int, input_shape: Sequence[int] = CLIP, width: float = 1.0):
        super().__init__()
        self.num_classes, self.input_shape = num_classes, patch_shape(input_shape, least=(LEAST, LEAST))
        self.norm = BandNorm(self.input_shape[2])
        self.blocks = trunk(CHANNELS, width=width, last_pool=False)
        size = scaled(CHANNELS[-1], width)
        self.dropout = nn.Dropout(SUMMARY_DROPOUT)
        self.linear = nn.Linear(size, size)
        _, self.classify, self.embedding_size = output_layers(size, num_classes, None)
        initialise(self, self.classify)

    def _steps(self, logmel_B1TF: Tensor) -> Tensor:
        """(B, 1, T, F) -> (B, S, E), what the output sees."""
        check_logmel(logmel_B1TF, bands=self.input_shape[2], least=LEAST)
        map_BCS1 = self.blocks(self.norm(logmel_B1TF)).mean(3, keepdim=True)
        # As maps of one column: torch cannot export its 1D pools for more than one length.
        peak_BCS1 = functional.max_pool2d(map_BCS1, (3, 1), stride=1, padding=(1, 0))
        mean_BCS1 = functional.avg_pool2d(map_BCS1, (3, 1), stride=1, padding=(1, 0))
        around_BSC = (peak_BCS1 + mean_BCS1).squeeze(3).transpose(1, 2)
        return self.linear(self.dropout(around_BSC)).relu()

    def forward_steps(self, logmel_B1TF: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1, T, F) log-mel -> (B, S, K) logits of each step, and (B, S, E) what they are taken of."""
        steps_BSE = self._steps(logmel_B1TF)
        return self.classify(self.dropout(steps_BSE)), steps_BSE

    def forward_both(self, logmel_B1TF: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 1, T, F) log-mel -> (B, K) logits and (B, E) embeddings, in one pass."""
        logits_BSK, steps_BSE = self.forward_steps(logmel_B1TF)
        return logits_BSK.amax(1), steps_BSE.mean(1)

    def embed(self, logmel_B1TF: Tensor) -> Tensor:
        """(B, 1, T, F) log-mel -> (B, E)."""
        return self._steps(logmel_B1TF).mean(1)

    def forward(self, logmel_B1TF: Tensor) -> Tensor:
        """(B, 1, T, F) log-mel -> (B, K) logits."""
        return self.forward_both(logmel_B1TF)[0]
