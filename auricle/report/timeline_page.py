"""The time-line as a page: scores under the pointer, the recording playable, a cursor that moves with it."""

import io
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from matplotlib.image import imsave

from auricle.features import FeatureConfig
from auricle.report.page import data_uri, page, text
from auricle.report.timeline import CONFIG, Spectrogram, Timeline, bands_of, clock, score_cells, score_text

EMBEDDED_BYTES = 8_000_000  # up to here a recording is put inside the page, a third larger than it is
# What browsers play. Others are referred to all the same: what a browser plays is its own affair.
AUDIO = {
    ".wav": "audio/wav",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".oga": "audio/ogg",
    ".opus": "audio/ogg",
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
    ".aac": "audio/aac",
    ".weba": "audio/webm",
}
VIDEO = {".mp4": "video/mp4", ".m4v": "video/mp4", ".webm": "video/webm", ".mov": "video/quicktime"}
PAGE_COLUMNS = 4000  # cells; what is finer is pooled by maximum


def timeline_html(
    timeline: Timeline, picture: Spectrogram, recording: Path | None, out: Path, *, title: str = ""
) -> str:
    """The page.

    Args:
        timeline: the scores.
        picture: the spectrogram of the same seconds.
        recording: what is played; None for none. At most 8 MB are put inside the page, a larger recording is
            referred to by its path relative to the page.
        out: where the page will be.
        title: in place of the recording's name.

    >>> line = Timeline(path="a.wav", model="m", labels=("dog",), starts=np.array([0.0]),
    ...                 stops=np.array([1.0]), scores=np.array([[0.7]], np.float32))
    >>> blank = Spectrogram(values=np.zeros((64, 9), np.float32), start=0.0, end=1.0, loudest=1.0)
    >>> "<canvas" in timeline_html(line, blank, None, Path("a.html"))
    True
    """
    edges, scores = score_cells(timeline, PAGE_COLUMNS)
    ticks = [250, 1000, 2000, 4000, 7000]
    data = {
        "labels": timeline.labels,
        "peaks": [score_text(peak) for peak in timeline.peaks.tolist()],
        "edges": np.round(edges, 6),
        "scores": [_rounded(row) for row in scores],
        "scale": timeline.scale,
        "thresholds": _threshold_texts(timeline),
        "above": [np.flatnonzero(row) for row in timeline.above(scores)],
        "picture": data_uri(spectrogram_png(picture), "image/png"),
        "ticks": [
            [f"{hertz / 1000:g} kHz", round(float(place) / CONFIG.bands, 4)]
            for hertz, place in zip(ticks, bands_of(ticks), strict=True)
        ],
    }
    full = f" Full colour is a score of {score_text(timeline.scale)}." if timeline.scale < 1 else ""
    if timeline.thresholds is not None:
        full += " What reaches its label's threshold, the second number, is underlined."
    start, end = clock(float(edges[0])), clock(float(edges[-1]))
    player, how = _player(recording, out)
    body = f"""<p class="note">Model {text(timeline.model)}, {start} to {end}; the
{len(timeline.labels)} classes with the greatest peaks, highest first.{full} {how}</p>
{player}
<p id="problem" class="note" role="alert" hidden>The browser cannot play this recording: it is not
where it was when the page was made, or of a kind that the browser does not know.</p>
<div class="controls"><button type="button" id="nearer" aria-label="zoom in">+</button>
<button type="button" id="further" aria-label="zoom out">&minus;</button>
<span id="now" role="status" class="chosen"></span></div>
<figure class="timeline">
<canvas id="plot" class="plot" tabindex="0" role="application"
 aria-label="Scores over time. Left and right go from window to window, space plays, plus and minus zoom.">
</canvas>
<div id="tip" class="tip" hidden></div>
</figure>
<details><summary>Peaks as a table</summary>
{_peaks_table(timeline)}
</details>"""
    return page(title or Path(timeline.path).name, body, script="timeline.js", data=data)


def spectrogram_png(picture: Spectrogram) -> bytes:
    """The spectrogram as a picture, one pixel a band and column, low bands below.

    >>> blank = Spectrogram(values=np.zeros((64, 9), np.float32), start=0.0, end=1.0, loudest=1.0)
    >>> spectrogram_png(blank)[1:4]
    b'PNG'
    """
    written = io.BytesIO()
    low, high = np.log(FeatureConfig().log_offset), max(picture.loudest, 0.0)
    imsave(written, picture.values, origin="lower", cmap="magma", vmin=low, vmax=high, format="png")
    return written.getvalue()


def _player(recording: Path | None, out: Path) -> tuple[str, str]:
    """The element that plays the recording, and a sentence on where that is."""
    if recording is None:
        return "", ""
    suffix = recording.suffix.lower()
    kind = AUDIO.get(suffix) or VIDEO.get(suffix)
    tag = "video" if suffix in VIDEO else "audio"
    if kind is not None and recording.stat().st_size <= EMBEDDED_BYTES:
        address, how = data_uri(recording.read_bytes(), kind), "The recording is inside this page."
    else:
        relative = os.path.relpath(recording, out.parent)
        # A Windows path has other slashes; and "a:b.wav" would be an address of its own.
        parts = Path(relative).as_posix()
        address = "./" + quote(parts, errors="surrogateescape")
        how = f"The recording is played from {text(parts)}: keep the two together."
    extra = " playsinline" if tag == "video" else ""
    preload = "metadata"
    element = f'<{tag} id="player" controls{extra} preload="{preload}" src="{address}"></{tag}>'
    return element, how


def _peaks_table(timeline: Timeline) -> str:
    rows = []
    left, right = timeline.cells
    for k, label in enumerate(timeline.labels):
        best = int(timeline.scores[:, k].argmax())
        peak = float(timeline.scores[best, k])
        span = f"{left[best]:.2f} to {right[best]:.2f} s"
        cells = [text(label), score_text(peak), *_threshold_texts(timeline)[k : k + 1], span]
        rows.append(f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    names = ("class", "peak", *(() if timeline.thresholds is None else ("threshold",)), "where")
    heads = "".join(f'<th scope="col">{head}</th>' for head in names)
    return (
        f'<div class="scroll"><table class="numbers names"><thead><tr>{heads}</tr></thead>\n<tbody>'
        + "\n".join(rows)
        + "</tbody></table></div>"
    )


def _threshold_texts(timeline: Timeline) -> list[str]:
    """A text for each class; none where there are no thresholds."""
    limits = [] if timeline.thresholds is None else timeline.thresholds.tolist()
    return ["never" if limit > 1 else score_text(limit) for limit in limits]


def _rounded(values: Any) -> list[float]:
    return [round(float(value), 5) for value in values]
