"""Teachers: trained models that tell a network in training what they hear in each mixed patch.

Source: knowledge distillation, Hinton, Vinyals and Dean, "Distilling the Knowledge in a Neural Network",
2015 (section 2), with sigmoids for its softmax; that teacher and student hear the same augmented patch is
after Beyer et al., "Knowledge distillation: A good teacher is patient and consistent", CVPR 2022. Where the
student's patch is in a room, in noise or over a channel (`auricle.degrade`), the teacher hears it without.

A teacher says what its network does: a calibration that it was given later has no part in it.

Shape letters: B patches, N samples, K classes.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from auricle.artifact import Artifact, load_artifact
from auricle.artifact.trainings import heard_before
from auricle.runners.lengths import with_window
from auricle.runners.torch import build
from auricle.sampling import hash_uint64
from auricle.training.config import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Teachers:
    """Models of the same labels, rate and window.

    Args:
        artifacts: they.
        frontends: what stands before each net; None where that is the student's own.
        nets: theirs, in evaluation mode, on the student's device.
        dtype: that they compute in.
    """

    artifacts: tuple[Artifact, ...]
    frontends: tuple[nn.Module | None, ...]
    nets: tuple[nn.Module, ...]
    dtype: torch.dtype

    @torch.no_grad()
    def listen(self, waveform_BN: Tensor, features: Tensor, seed: int, step: int) -> Tensor:
        """What one of them hears, (B, K) probabilities.

        Which one follows from seed and step: over many steps each is asked equally often, so that the
        student learns the mean of all at the cost of one.

        Args:
            waveform_BN: changed and mixed as the student hears it, but degraded by nothing.
            features: what the student's front end makes of that, before any of it is masked.
            seed: of the training.
            step: of the training.
        """
        number = int(hash_uint64(seed, step, 12) % np.uint64(len(self.nets)))
        frontend = self.frontends[number]
        heard = features if frontend is None else frontend(waveform_BN)
        with torch.autocast(heard.device.type, self.dtype, enabled=self.dtype != torch.float32):
            logits_BK = self.nets[number](heard)
        return torch.sigmoid(logits_BK.float())

    def heard(self) -> list[dict[str, Any]]:
        """What they were trained on: their student knows of it too."""
        return [entry for artifact in self.artifacts for entry in heard_before(artifact)]

    def named(self) -> list[dict[str, str]]:
        """Which ones they are, wherever they lie."""
        return [{"model": artifact.name, "fingerprint": artifact.fingerprint} for artifact in self.artifacts]


def open_teachers(config: TrainConfig, live: Any, dtype: torch.dtype) -> Teachers | None:
    """The models that `config.teachers` names; None where it names none.

    Args:
        config: of the student's training.
        live: the student (`auricle.training.outcome.LiveRunner`).
        dtype: that the teachers compute in.

    Raises:
        ValueError: no such model, one that is not a network on sound alone or takes no window as long as the
            student's, or one of another rate or other labels; the message says which, and what was expected.

    >>> open_teachers(config, live, torch.float32)  # doctest: +SKIP
    Teachers(artifacts=(...), ...)
    """
    if not config.teachers:
        return None
    artifacts = tuple(load_artifact(name) for name in config.teachers)
    frontends: list[nn.Module | None] = []
    nets = []
    for name, artifact in zip(config.teachers, artifacts, strict=True):
        check_teacher(name, artifact, live.artifact)
        frontend, net = build(artifact)
        same = artifact.input_kinds == ("logmel",) and artifact.features == config.features
        frontends.append(None if same and kind_of(live.net) == "logmel" else frontend.to(live.device))
        net = net.to(live.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        nets.append(net.requires_grad_(False))
    return Teachers(artifacts=artifacts, frontends=tuple(frontends), nets=tuple(nets), dtype=dtype)


def check_teacher(name: str, artifact: Any, student: Any) -> None:
    """Refuse a model that cannot say what the student is to learn.

    >>> from types import SimpleNamespace
    >>> model = SimpleNamespace(backend="onnx")
    >>> check_teacher("old", model, None)
    Traceback (most recent call last):
    ValueError: teacher old: has a graph (onnx); expected the folder that training wrote, RUN/best or RUN/last
    """
    if artifact.backend != "torch":
        what = "several networks" if artifact.backend == "family" else f"a graph ({artifact.backend})"
        raise ValueError(
            f"teacher {name}: has {what}; expected the folder that training wrote, RUN/best or RUN/last"
        )
    if artifact.embedding_entry:
        raise ValueError(f"teacher {name}: takes embeddings; expected a network that takes sound alone")
    if artifact.rate != student.rate:
        raise ValueError(
            f"teacher {name}: its rate is {artifact.rate} Hz; expected {student.rate} Hz, the student's"
        )
    try:  # it hears the student's windows
        with_window(artifact, student.window / student.rate)
    except ValueError as error:
        raise ValueError(f"teacher {name}: the student's {error}") from error
    if list(artifact.labels) != list(student.labels):
        raise ValueError(
            f"teacher {name}: has {len(artifact.labels)} labels, the student {len(student.labels)}; expected "
            "the same ones in the same order"
        )


def kind_of(net: nn.Module) -> str:
    """Kind of the input of a net that has one; "" of others.

    >>> from auricle.models import build
    >>> kind_of(build("compact", num_classes=2))
    'logmel'
    """
    kind = getattr(net, "input_kind", "")
    return kind if isinstance(kind, str) else ""
