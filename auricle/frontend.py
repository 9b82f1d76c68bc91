"""LogMel: the log-mel of `auricle.features` as a torch module, equal to it to 1e-4.

Source: Hershey et al. (2017), section 3, read as in `auricle.features`. Two ways to the same numbers: a
Fourier transform, the faster one in torch, and a convolution with the windowed sines and cosines, which ONNX
runtimes compute much faster than their Fourier operators.

Shape letters: B clips, N samples, T frames, F mel bands.
"""

import numpy as np
import torch
from torch import Tensor, nn

from auricle.features import FeatureConfig, hann_window, mel_matrix, used_bins

TINY = 1e-30  # under the root: its slope at 0 is infinite, and infinity times zero is not a gradient


class LogMel(nn.Module):
    """Waveform -> log-mel, always in float32, also under autocast.

    It has no weights and keeps nothing in the state dict: the settings say everything.

    Args:
        config: the settings of the front end.
        method: "fft", or "convolution" for export to ONNX.

    Shapes:
        forward: (B, N) waveform at `config.rate` -> (B, 1, T, F) log-mel float32; T counts whole windows.

    Raises:
        ValueError: unknown method, a waveform that is not (B, N), or one shorter than a window.

    >>> LogMel(FeatureConfig())(torch.zeros(2, 16000)).shape
    torch.Size([2, 1, 98, 64])
    """

    def __init__(self, config: FeatureConfig, *, method: str = "fft"):
        super().__init__()
        if method not in ("fft", "convolution"):
            raise ValueError(f"method is {method!r}: expected 'fft' or 'convolution'")
        self.config = config
        self.method = method
        bins = used_bins(config)
        self.bins = bins
        self.register_buffer("mel", torch.from_numpy(mel_matrix(config)[bins]).float(), persistent=False)
        hann = hann_window(config)
        if method == "fft":
            self.register_buffer("hann", torch.from_numpy(hann).float(), persistent=False)
        else:
            angle = (
                2 * np.pi / config.fft * np.outer(np.arange(bins.start, bins.stop), np.arange(config.window))
            )
            basis = np.concatenate([np.cos(angle), np.sin(angle)]) * hann  # (2 bins, window)
            self.register_buffer("basis", torch.from_numpy(basis[:, None]).float(), persistent=False)

    def forward(self, waveform_BN: Tensor) -> Tensor:
        """Compute the log-mel of each waveform; the shapes stand at the class."""
        if waveform_BN.ndim != 2:
            raise ValueError(f"waveform has shape {tuple(waveform_BN.shape)}: expected (B, N), mono")
        if not torch.compiler.is_exporting() and waveform_BN.shape[1] < self.config.window:
            raise ValueError(
                f"waveform has {waveform_BN.shape[1]} samples, fewer than a window of "
                f"{self.config.window}: pad it"
            )
        with torch.autocast(waveform_BN.device.type, enabled=False):
            waveform_BN = waveform_BN.float()
            magnitude = self._fft(waveform_BN) if self.method == "fft" else self._convolution(waveform_BN)
            return (magnitude @ self.mel + self.config.log_offset).log().unsqueeze(1)

    def _fft(self, waveform_BN: Tensor) -> Tensor:
        """(B, N) -> (B, T, bins), magnitudes."""
        windows = waveform_BN.unfold(1, self.config.window, self.config.hop) * self.hann
        return torch.fft.rfft(windows, n=self.config.fft)[..., self.bins].abs()

    def _convolution(self, waveform_BN: Tensor) -> Tensor:
        """(B, N) -> (B, T, bins), magnitudes."""
        parts = nn.functional.conv1d(waveform_BN.unsqueeze(1), self.basis, stride=self.config.hop)
        real, imaginary = parts.chunk(2, dim=1)
        return (real * real + imaginary * imaginary + TINY).sqrt().transpose(1, 2)
