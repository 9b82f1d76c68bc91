"""LogMel: the log-mel of `auricle.features` as a torch module, equal to it to 1e-4.

Source: Hershey et al. (2017), section 3, and librosa, read as in `auricle.features`. Two ways to the same
numbers: a Fourier transform, the faster one in torch, and a convolution with the windowed cosines and sines,
which ONNX runtimes compute much faster than their Fourier operators.

Shape letters: B clips, N samples, T frames, W window, H half a window, K FFT bins with weight, F mel bands.
"""

from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor, nn

from auricle.features import (
    FeatureConfig,
    decibel_scale,
    hann_window,
    in_decibels,
    mel_matrix,
    padding,
    shortest,
    used_bins,
)

CHUNK_FRAMES = 3200  # frames at a time for each processor core: more do not stay near it, fewer cost calls
TINY = 1e-30  # under the root: its slope at 0 is infinite, and infinity times zero is not a gradient


class LogMel(nn.Module):
    """Waveform -> log-mel, always in float32, also under autocast.

    It has no weights and keeps nothing in the state dict: the settings say everything.

    Args:
        config: the settings of the front end.
        method: "fft", or "convolution" for export to ONNX.

    Shapes:
        forward: (B, N) waveform at `config.rate` -> (B, 1, T, F) log-mel float32; T is `num_frames` of N.
            Decibels that are relative are so to the loudest value of each waveform, whatever else is in the
            batch.

    Raises:
        ValueError: unknown method, a waveform that is not (B, N), or one shorter than a window.

    >>> LogMel(FeatureConfig())(torch.zeros(2, 16000)).shape
    torch.Size([2, 1, 98, 64])
    """

    mel: Tensor
    hann: Tensor
    cosines: Tensor
    sines: Tensor

    def __init__(self, config: FeatureConfig, *, method: str = "fft"):
        super().__init__()
        if method not in ("fft", "convolution"):
            raise ValueError(f"method is {method!r}: expected 'fft' or 'convolution'")
        self.config = config
        self.method = method
        self.bins = used_bins(config)
        self._constant("mel", mel_matrix(config)[self.bins])  # (K, F)
        if method == "fft":
            self._constant("hann", np.pad(hann_window(config), (0, config.fft - config.window)))
            return
        # The window is symmetric about its middle, sample W / 2, or (W - 1) / 2 where it ends as it begins.
        # With phases counted from there, cosines see only the sum of the two halves and sines only the
        # difference: half the multiplies of a plain convolution. The middle itself, if there is one, is in
        # both halves: it gets half its weight.
        self.first = 1 if config.hann == "periodic" else 0  # the periodic window begins with a 0
        self.middle = (config.window + self.first) // 2
        position = np.arange(self.middle, config.window) - (config.window - 1 + self.first) / 2
        weight = hann_window(config)[self.middle :] * np.where(position == 0, 0.5, 1.0)
        angle = 2 * np.pi / config.fft * np.outer(position, np.arange(self.bins.start, self.bins.stop))
        self._constant("cosines", weight[:, None] * np.cos(angle))  # (H, K)
        self._constant("sines", weight[:, None] * np.sin(angle))

    def _constant(self, name: str, values: np.ndarray) -> None:
        self.register_buffer(name, torch.tensor(values, dtype=torch.float32), persistent=False)

    def forward(self, waveform_BN: Tensor) -> Tensor:
        """Compute the log-mel of each waveform; the shapes stand at the class."""
        if waveform_BN.ndim != 2:
            raise ValueError(f"waveform has shape {tuple(waveform_BN.shape)}: expected (B, N), mono")
        if not torch.compiler.is_exporting() and waveform_BN.shape[1] < shortest(self.config):
            raise ValueError(
                f"waveform has {waveform_BN.shape[1]} samples, fewer than a window of "
                f"{shortest(self.config)}: pad it"
            )
        kind = waveform_BN.device.type
        # On "meta", where nothing is computed, there is no autocast to switch off.
        with nullcontext() if kind == "meta" else torch.autocast(kind, enabled=False):
            waveform_BN = waveform_BN.float()
            if self.config.preemphasis:
                waveform_BN = waveform_BN[:, 1:] - self.config.preemphasis * waveform_BN[:, :-1]
            if self.config.centred:
                how = "reflect" if self.config.pad == "reflect" else "constant"
                waveform_BN = nn.functional.pad(waveform_BN, padding(self.config), mode=how)
            logmel_BTF = self._fft(waveform_BN) if self.method == "fft" else self._convolution(waveform_BN)
            if in_decibels(self.config):
                logmel_BTF = self._decibels(logmel_BTF)
            if self.config.shift or self.config.scale != 1:
                logmel_BTF = (logmel_BTF + self.config.shift) * self.config.scale
            return logmel_BTF.unsqueeze(1)

    def _fft(self, waveform_BN: Tensor) -> Tensor:
        """(B, N) -> (B, T, F)."""
        config = self.config
        padded_BN = nn.functional.pad(waveform_BN, (0, config.fft - config.window))
        windows_BTN = padded_BN.unfold(1, config.fft, config.hop)  # a view
        frames = windows_BTN.shape[1]
        limit = CHUNK_FRAMES * torch.get_num_threads()
        if waveform_BN.device.type != "cpu" or len(waveform_BN) * frames <= limit:
            return self._bands(self._spectrum(windows_BTN))
        clips = max(1, limit // frames)
        rows = [
            [self._bands(self._spectrum(chunk)) for chunk in some.split(limit, dim=1)]
            for some in windows_BTN.split(clips)
        ]
        return torch.cat([row[0] if len(row) == 1 else torch.cat(row, dim=1) for row in rows])

    def _spectrum(self, windows_BTN: Tensor) -> Tensor:
        """(B, T, fft) -> (B, T, K), magnitudes or their squares.

        `abs` of complex numbers guards against overflow, which samples cannot cause: the plain root of the
        sum of squares makes the whole front end 1.8 times as fast on a CPU.
        """
        spectrum_BTK = torch.fft.rfft(windows_BTN * self.hann)[..., self.bins]
        real_BTK, imaginary_BTK = spectrum_BTK.real, spectrum_BTK.imag
        power_BTK = (real_BTK * real_BTK).addcmul_(imaginary_BTK, imaginary_BTK)
        if self.config.power == 2:
            return power_BTK
        if power_BTK.requires_grad:
            power_BTK = power_BTK + TINY
        return power_BTK.sqrt_()

    def _bands(self, magnitude_BTK: Tensor) -> Tensor:
        """(B, T, K) -> (B, T, F), sums where levels are decibels, else their logarithms."""
        sums_BTF = magnitude_BTK @ self.mel
        return sums_BTF if in_decibels(self.config) else (sums_BTF + self.config.log_offset).log()

    def _decibels(self, sums_BTF: Tensor) -> Tensor:
        """(B, T, F) -> (B, T, F), relative to the largest of each clip where they are not absolute."""
        factor, quietest = decibel_scale(self.config)
        level_BTF = factor * sums_BTF.clamp(min=quietest).log10()
        if self.config.absolute:
            return level_BTF
        return (level_BTF - level_BTF.amax((1, 2), keepdim=True)).clamp(min=-self.config.decibels)

    def _convolution(self, waveform_BN: Tensor) -> Tensor:
        """(B, N) -> (B, T, F).

        A strided convolution, written as windows times matrices: measured in onnxruntime, one thread, it is
        1.3 to 1.4 times as fast as the same numbers from its Conv operator.
        """
        windows_BTW = self._windows(waveform_BN)
        right_BTH = windows_BTW[..., self.middle :]
        left_BTH = windows_BTW[..., self.first : self.config.window - self.middle + self.first].flip(-1)
        real_BTK = (right_BTH + left_BTH) @ self.cosines
        imaginary_BTK = (right_BTH - left_BTH) @ self.sines
        power_BTK = real_BTK * real_BTK + imaginary_BTK * imaginary_BTK
        return self._bands(power_BTK if self.config.power == 2 else (power_BTK + TINY).sqrt())

    def _windows(self, waveform_BN: Tensor) -> Tensor:
        """(B, N) -> (B, T, W) by slices of rows of one hop, which every ONNX runtime does fast."""
        window, hop = self.config.window, self.config.hop
        frames = (waveform_BN.shape[1] - window) // hop + 1
        rows = -(-window // hop)  # that one window reaches into
        padded_BN = nn.functional.pad(waveform_BN, (0, rows * hop - window))[:, : (frames + rows - 1) * hop]
        hops_BRH = padded_BN.reshape(waveform_BN.shape[0], frames + rows - 1, hop)
        parts = [hops_BRH[:, row : row + frames, : min(hop, window - row * hop)] for row in range(rows)]
        return torch.cat(parts, dim=-1)
