"""What a network for urban sounds is given of a recording: its spectrogram, and another model's embeddings.

Source: Tompkins and Nichols, "DCASE 2019 Challenge Task 5: CNN+VGGish", technical report, 2019, Fig. 1: the
log-mel spectrogram of 128 bands and 862 frames above VGGish's embedding of 128 values and 10 windows.

Shape letters: T frames, F mel bands, W windows, D values of an embedding.
"""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from auricle.features import FeatureConfig, band_edges
from auricle.presets import librosa_defaults
from auricle.report.style import drawing

TICKS = (250, 1000, 2000, 4000, 8000, 16_000)  # Hz
SMALLEST, GREATEST = 2, 98  # percentiles of embeddings that the colours span: single values may lie far off


def draw_inputs(
    logmel_TF: np.ndarray,
    embeddings_WD: np.ndarray,
    spans: Sequence[tuple[float, float]],
    *,
    config: FeatureConfig | None = None,
    start: float = 0.0,
    seconds: float,
    title: str = "",
    embedder: str = "embedding",
) -> Figure:
    """Fig. 1: the spectrogram, and under it on the same time axis a column of values for each window.

    Args:
        logmel_TF: as `auricle.features.log_mel` gives it.
        embeddings_WD: at least one window.
        spans: start and end of each window in seconds; each moment is drawn as the window that began last.
        config: of the log-mel; None for librosa's defaults.
        start: second at which the log-mel begins.
        seconds: its length.
        title: above all.
        embedder: name of the model that made the embeddings.

    Raises:
        ValueError: there is no frame or no window, or not a span for each.

    >>> spans = [(i, i + 1) for i in range(10)]
    >>> figure = draw_inputs(np.zeros((862, 128)), np.zeros((10, 4)), spans, seconds=10)
    >>> [axes.get_ylabel() for axes in figure.axes[:2]]
    ['kHz (mel)', 'value']
    """
    config = config or librosa_defaults()
    if not logmel_TF.size or not embeddings_WD.size or len(spans) != len(embeddings_WD):
        raise ValueError(
            f"expected log-mel (T, F), embeddings (W, D) and W spans, got {logmel_TF.shape}, "
            f"{embeddings_WD.shape} and {len(spans)}: the recording may be too short"
        )
    frames, bands = logmel_TF.shape
    windows, values = embeddings_WD.shape
    with drawing():
        figure = Figure(figsize=(9.5, 6.2), layout="constrained")
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(1, 1))
        if config.decibels:
            low, high, unit = -config.decibels, 0.0, "dB below the loudest"
        elif config.absolute:
            low, high, unit = -100.0, float(logmel_TF.max()), "dB"
        else:
            least = float(np.log(config.log_offset))
            low, high, unit = (
                (least + config.shift) * config.scale,
                float(logmel_TF.max()),
                "natural logarithm",
            )
            unit += ", shifted and scaled" if config.scale != 1 else ""
        picture = above.imshow(
            logmel_TF.T,
            origin="lower",
            aspect="auto",
            extent=(start, start + seconds, 0, bands),
            cmap="magma",
            vmin=low,
            vmax=max(high, low + 1e-6),
            interpolation="nearest",
        )
        edges = band_edges(config)
        ticks = [hertz for hertz in TICKS if edges[0] < hertz < edges[-1]]
        places = np.interp(ticks, edges, np.arange(len(edges)) - 0.5)
        above.set_yticks(places, [f"{hertz / 1000:g}" for hertz in ticks])
        above.set_ylabel("kHz (mel)")
        above.set_title(f"{title}\n" * bool(title) + f"log-mel spectrogram: {bands} bands, {frames} frames")
        figure.colorbar(picture, ax=above, pad=0.02, aspect=25, label=unit).outline.set_visible(False)
        least, most = np.percentile(embeddings_WD, [SMALLEST, GREATEST]).tolist()
        lefts = [left for left, _ in spans]
        mesh = below.pcolormesh(
            [*lefts, max(spans[-1][1], lefts[-1] + 1e-3)],
            np.arange(values + 1),
            embeddings_WD.T,
            cmap="viridis",
            vmin=least,
            vmax=max(most, least + 1e-6),
            rasterized=True,
        )
        below.set_ylim(0, values)
        below.set_ylabel("value")
        counted = f"{windows} window{'s' * (windows != 1)}"
        below.set_title(f"{embedder}: {values} values, {counted}")
        below.set_xlabel("time (seconds)")
        below.set_xlim(start, start + seconds)
        figure.colorbar(mesh, ax=below, pad=0.02, aspect=25, label="embedding").outline.set_visible(False)
    return figure
