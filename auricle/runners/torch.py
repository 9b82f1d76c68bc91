"""Runs a torch model from its weights, front end before it."""

from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import nn

from auricle.frontend import LogMel
from auricle.models import build as make_net
from auricle.models import logits_and_embedding
from auricle.runners.windows import check_windows


class TorchRunner:
    """See `auricle.runners.load_runner`; `precision` "bfloat16" trades accuracy of scores for speed.

    Of a net that decides for steps within a window there is also `run_steps`: as `run`, of each of its S
    steps, logits (B, S, K) and embeddings (B, S, E).
    """

    def __init__(
        self,
        artifact: Any,
        *,
        threads: int | None = None,
        batch: int = 16,
        device: str = "cpu",
        precision: str = "float32",
    ):
        if precision not in ("float32", "bfloat16"):
            raise ValueError(f'precision is {precision!r}; expected "float32" or "bfloat16"')
        self.artifact = artifact
        self.batch = batch
        self._device = torch_device(device)
        if threads is not None:
            torch.set_num_threads(threads)  # of the whole process: torch knows no other
        self._precision = torch.bfloat16 if precision == "bfloat16" else None
        self._model = WaveformModel(*_parts(artifact)).eval().to(self._device)
        if hasattr(self._model.net, "forward_steps"):
            self.run_steps = self._run_steps

    def run(self, waveforms_BN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(B, window) float32 -> logits (B, K) and embeddings (B, E), float32, for any B."""
        check_windows(waveforms_BN, self.artifact.window)
        return self.run_input(waveforms_BN)

    @torch.inference_mode()
    def run_input(self, x: np.ndarray | tuple[np.ndarray, ...]) -> tuple[np.ndarray, np.ndarray]:
        """What the model takes, (B, ...) float32: as `run`, of a model that takes embeddings (B, T, D).

        Of a model of two inputs, both: waveforms (B, window) and embeddings (B, T, D).
        """
        inputs = x if isinstance(x, tuple) else (x,)
        count = len(inputs[0])
        logits_BK = np.empty((count, self.artifact.num_classes), np.float32)
        embeddings_BE = np.empty((count, self.artifact.embedding_size), np.float32)
        for start in range(0, count, self.batch):
            rows = slice(start, min(start + self.batch, count))
            logits_BK[rows], embeddings_BE[rows] = self._batch(self._model, [part[rows] for part in inputs])
        return logits_BK, embeddings_BE

    @torch.inference_mode()
    def _run_steps(self, waveforms_BN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        check_windows(waveforms_BN, self.artifact.window)
        frontend, net = self._model.frontend, self._model.net
        parts = [
            self._batch(lambda x: net.forward_steps(frontend(x)), [waveforms_BN[start : start + self.batch]])  # type: ignore[operator]
            for start in range(0, len(waveforms_BN), self.batch)
        ]
        return np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])

    def _batch(self, model: Any, inputs: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Both outputs for a batch that need not be full."""
        count = len(inputs[0])
        padded = [np.zeros((self.batch, *part.shape[1:]), np.float32) for part in inputs]
        for filled, part in zip(padded, inputs, strict=True):
            filled[:count] = part
        tensors = tuple(torch.from_numpy(part).to(self._device) for part in padded)
        lower = self._precision
        with torch.autocast(self._device.type, dtype=lower) if lower else nullcontext():
            logits, embeddings = model(tensors if len(tensors) > 1 else tensors[0])
        return logits[:count].float().cpu().numpy(), embeddings[:count].float().cpu().numpy()


def torch_device(name: str) -> torch.device:
    """The device that torch calls so, if it is there; ValueError otherwise.

    >>> torch_device("banana")
    Traceback (most recent call last):
    ValueError: device is 'banana'; expected cpu, cuda, or one of several like cuda:1
    """
    try:
        device = torch.device(name)
    except RuntimeError:  # names every device that torch was ever built for
        raise ValueError(f"device is {name!r}; expected cpu, cuda, or one of several like cuda:1") from None
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        found = torch.cuda.device_count()
        raise ValueError(f"device is {name!r}, but torch sees {found or 'no'} CUDA devices here; use cpu")
    return device


class WaveformModel(nn.Module):
    """(B, N) waveform -> (B, K) logits and (B, E) embedding, in one pass where there is a head on it."""

    def __init__(self, frontend: nn.Module, net: nn.Module):
        super().__init__()
        self.frontend, self.net = frontend, net

    def forward(self, waveform: Any) -> tuple[torch.Tensor, torch.Tensor]:
        """See the class."""
        return logits_and_embedding(self.net, self.frontend(waveform))


class FirstInput(nn.Module):
    """A front end of the first of two inputs: (waveform, embeddings) -> (features, embeddings)."""

    def __init__(self, frontend: nn.Module):
        super().__init__()
        self.frontend = frontend

    def forward(self, inputs: tuple[torch.Tensor, torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
        """See the class."""
        return self.frontend(inputs[0]), inputs[1]


def _parts(artifact: Any) -> tuple[nn.Module, nn.Module]:
    """What stands before a net, embedder apart, and the net."""
    if not artifact.embedding_entry:
        return build(artifact)
    net = build_net(artifact)
    if len(artifact.inputs) == 1:
        return nn.Identity(), net
    frontend = LogMel(artifact.features).eval() if artifact.input_kinds[0] == "logmel" else nn.Identity()
    return FirstInput(frontend), net


def build(artifact: Any, *, method: str = "fft") -> tuple[nn.Module, nn.Module]:
    """Front end and net of a torch artifact, in evaluation mode, with its weights.

    Args:
        artifact: of backend "torch".
        method: how the front end computes, see `LogMel`.

    Raises:
        ValueError: unknown architecture or arguments, weights that do not fit them, or a net whose input is
            not made from one waveform.
    """
    net = build_net(artifact)
    if net.input_kind == "logmel":
        return LogMel(artifact.features, method=method).eval(), net
    if net.input_kind == "waveform":
        return nn.Identity(), net
    raise ValueError(
        f"{_where(artifact)}: {artifact.architecture['name']} takes {_kinds(net.input_kind)}, which is not "
        "made from a waveform in one graph: its embedder is a model of its own"
    )


def build_net(artifact: Any) -> nn.Module:
    """The net of a torch artifact, without what comes before it, in evaluation mode, with its weights.

    Raises:
        ValueError: unknown architecture or arguments, or weights that do not fit them.
    """
    name, arguments = artifact.architecture.get("name"), artifact.architecture.get("arguments", {})
    try:
        net = make_net(name, **arguments)
    except ValueError as error:
        raise ValueError(f"{_where(artifact)}: {error}") from error
    weights = {key: torch.from_numpy(array) for key, array in artifact.read_weights().items()}
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{artifact.state_path}: weights do not fit {name}({arguments}): {error}") from error
    if net.num_classes != artifact.num_classes or net.embedding_size != artifact.embedding_size:
        raise ValueError(
            f"{_where(artifact)}: the net gives {net.num_classes} logits and embeddings of "
            f"{net.embedding_size}, but model.json has {artifact.num_classes} labels and embeddings of "
            f"{artifact.embedding_size}"
        )
    if _kinds(net.input_kind) != _kinds(artifact.input_kinds):
        raise ValueError(
            f"{_where(artifact)}: {name} takes {_kinds(net.input_kind)}, but field 'inputs' says "
            f"{_kinds(artifact.input_kinds)}"
        )
    shortest = getattr(net, "shortest", 1)
    if artifact.window < shortest:
        raise ValueError(
            f"{artifact.path}/model.json: field 'window': {artifact.window} samples, but {name} takes "
            f"{shortest} or more"
        )
    return net.eval()


def _kinds(kinds: Any) -> str:
    return repr(kinds) if isinstance(kinds, str) else " and ".join(map(repr, kinds))


def _where(artifact: Any) -> str:
    return f"{artifact.path}/model.json: field 'architecture'"
