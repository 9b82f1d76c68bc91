"""What training leaves behind: the model as an artifact; and the same model run before it is one."""

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from auricle.artifact import save_artifact
from auricle.frontend import LogMel
from auricle.shards import Pack
from auricle.training.config import TrainConfig


class LiveRunner:
    """A net in training, with a runner's face (`auricle.runners.load_runner`), for validation."""

    def __init__(
        self,
        config: TrainConfig,
        pack: Pack,
        net: nn.Module,
        device: torch.device,
        dtype: torch.dtype,
        batch: int = 64,
    ):
        if pack.rate != config.features.rate:
            raise ValueError(
                f"{config.data}: is packed at {pack.rate} Hz, features.rate is {config.features.rate} Hz; "
                f"pack again with --rate {config.features.rate}"
            )
        self.artifact = SimpleNamespace(
            rate=pack.rate,
            labels=pack.label_names(config.label_set),
            window=config.window,
            hop=config.hop,
            tail=config.tail,
        )
        self.batch = batch
        self.net, self.device, self.dtype = net, device, dtype
        self.frontend = LogMel(config.features).to(device)

    @torch.inference_mode()
    def run(self, waveforms_BN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(B, window) float32 -> logits (B, K) and embeddings (B, E), float32."""
        self.net.eval()
        logits, embeddings = [], []
        for start in range(0, len(waveforms_BN), self.batch):
            part = torch.from_numpy(np.ascontiguousarray(waveforms_BN[start : start + self.batch])).to(
                self.device
            )
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
                embedding = self.net.embed(self.frontend(part))  # type: ignore[operator]
                logit = self.net.head(embedding)  # type: ignore[operator]
            logits.append(logit.float().cpu().numpy())
            embeddings.append(embedding.float().cpu().numpy())
        return np.concatenate(logits), np.concatenate(embeddings)


def save_model(
    path: Path, config: TrainConfig, pack: Pack, live: LiveRunner, *, step: int, metrics: dict[str, float]
) -> None:
    """Write the net as an artifact, with a check that float32 on this machine's CPU gave."""
    device = next(live.net.parameters()).device
    net, frontend = live.net.to("cpu").eval(), LogMel(config.features)
    waveform = check_waveform(config)
    with torch.inference_mode():
        logits = net(frontend(torch.from_numpy(waveform))).numpy()
    weights = {name: value.contiguous().numpy().copy() for name, value in net.state_dict().items()}
    live.net.to(device)
    arguments = {"num_classes": net.num_classes, **config.model_arguments}
    save_artifact(
        path,
        weights=weights,
        check=(waveform, logits),
        name=config.name,
        architecture={"name": config.model, "arguments": arguments},
        inputs=[
            {"kind": "logmel", "rate": config.features.rate, "features": dataclasses.asdict(config.features)}
        ],
        labels=pack.label_names(config.label_set),
        window=config.window,
        hop=config.hop,
        tail=config.tail,
        embedding_size=net.embedding_size,
        licence=config.licence,
        training={"step": step, "data": pack.fingerprint, "config": as_published(config)},
        metrics={"validation": metrics} if metrics else {},
    )


def as_published(config: TrainConfig) -> dict[str, Any]:
    """The configuration without what says where it ran."""
    return {
        name: value for name, value in config.as_dict().items() if name not in ("data", "device", "threads")
    }


def check_waveform(config: TrainConfig) -> np.ndarray:
    """(2, window) float32: noise and a rising tone, so that any change of the front end or net shows.

    >>> check_waveform(TrainConfig(data=Path("pack"), steps=1)).shape
    (2, 32000)
    """
    time = np.arange(config.window) / config.features.rate
    noise = np.random.default_rng(0).standard_normal(config.window) * 0.1
    tone = 0.5 * np.sin(2 * np.pi * (200 + 1000 * time) * time)
    return np.stack([noise, tone]).astype(np.float32)
