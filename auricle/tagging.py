"""Tagger: media -> scores over time and clip scores, at any length in the same memory.

A background thread decodes and resamples, a few blocks ahead; the caller's thread scores. Windows are
gathered into batches of one fixed shape across blocks, so that neither the decoder's blocks nor the
neighbours in a batch change a score.

Shape letters: K classes, W windows.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from auricle.artifact import load_artifact
from auricle.audio import Block, Device, RawFormat
from auricle.events import Event, EventConfig, EventFinder, by_time
from auricle.hierarchy import consistent as consistent_scores
from auricle.hierarchy import parents_of
from auricle.listening import seconds_of, source_name
from auricle.pooling import pooling_of
from auricle.probabilities import calibrated, chosen_thresholds, clip_scores
from auricle.runners.lengths import at_window, runner_at
from auricle.runners.windows import PooledScores, sigmoid
from auricle.scoring import Windows, scored_windows

# Windows scored at once: as fast as 16 on long recordings, and three times as fast on clips of 5 seconds.
BATCH = 4
BATCH_ON_GPU = 64


class Tagger:
    """A model, loaded once, for any number of recordings, one at a time.

    Args:
        model: name, folder or .onnx file, see `load_artifact`.
        threads: processor threads for scoring; None takes every core.
        batch: windows scored at once.
        device: "cpu", or a torch device for a torch model.
        runner: of a model that is loaded already, as `load_runner` gives it: `model`, `threads` and `device`
            then say nothing, and its window is the only one.
        window: seconds of a window; None takes the model's. `artifact` is then of such windows, with a hop in
            proportion, see `auricle.runners.lengths.at_window`.

    Raises:
        ValueError: no such model, or it is broken, or it takes no such windows.

    >>> Tagger("default").tag("examples/scene.mp3", top=1)["tags"][0]["label"]  # doctest: +SKIP
    'siren'
    """

    def __init__(
        self,
        model: str | Path = "default",
        *,
        threads: int | None = None,
        batch: int = BATCH,
        device: str = "cpu",
        runner: Any = None,
        window: float | None = None,
    ):
        self._model = model
        self._loading: dict[str, Any] | None = None
        if runner is None:
            self._loading = {"threads": threads, "batch": batch, "device": device}
        self.runner = runner or runner_at(load_artifact(model), window, **(self._loading or {}))
        self.artifact = self.runner.artifact
        self.batch = batch
        self._other: Tagger | None = None  # for windows of another length, the last that were asked for
        if runner is not None:
            self.at(window)

    def at(self, window: float | None) -> "Tagger":
        """The same model for windows of another length; this one, for those that it has.

        Args:
            window: seconds; None takes those that it has.

        Raises:
            ValueError: as `Tagger`; or it was given its runner, and that one has others.

        >>> Tagger("default").at(1.0).artifact.window  # doctest: +SKIP
        16000
        """
        if window is None or (length := at_window(self.artifact, window).window) == self.artifact.window:
            return self
        if self._loading is None:
            own = self.artifact.window / self.artifact.rate
            raise ValueError(f"window is {window:g} s; what scores here was made for windows of {own:g} s")
        if self._other is None or self._other.artifact.window != length:
            self._other = Tagger(self._model, window=window, **self._loading)
        return self._other

    def windows(
        self,
        source: str | Path | BinaryIO | Device,
        *,
        start: float = 0.0,
        end: float | None = None,
        raw: RawFormat | None = None,
        hop: int | None = None,
        warn: Callable[[str], None] | None = None,
        live: bool = False,
        stop: threading.Event | None = None,
        decoded: Iterator[Block] | None = None,
        whole: bool = False,
    ) -> Iterator[Windows]:
        """Score a recording window by window, as it is read; of a net that decides for steps, step by step.

        Beside the windows on the grid, one more is aligned to the end where the grid leaves a rest, so that
        nothing goes unheard; a recording shorter than a window is padded with zeros. Streaming in blocks of
        any size gives the same scores, to the last bit, as reading the recording whole.

        Args:
            source: a path, "-" for standard input, an open binary file, or an input to record from.
            start: seconds at which to begin.
            end: seconds at which to stop; None is the end of the recording.
            raw: set where the source is PCM without a header.
            hop: samples from window to window; None takes the model's.
            warn: is told, in this thread, what was wrong with the recording but could be got over; None makes
                an `AudioWarning` of it.
            live: score a window as soon as it was heard, in place of a batch; the logits are the same.
            stop: once it is set, the recording ends: what was heard until then is still scored.
            decoded: the recording, where something else reads it: its blocks at the model's rate. `source` is
                then its name, and start, end, raw, warn and stop are for what reads it.
            whole: windows as they are also of a net that decides for steps within them (`Artifact.step`).
                Of these each moment is told once, as the first window has it.

        Yields:
            Windows, at most `batch` at a time, in order; or all steps of as many windows.

        Raises:
            AudioError: the recording cannot be read, or holds no sample in the range.
            ValueError: the model gives a logit that is not finite.

        >>> for part in Tagger().windows("day.flac"):  # doctest: +SKIP
        ...     print(part.starts / 16000, part.logits.argmax(1))
        """
        place: dict[str, Any] = {"start": start, "end": end, "raw": raw}
        listening: dict[str, Any] = {"warn": warn, "live": live, "stop": stop, "decoded": decoded}
        hop = self.artifact.hop if hop is None else hop
        return scored_windows(
            self.runner, source, batch=self.batch, hop=hop, whole=whole, **place, **listening
        )

    def follow(
        self,
        source: str | Path | BinaryIO | Device,
        *,
        top: int | None = 5,
        threshold: float | None = None,
        windows: bool = True,
        consistent: bool = False,
        scores: bool = False,
        events: EventConfig | None = None,
        start: float = 0.0,
        end: float | None = None,
        raw: RawFormat | None = None,
        hop: float | None = None,
        window: float | None = None,
        warn: Callable[[str], None] | None = None,
        live: bool = False,
        stop: threading.Event | None = None,
        heard: Callable[[float], object] | None = None,
        decoded: Iterator[Block] | None = None,
    ) -> Iterator[dict[str, Any]]:
        """What `tag` gives, piece by piece as it is heard, in memory that does not grow.

        Args are those of `tag`, and `live`, `stop` and `decoded` those of `windows`; `heard` is told, after
        every batch, how many seconds were heard.

        Yields:
            {"start", "end" (seconds), "tags"} of every window, where `windows`; with `scores` "on_grid" and
            "scores" in place of a window's tags; last of all {"path", "duration", "tags"} of the whole, with
            "events" where these are wanted. When `live`, an event comes as soon as it is certain, in the form
            of a window with one tag, and not again at the end.

        Raises:
            AudioError, ValueError: as `windows`, after what was heard until then.

        >>> for piece in Tagger().follow("-", top=1):  # doctest: +SKIP
        ...     print(piece)
        """
        if window is None and events is not None:
            window = events.window
        tagger = self.at(window)
        artifact = tagger.artifact
        thresholds_K = _checked_choice(artifact, top, threshold, consistent)
        fitted = tagger._consistent if consistent else np.asarray
        mapped = calibrated(artifact)
        rate, drops = artifact.rate, artifact.tail == "drop"
        finder, found = None, list[Event]()
        if events is not None:
            finder = EventFinder(artifact.labels, events, least=threshold or 0.0)
            hop = events.hop if hop is None else hop
        samples = hop_samples(hop, artifact)
        place: dict[str, Any] = {"start": start, "end": end, "raw": raw, "hop": samples}
        pooled = PooledScores(artifact.num_classes, pooling_of(artifact))
        first = last = None
        for part in tagger.windows(source, **place, warn=warn, live=live, stop=stop, decoded=decoded):
            logits = mapped(part.logits)
            pooled.add(logits[part.on_grid if drops else slice(None)])
            first, last = (part.starts[0] if first is None else first), part.stops[-1]
            if heard is not None:
                heard(float((last - first) / rate))
            if windows or finder is not None:
                scored = fitted(sigmoid(logits))
            if finder is not None:
                found += finder.add(part.starts / rate, part.stops / rate, scored)
            if live:
                yield from map(_as_window, found)
                found.clear()
            if windows:
                for span, on_grid, row_K in zip(_spans(part, rate), part.on_grid, scored, strict=True):
                    if scores:
                        yield span | {"on_grid": bool(on_grid), "scores": row_K}
                    else:
                        yield span | {"tags": tagger._tags(row_K, top, thresholds_K)}
        assert first is not None and last is not None  # `windows` raises where there is no sample
        duration = seconds_of((last - first) / rate)
        tags = tagger._tags(fitted(clip_scores(artifact)(pooled.score())[None])[0], top, thresholds_K)
        result = {"path": source_name(source), "duration": duration, "tags": tags}
        if finder is not None:
            found += finder.finish()
            if live:
                yield from map(_as_window, found)
            else:
                result["events"] = sorted(found, key=by_time)
        yield result

    def tag(
        self,
        source: str | Path | BinaryIO | Device,
        *,
        top: int | None = 5,
        threshold: float | None = None,
        windows: bool = False,
        consistent: bool = False,
        scores: bool = False,
        events: EventConfig | None = None,
        start: float = 0.0,
        end: float | None = None,
        raw: RawFormat | None = None,
        hop: float | None = None,
        window: float | None = None,
        warn: Callable[[str], None] | None = None,
        decoded: Iterator[Block] | None = None,
    ) -> dict[str, Any]:
        """The tags of a recording, as one object that JSON can hold.

        A score is the mean over the windows of theirs, or what the model's `pooling` says, over the windows
        that its `tail` names: the sigmoid of their logits, calibrated where the model has a calibration; of a
        net that decides for steps within a window the greatest. Scores are rounded to six significant
        digits, times to the microsecond.

        Args:
            source: as in `windows`.
            top: how many tags at most; None gives all.
            threshold: tags below this score are left out; None takes the model's own thresholds, or 0 where
                it has none.
            windows: also give the tags of every window.
            consistent: give a label above others at least their scores, see `auricle.hierarchy`.
            scores: give windows "scores", (K,) float32, which JSON cannot hold, in place of tags; and
                "on_grid", which is false for the one that was aligned to the end.
            events: also give events, by these settings, see `auricle.events.events_of`; those that score less
                than a `threshold` that is given are left out.
            start: as in `windows`.
            end: as in `windows`.
            raw: as in `windows`.
            hop: seconds from window to window; None takes that of `events`, or the model's; with another
                window than the model's own, the model's share of a window.
            window: seconds of a window; None takes that of `events`, or the tagger's. Another than the
                tagger's loads the network once more, see `at`.
            warn: as in `windows`; None puts what it would be told under "warnings", where there is something.
            decoded: as in `windows`.

        Returns:
            {"path": as given, "duration": seconds heard, "tags": [{"label", "score"}, ...] by falling score},
            and with `windows` also {"windows": [{"start", "end" (seconds), "tags"}, ...]}, with `events` also
            {"events": [{"start", "end" (seconds), "label", "score"}, ...]} by start, then label.

        Raises:
            AudioError, ValueError: as `windows`.

        >>> Tagger().tag("dog.wav", top=1)  # doctest: +SKIP
        {'path': 'dog.wav', 'duration': 5.0, 'tags': [{'label': 'dog', 'score': 0.934512}]}
        """
        warned: list[str] = []
        choice: dict[str, Any] = {"top": top, "threshold": threshold, "windows": windows}
        choice |= {"consistent": consistent, "scores": scores, "events": events}
        place: dict[str, Any] = {"start": start, "end": end, "raw": raw, "hop": hop}
        place["window"] = window
        *rows, result = self.follow(source, **choice, **place, warn=warn or warned.append, decoded=decoded)
        if windows:
            result["windows"] = rows
        if warned:
            result["warnings"] = warned
        return result

    def _consistent(self, scores_WK: np.ndarray) -> np.ndarray:
        labels = self.artifact.labels
        return consistent_scores(scores_WK, labels, parents_of(labels, self.artifact.parents))

    def _tags(self, scores: np.ndarray, top: int | None, thresholds_K: np.ndarray) -> list[dict[str, Any]]:
        order = np.argsort(-scores, kind="stable")  # equal scores keep the labels' order
        shown = order[scores[order] >= thresholds_K[order]][:top]
        labels = self.artifact.labels
        return [{"label": labels[k], "score": _rounded(scores[k])} for k in shown.tolist()]


@dataclass(frozen=True, kw_only=True)
class TagOptions:
    """What `tag_file` needs to know, fit to be sent to another process; see `Tagger` and `Tagger.tag`."""

    model: str = "default"
    threads: int | None = None
    batch: int = BATCH
    top: int | None = 5
    threshold: float | None = None
    windows: bool = False
    consistent: bool = False
    scores: bool = False  # every label's, of every window, in place of its tags
    events: EventConfig | None = None
    start: float = 0.0
    end: float | None = None
    raw: RawFormat | None = None
    hop: float | None = None  # seconds
    window: float | None = None  # seconds; None takes that of `events`, or the model's
    device: str = "cpu"


def tag_file(path: str, options: TagOptions) -> dict[str, Any]:
    """`Tagger.tag` of one file, with a model that this process loads once: for `auricle.engine.run_files`.

    Raises:
        AudioError, ValueError: as `Tagger`.

    >>> tag_file("dog.wav", TagOptions(threads=1))  # doctest: +SKIP
    """
    return load_tagger(options).tag(path, **_wishes(options))


def follow_file(
    path: str | Device, options: TagOptions, warn: Callable[[str], None], **listening: Any
) -> Iterator[dict[str, Any]]:
    """`Tagger.follow` of one file, with a model that this process loads once.

    Args:
        path: the file, or an input.
        options: what is wanted of it.
        warn: as in `Tagger.windows`.
        listening: `live`, `stop` and `heard` of `Tagger.follow`.

    Raises:
        AudioError, ValueError: as `Tagger`.

    >>> for piece in follow_file("day.flac", TagOptions(windows=True), print):  # doctest: +SKIP
    ...     print(piece)
    """
    yield from load_tagger(options).follow(path, **_wishes(options), warn=warn, **listening)


def load_tagger(options: TagOptions) -> Tagger:
    """The model, which this process loads once.

    Raises:
        ValueError: as `Tagger`.

    >>> load_tagger(TagOptions(threads=1)).artifact.name  # doctest: +SKIP
    'auricle-esc50'
    """
    return _tagger(str(options.model), options.threads, options.batch, options.device, window_of(options))


@lru_cache(maxsize=2)
def _tagger(model: str, threads: int | None, batch: int, device: str, window: float | None) -> Tagger:
    return Tagger(model, threads=threads, batch=batch, device=device, window=window)


def window_of(options: TagOptions) -> float | None:
    """Seconds of a window by some options; None for the model's own.

    >>> window_of(TagOptions(events=EventConfig(window=1.0))), window_of(TagOptions())
    (1.0, None)
    """
    if options.window is None and options.events is not None:
        return options.events.window
    return options.window


def hop_samples(seconds: float | None, artifact: Any) -> int | None:
    """Samples from window to window; None for the model's own.

    Raises:
        ValueError: fewer than one, or more than there are in a window.

    >>> hop_samples(0.5, load_artifact("default"))  # doctest: +SKIP
    8000
    """
    if seconds is None:
        return None
    if not 1 <= seconds * artifact.rate <= artifact.window:
        longest = artifact.window / artifact.rate
        raise ValueError(
            f"hop is {seconds:g} s; expected a sample or more, and at most {longest:g} s, a window of "
            "this model, so that nothing goes unheard"
        )
    return round(seconds * artifact.rate)


def _wishes(options: TagOptions) -> dict[str, Any]:
    names = ("top", "threshold", "windows", "consistent", "scores", "events", "start", "end", "raw", "hop")
    return {name: getattr(options, name) for name in names} | {"window": window_of(options)}


def _as_window(event: Event) -> dict[str, Any]:
    tag = {"label": event["label"], "score": event["score"]}
    return {"start": event["start"], "end": event["end"], "tags": [tag]}


def _spans(part: Windows, rate: int) -> list[dict[str, Any]]:
    """{"start", "end"} of windows, in seconds."""
    pairs = zip(part.starts / rate, part.stops / rate, strict=True)
    return [{"start": seconds_of(start), "end": seconds_of(end)} for start, end in pairs]


def _checked_choice(
    artifact: Any, top: int | None, threshold: float | None, consistent: bool = False
) -> np.ndarray:
    """(K,) the thresholds that count, or ValueError."""
    if top is not None and top < 1:
        raise ValueError(f"top is {top}; expected at least 1")
    thresholds_K = chosen_thresholds(artifact, threshold)
    if not artifact.labels:
        raise ValueError(f"{artifact.path}: has no labels, it embeds only: use `auricle embed`")
    if consistent and artifact.parents is None:
        raise ValueError(
            f"{artifact.path}: its labels are flat, so no score can contradict another; leave out "
            "--consistent"
        )
    return thresholds_K


def _rounded(value: float) -> float:
    return float(f"{float(value):.6g}")
