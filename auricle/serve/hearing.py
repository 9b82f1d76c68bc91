"""The work on a recording of the library: decoded once, and of that everything that the page asks for."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from auricle.audio import AudioError, Block, Info
from auricle.serve.decoding import Decoding, Limits, decode, make_playable, playable
from auricle.serve.job import Job
from auricle.serve.keptscores import KeptScores, ScoreWriter, fine_hop
from auricle.serve.pictures import SHORT_SECONDS, PeakWriter, SpectrumWriter, Take
from auricle.serve.state import Service
from auricle.tagging import Tagger

UPLOAD, COPY = "upload", "copy.mp3"  # in a recording's folder
TAGS = 5  # of the whole
KINDS = {
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "flac": "audio/flac",
    "ogg": "audio/ogg",
    "aac": "audio/aac",
}


def hear(service: Service, job: Job, folder: Path) -> dict[str, Any]:
    """Write scores, peaks and spectrogram of a recording into its folder; what is known of it, fit for JSON.

    Args:
        service: that has the model and the limits.
        job: of the recording, whose name is the client's.
        folder: of the recording, with the upload.

    Raises:
        AudioError, ValueError: it cannot be read.
        Refused: there is no room for what is written.
        Ended: the job is not wanted any more.
    """
    artifact, limits = service.artifact, Limits.of(service.settings)
    take, hop = service.space.take, fine_hop(artifact)
    tagger = Tagger(runner=service.scorer.runner())
    upload = folder / UPLOAD
    with contextlib.ExitStack() as stack:
        scores = ScoreWriter(folder, take)
        stack.callback(scores.close)
        decoded = stack.enter_context(decode(upload, artifact.rate, limits, name=job.name, stop=job.stop))
        seen = _Seen(decoded, folder, artifact.rate, take)
        stack.callback(seen.close)
        last = 0
        for part in tagger.windows(job.name, hop=hop, decoded=seen.blocks()):
            scores.add(part)
            last = int(part.stops[-1])
            job.duration = decoded.duration
            job.hear(last / artifact.rate)
        scores.finish()
        pictures = seen.finish()
        assert decoded.info is not None
        info, warnings = decoded.info, list(decoded.warnings)
    job.check()
    media = _media(info, job, folder, limits, take, warnings)
    kept = KeptScores(folder, artifact, hop)
    kept.keep_smoothed(take)
    *_, whole = kept.tagger().follow(job.name, top=TAGS, threshold=0.0, windows=False)
    job.warnings, job.duration = warnings, last / artifact.rate
    return {
        "duration": round(last / artifact.rate, 6),
        "tags": whole["tags"],
        "warnings": warnings,
        "hop": hop,
        "window": artifact.window,
        "rate": artifact.rate,
        **media,
        **pictures,
    }


class _Seen:
    """Draws what goes by, on its way to the model."""

    def __init__(self, decoded: Decoding, folder: Path, rate: int, take: Take):
        self.decoded, self.folder, self.rate, self.take = decoded, folder, rate, take
        self._peaks = PeakWriter(folder, rate, take)
        self._spectrum: SpectrumWriter | None = None

    def blocks(self) -> Iterator[Block]:
        for block in self.decoded:
            self._peaks.add(block.samples)
            self._spectrogram().add(block.samples)
            yield block

    def finish(self) -> dict[str, Any]:
        peaks, spectrum = self._peaks.finish(), self._spectrogram().finish()
        return {"peaks": peaks, "spectrogram": vars(spectrum)}

    def close(self) -> None:
        self._peaks.close()
        if self._spectrum is not None:
            self._spectrum.close()

    def _spectrogram(self) -> SpectrumWriter:
        """Made with the first block: only then is it known how long the recording may be."""
        if self._spectrum is None:
            duration = self.decoded.duration
            fine = duration is not None and duration <= SHORT_SECONDS
            self._spectrum = SpectrumWriter(self.folder, self.rate, fine, self.take)
        return self._spectrum


def _media(
    info: Info, job: Job, folder: Path, limits: Limits, take: Take, warnings: list[str]
) -> dict[str, Any]:
    """What browsers play of it: the upload, or a copy that is made now; nothing where that fails."""
    if playable(info):
        video = info.has_video and ("mp4" in info.container or "webm" in info.container)
        return {"media": UPLOAD, "type": _type_of(info, video), "kind": "video" if video else "audio"}
    copy = folder / COPY
    copy.unlink(missing_ok=True)  # of an earlier attempt
    try:
        written = 0
        for _ in make_playable(folder / UPLOAD, copy, limits, name=job.name, stop=job.stop):
            job.check()
            size = copy.stat().st_size
            if size > written + (1 << 20):
                take(size - written)
                written = size
    except AudioError as error:
        warnings.append(f"it cannot be played here: {error}")
        return {"media": None, "type": None, "kind": "audio"}
    return {"media": COPY, "type": "audio/mpeg", "kind": "audio"}


def _type_of(info: Info, video: bool) -> str:
    main = "video" if video else "audio"
    for name in ("mp4", "webm"):
        if name in info.container:
            return f"{main}/{name}"
    return KINDS.get(info.container, "application/octet-stream")
