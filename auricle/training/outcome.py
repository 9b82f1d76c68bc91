"""What training leaves behind: the model as an artifact; and the same model run before it is one."""

import copy
import inspect
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from auricle.artifact import Artifact, embedding_input, load_artifact, save_artifact
from auricle.artifact.trainings import each_once
from auricle.embedding import gives
from auricle.evaluation.heard import KEYS, training_keys
from auricle.fingerprint import chosen, fingerprint
from auricle.frontend import LogMel
from auricle.hierarchy import among
from auricle.models import MODELS, logits_and_embedding, step_of
from auricle.runners import load_runner
from auricle.runners.composed import embed_windows
from auricle.runners.fusion import embed_resampled
from auricle.shards import Pack
from auricle.shards.parents import label_parents
from auricle.training.beside import Beside
from auricle.training.config import TrainConfig
from auricle.training.start import BEFORE, counted
from auricle.training.state import State


class LiveRunner:
    """A net in training, with a runner's face (`auricle.runners.load_runner`), for validation.

    A net on embeddings has no waveform to run on: `run_inputs` takes its own inputs. One that takes both
    gets the embeddings of `beside`. Of `clips` the model keeps what they sound like.
    """

    def __init__(
        self,
        config: TrainConfig,
        pack: Pack,
        net: nn.Module,
        device: torch.device,
        dtype: torch.dtype,
        batch: int = 64,
        embeddings: Any = None,
        beside: Beside | None = None,
        clips: np.ndarray | None = None,
    ):
        check_fit(config, pack, net, embeddings, beside)
        window, hop = config.window_at_use or config.window, config.hop
        if embeddings is not None:
            window, hop = embedded_window(config, embeddings)
        self.artifact = SimpleNamespace(
            rate=pack.rate if embeddings is None else embeddings.about["rate"],
            labels=pack.label_names(config.label_set),
            window=window,
            hop=hop,
            tail=config.tail,
            pooling=config.pooling,
        )
        self.batch = batch
        self.net, self.device, self.dtype, self.embeddings = net, device, dtype, embeddings
        self.beside = beside
        self.clips = clips  # that are trained on
        self.audio: dict[str, Any] | None = None  # what they sound like, once it was asked for
        self.keys: dict[str, Any] | None = None  # by which they are known again, likewise
        self.frontend = make_frontend(config, net).to(device)

    def run(self, waveforms_BN: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(B, window) float32 -> logits (B, K) and embeddings (B, E), float32."""
        return self.run_inputs(waveforms_BN)

    @torch.inference_mode()
    def run_inputs(
        self, inputs: np.ndarray, stored_BTD: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The same of what the net takes: waveforms (B, window), or stored embeddings (B, T, D), or both.

        Of a net that takes both, embeddings that are not given are made of the waveforms.
        """
        self.net.eval()
        logits, embeddings = [], []
        for start in range(0, len(inputs), self.batch):
            some = slice(start, start + self.batch)
            part = torch.from_numpy(np.ascontiguousarray(inputs[some])).to(self.device)
            x: Any = self.frontend(part.float())
            if self.beside is not None:
                given = None if stored_BTD is None else torch.from_numpy(stored_BTD[some]).to(self.device)
                x = (x, self.beside.embed(part) if given is None else given.float())
            with torch.autocast(self.device.type, self.dtype, enabled=self.dtype != torch.float32):
                logit, embedding = logits_and_embedding(self.net, x)
            logits.append(logit.float().cpu().numpy())
            embeddings.append(embedding.float().cpu().numpy())
        return np.concatenate(logits), np.concatenate(embeddings)


def make_frontend(config: TrainConfig, net: nn.Module) -> nn.Module:
    """What stands between a waveform, or stored embeddings, and the net."""
    return LogMel(config.features) if kind_heard(net) == "logmel" else nn.Identity()


def kind_heard(net: nn.Module) -> str:
    """Kind of the net's input, of two that of the first."""
    return str(net.input_kind if isinstance(net.input_kind, str) else net.input_kind[0])  # type: ignore[index]


def check_fit(
    config: TrainConfig, pack: Pack, net: nn.Module, embeddings: Any, beside: Beside | None = None
) -> None:
    """Refuse a model that the pack, or the embeddings that were chosen, cannot feed."""
    kind = kind_heard(net)
    if beside is not None and list(net.input_shape[1]) != beside.shape:  # type: ignore[index]
        raise ValueError(
            f"model {config.model!r} is for embeddings {tuple(net.input_shape[1])} beside what it hears, "  # type: ignore[index]
            f"those of {beside.artifact.name} come as {tuple(beside.shape)}: windows and values; set "
            "embedding_windows, or the model's arguments"
        )
    if (kind == "embedding") != (embeddings is not None):
        sets = ", ".join(pack.embedding_sets) or "none"
        raise ValueError(
            f"model {config.model!r} takes embeddings: set embeddings to a set of {config.data}; "
            f"there are: {sets}"
            if kind == "embedding"
            else f"embeddings is {config.embeddings!r}, but model {config.model!r} takes {kind} input"
        )
    if embeddings is not None:
        shape = (config.embedding_windows, embeddings.values.shape[1])
        if tuple(net.input_shape) != shape:  # type: ignore[arg-type]
            raise ValueError(
                f"model {config.model!r} is for embeddings {tuple(net.input_shape)}, "  # type: ignore[arg-type]
                f"those of set {config.embeddings!r} come as {shape}: windows and values of an example; "
                "set embedding_windows, or the model's arguments"
            )
        return
    if config.window_at_use not in (None, config.window) and not any_length(config.model):
        raise ValueError(
            f"window_at_use is {config.window_at_use}, but model {config.model!r} is built for the window "
            f"that it learns from, {config.window} samples; leave it out"
        )
    if pack.rate != config.features.rate:
        raise ValueError(
            f"{config.data}: is packed at {pack.rate} Hz, features.rate is {config.features.rate} Hz; "
            f"pack again with --rate {config.features.rate}"
        )
    if kind != "logmel" and (config.mask_frames or config.mask_bands):
        raise ValueError(
            f"mask_frames and mask_bands cover log-mels, but model {config.model!r} takes {kind} input; "
            "set both to 0"
        )


def any_length(model: str) -> bool:
    """Whether a model takes any stretch of sound, and not one of the shape that it was built for.

    >>> any_length("compact"), any_length("vgg")
    (True, False)
    """
    return "input_shape" not in inspect.signature(MODELS[model]).parameters


def embedded_window(config: TrainConfig, embeddings: Any) -> tuple[int, int]:
    """Samples that an example of embeddings was made from, and from one example to the next."""
    about, count = embeddings.about, config.embedding_windows
    return about["window"] + (count - 1) * about["hop"], count * about["hop"]


def find_embedder(config: TrainConfig, embeddings: Any) -> Artifact:
    """The model that made the embeddings: it goes into the artifact, which then takes waveforms.

    Raises:
        ValueError: it is not where the set says, or is no longer the same; or the embeddings are not those
            of its windows as it lays them, so that no model can make them of a waveform.
    """
    about = embeddings.about
    if about.get("pooling", "none") != "none":
        raise ValueError(
            f"embedding set {config.embeddings!r} holds one embedding a clip, the {about['pooling']} of its "
            "windows', so no model trained on it could take waveforms; embed the pack again without --clips"
        )
    lies = about.get("path", "")
    named = config.embedder or (lies if Path(lies).exists() and lies else about["model"])
    try:
        artifact = load_artifact(named)
    except ValueError as error:
        raise ValueError(
            f"embedding set {config.embeddings!r} was made by {named}, which the trained model needs "
            f"before it ({error}); name it with --set embedder=MODEL"
        ) from error
    if artifact.hop != about["hop"] and (artifact.rate, artifact.window) == (about["rate"], about["window"]):
        raise ValueError(
            f"embedding set {config.embeddings!r} has windows {about['hop']} samples apart, and its model "
            f"{named} has them {artifact.hop} apart, as the trained model would; embed the pack again "
            "without --hop"
        )
    if not gives(artifact, about):
        raise ValueError(
            f"embedder {named} is not the model that made the embedding set {config.embeddings!r}: their "
            "embeddings differ; name the one that did with --set embedder=MODEL, or make the set again"
        )
    return artifact


def save_model(
    path: Path,
    config: TrainConfig,
    pack: Pack,
    live: LiveRunner,
    state: State,
) -> None:
    """Write the net as an artifact, with a check that float32 on this machine's CPU gave.

    Args:
        path: the folder.
        config: of the run.
        pack: trained on.
        live: the net to keep, and what stands before it.
        state: how far training is, what it started from, and its figures on the validation clips.
    """
    # A copy where the net is elsewhere: the optimizer's and a compiled net's weights must not move.
    net = (live.net if live.device.type == "cpu" else copy.deepcopy(live.net).cpu()).eval()
    waveform = check_waveform(live.artifact.window, live.artifact.rate)
    embedder = None if live.embeddings is None else find_embedder(config, live.embeddings)
    with torch.inference_mode():
        seen = waveform if embedder is None else embed_windows(load_runner(embedder), waveform)
        x: Any = make_frontend(config, net)(torch.from_numpy(seen))
        if live.beside is not None:
            embedder = live.beside.artifact
            of_check = embed_resampled(load_runner(embedder), seen, live.artifact.rate, live.beside.windows)
            x = (x, torch.from_numpy(of_check))
        logits = net(x).numpy()
    entry: dict[str, Any] = {"kind": kind_heard(net), "rate": live.artifact.rate}
    if kind_heard(net) == "logmel":
        entry["features"] = config.features.as_dict()
    entries = [entry] if live.embeddings is None else []
    if embedder is not None:
        entries.append(embedding_input(embedder, config.embedding_windows))
    training: dict[str, Any] = {"step": state.step, "data": pack.fingerprint, "config": as_published(config)}
    if live.clips is not None and (audio := audio_of(pack, live)):
        training["audio"] = audio
    if live.clips is not None:
        live.keys = live.keys or training_keys(pack, live.clips)
        training[KEYS] = live.keys
    before = state.start.get(BEFORE) if state.start else None
    if before is not None or state.taught:
        training["within"] = each_once([*(before or []), *state.taught])
    if state.teachers:
        training["teachers"] = state.teachers
    if mixed := pack.manifest.get("mixed_from"):
        splits = {name: list(made["from"]) for name, made in mixed.get("splits", {}).items()}
        training["mixed_from"] = {"data": mixed["fingerprint"], "splits": splits}
    if config.two_steps:
        training["stage"] = 2 if state.began else 1
    save_artifact(
        path,
        weights={name: value.contiguous().numpy().copy() for name, value in net.state_dict().items()},
        check=(waveform, logits),
        tolerance=tolerance_for(logits),
        name=config.name,
        architecture={
            "name": config.model,
            "arguments": {"num_classes": net.num_classes, **state.arguments},
            **step_of(net, config.features.hop),
        },
        inputs=entries,
        labels=live.artifact.labels,
        parents=parents_to_save(pack, config.label_set, live.artifact.labels),
        window=live.artifact.window,
        hop=live.artifact.hop,
        tail=config.tail,
        pooling=config.pooling,
        embedding_size=net.embedding_size,
        licence=config.licence,
        training=training | ({"init_from": counted(state.start)} if state.start else {}),
        metrics={"validation": state.metrics} if state.metrics else {},
        embedder=None if embedder is None else embedder.path,
    )


def audio_of(pack: Pack, live: LiveRunner) -> dict[str, Any]:
    """What the clips that are trained on sound like, as `auricle doctor` wants it; looked at once a run.

    >>> audio_of(Pack("out/pack"), live)["level"]  # doctest: +SKIP
    [-46.2, -39.5, -21.3, -10.8, -6.6]
    """
    assert live.clips is not None
    if live.audio is None:
        some = live.clips[chosen(len(live.clips))]
        live.audio = fingerprint((pack.samples(int(clip)) for clip in some), pack.rate)
    return live.audio


def parents_to_save(pack: Pack, label_set: str, labels: Sequence[str]) -> list[list[str]] | None:
    """For each label those right above it among the labels; None where no label stands above another.

    >>> parents_to_save(Pack("out/urban"), "agreement50", ["1-1_small", "1_engine"])  # doctest: +SKIP
    [['1_engine'], []]
    """
    parents = among(label_parents(pack, label_set), labels)
    return list(parents.values()) if any(parents.values()) else None


def tolerance_for(logits_BK: np.ndarray) -> float:
    """How far a check's logits may differ elsewhere: 1e-4, of logits beyond 10 as much more as these are.

    float32 has seven digits, and a net in its first steps, on decibels, may give logits of hundreds.

    >>> tolerance_for(np.array([-5.0, 3.0])), tolerance_for(np.array([200.0]))
    (0.0001, 0.002)
    """
    return min(1.0, max(Artifact.tolerance, float(f"{1e-5 * np.abs(logits_BK).max():.1g}")))


def as_published(config: TrainConfig) -> dict[str, Any]:
    """The configuration without what says where it ran."""
    private = (
        "data",
        "device",
        "threads",
        "compile",
        "checkpoint_activations",
        "rank_timeout",
        "init_from",
        "embedder",
        "noise_pack",
        "teachers",
    )
    return {name: value for name, value in config.as_dict().items() if name not in private}


def check_waveform(window: int, rate: int) -> np.ndarray:
    """(2, window) float32: noise and a rising tone, so that any change of the front end or net shows.

    >>> check_waveform(32000, 16000).shape
    (2, 32000)
    """
    time = np.arange(window) / rate
    noise = np.random.default_rng(0).standard_normal(window) * 0.1
    tone = 0.5 * np.sin(2 * np.pi * (200 + 1000 * time) * time)
    return np.stack([noise, tone]).astype(np.float32)
