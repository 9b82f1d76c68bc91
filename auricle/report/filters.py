"""The learned filters of a network on raw waveforms: what each passes, and on which scale they lie.

The centre frequency of a filter is where its zero-padded spectrum is greatest, not the mean frequency of its
power: noise that is left in learned weights is spread over all frequencies and draws a mean towards the
middle of the band, while the peak stays where the filter is tuned. A filter that is greatest at 0 Hz (a
low-pass) or at half the rate (a high-pass) has no centre: it is drawn and counted, and in no comparison with
a scale.

The bandwidth is the equivalent rectangular one: the power over all frequencies by the greatest power. No
filter of N taps has less than rate / N, but next to the two edges.

Sources of the scales: mel as in `auricle.features`; Bark, Traunmüller, "Analytical expressions for the
tonotopic sensory scale", JASA 88, 1990; ERB-rate and the ERB of hearing, Glasberg and Moore, "Derivation of
auditory filter shapes from notched-noise data", Hearing Research 47, 1990.

Shape letters: F filters, N taps, S bins of the spectrum.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from auricle.artifact import Artifact
from auricle.features import hertz_to_mel

WEIGHT = "front.stem.0.weight"  # of the raw-waveform network
BINS = 4096  # from 0 Hz to half the rate: 2 Hz apart at 16 kHz
DEAD = 1e-6  # of the strongest filter's peak: below, nothing of a filter comes through
DRAWS = 200  # banks of random filters
KINDS = ("band", "low", "high", "dead")

# Hz -> place.
SCALES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mel": hertz_to_mel,
    "Bark": lambda hertz: 26.81 * hertz / (1960.0 + hertz) - 0.53,
    "ERB": lambda hertz: 21.4 * np.log10(1 + 0.00437 * hertz),
    "linear": lambda hertz: hertz,
}


@dataclass(frozen=True, kw_only=True, eq=False)
class Filters:
    """A bank of filters by rising centre frequency; dead ones, which have none, at the end.

    Args:
        rate: samples a second.
        place: (F,) number of each filter in the layer, from 0.
        kind: (F,) "band", "low", "high" or "dead".
        taps: (F, N) the filters.
        centre: (F,) Hz where the response is greatest; NaN of dead filters.
        bandwidth: (F,) Hz, equivalent rectangular; NaN of dead filters.
        peak: (F,) dB, gain at the centre: at 0 dB a tone comes out as loud as it went in; -inf of zeros.
        response: (F, S) magnitude from 0 Hz to half the rate, both included, over its greatest; 0 of dead
            filters.
    """

    rate: int
    place: np.ndarray
    kind: np.ndarray
    taps: np.ndarray
    centre: np.ndarray
    bandwidth: np.ndarray
    peak: np.ndarray
    response: np.ndarray

    @property
    def centres(self) -> np.ndarray:
        """Hz of the band-pass filters, rising: what is compared with scales."""
        return self.centre[self.kind == "band"]

    def count(self, kind: str) -> int:
        """How many filters are of a kind."""
        return int((self.kind == kind).sum())


def first_layer(artifact: Artifact, weights: Mapping[str, np.ndarray] | None = None) -> np.ndarray:
    """(F, N) filters of a model's first layer on waveforms.

    Args:
        artifact: the model.
        weights: others to look into, say the model's before training.

    Raises:
        ValueError: the model has no such layer, or its weights cannot be looked into.

    >>> from auricle.artifact import load_artifact
    >>> first_layer(load_artifact("default"))
    Traceback (most recent call last):
    ValueError: ...auricle-esc50: takes log-mels, so no layer of it has filters on waveforms; expected ...
    """
    kind = artifact.inputs[0]["kind"]
    expected = "expected a trained raw-waveform network, see auricle models"
    if kind != "waveform":
        seen = {"logmel": "log-mels", "embedding": "embeddings"}.get(kind, kind)
        raise ValueError(
            f"{artifact.path}: takes {seen}, so no layer of it has filters on waveforms; {expected}"
        )
    if artifact.backend != "torch":
        raise ValueError(
            f"{artifact.path}: is a graph ({artifact.backend}), whose layers have no names to go by; "
            "give the folder of the model that it was exported from"
        )
    weight = (artifact.read_weights() if weights is None else weights).get(WEIGHT)
    if weight is None:
        raise ValueError(f"{artifact.path}: has no weight {WEIGHT}; {expected}")
    if weight.ndim != 3 or weight.shape[1] != 1:
        raise ValueError(
            f"{artifact.path}: {WEIGHT} has the shape {weight.shape}; expected (filters, 1, taps)"
        )
    return np.asarray(weight[:, 0], np.float64)


def measure_filters(taps_FN: np.ndarray, rate: int) -> Filters:
    """Centre frequency, bandwidth, gain and response of each filter, sorted by centre frequency.

    Raises:
        ValueError: the filters are not (F, N), not all finite, or all zero.

    >>> time = np.arange(80) / 16000
    >>> bank = measure_filters(np.hanning(80) * np.cos(2 * np.pi * np.array([[3000], [1000]]) * time), 16000)
    >>> bank.place.tolist(), bank.centre.round(-1).tolist()
    ([1, 0], [1000.0, 3000.0])
    """
    taps_FN = np.asarray(taps_FN, np.float64)
    if taps_FN.ndim != 2 or 0 in taps_FN.shape:
        raise ValueError(f"filters have the shape {taps_FN.shape}; expected (filters, taps)")
    if not np.isfinite(taps_FN).all():
        raise ValueError("a filter has a tap that is not a number: the training diverged")
    magnitude_FS = np.abs(np.fft.rfft(taps_FN, _length(taps_FN.shape[1])))
    greatest = magnitude_FS.max(axis=1)
    if not greatest.any():
        raise ValueError("every filter is zero: there is nothing to draw")
    dead = greatest <= DEAD * greatest.max()
    at = magnitude_FS.argmax(axis=1)
    last = magnitude_FS.shape[1] - 1
    kind = np.select([dead, at == 0, at == last], ["dead", "low", "high"], "band")
    safe = np.where(dead, 1.0, greatest)
    # Parseval: the power from 0 Hz to half the rate is half the rate times the energy of the taps.
    bandwidth = 0.5 * rate * (taps_FN**2).sum(axis=1) / safe**2
    with np.errstate(divide="ignore"):
        peak = 20 * np.log10(greatest)
    centre = np.where(dead, np.nan, at * (0.5 * rate / last))
    order = np.argsort(centre, kind="stable")  # NaN to the end
    response = np.where(dead[:, None], 0.0, magnitude_FS / safe[:, None])
    return Filters(
        rate=rate,
        place=order,
        kind=kind[order],
        taps=taps_FN[order],
        centre=centre[order],
        bandwidth=np.where(dead, np.nan, bandwidth)[order],
        peak=peak[order],
        response=response[order],
    )


def _length(taps: int) -> int:
    """Of the zero-padded transform: at least four bins to the narrowest lobe, of long filters too."""
    return 2 * max(BINS, 1 << (4 * taps - 1).bit_length())


def fit_scale(centres: np.ndarray, scale: str) -> tuple[float, float, float]:
    """The part of a scale that filters lie best on: rank = start + slope * place on the scale.

    The ranks 0, 1, 2, ... are fitted by least squares, so every scale is judged in the same unit and none by
    its own.

    Args:
        centres: (F,) Hz, rising.
        scale: a key of SCALES.

    Returns:
        start, slope, and the distance: root mean square of what is left, in ranks. NaN where there are fewer
        than three filters, or all at one frequency.

    >>> fit_scale(np.array([1000.0, 2000.0, 3000.0, 4000.0]), "linear")[2]
    0.0
    """
    place, rank = SCALES[scale](np.asarray(centres, np.float64)), np.arange(len(centres), dtype=np.float64)
    if len(place) < 3 or np.ptp(place) < 1e-9:
        return float("nan"), float("nan"), float("nan")
    offset, middle = place - place.mean(), rank.mean()
    slope = float(offset @ (rank - middle) / (offset @ offset))
    start = float(middle - slope * place.mean())
    left = float(np.sqrt(np.mean((rank - start - slope * place) ** 2)))
    return start, slope, round(left, 9)


def scale_distances(centres: np.ndarray) -> dict[str, float]:
    """How far filters lie from each scale: scale -> root mean square distance in ranks, see `fit_scale`.

    >>> distances = scale_distances(np.array([1000.0, 2000.0, 3000.0, 4000.0]))
    >>> min(distances, key=distances.get)
    'linear'
    """
    return {scale: fit_scale(centres, scale)[2] for scale in SCALES}


@lru_cache(maxsize=8)
def random_banks(filters: int, taps: int, rate: int, draws: int = DRAWS) -> dict[str, np.ndarray]:
    """What untrained filters give: many banks of independent normal taps, always the same ones.

    Args:
        filters: band-pass filters in a bank.
        taps: of each filter.
        rate: samples a second.
        draws: how many banks.

    Returns:
        Each scale's distances, (draws,), rising; and "bandwidth", (draws,), the median of each bank in Hz.

    >>> random = random_banks(16, 80, 16000)
    >>> bool(np.median(random["linear"]) < np.median(random["mel"]))  # random peaks lie anywhere in Hz
    True
    """
    found: dict[str, list[float]] = {name: [] for name in (*SCALES, "bandwidth")}
    generator = np.random.default_rng(0)
    for _ in range(draws):
        # Some come out without a centre: more are drawn, and the first so many that have one are kept.
        bank = measure_filters(generator.standard_normal((2 * filters + 8, taps)), rate)
        kept = (bank.kind == "band") & (
            np.cumsum(bank.kind[bank.place.argsort()] == "band")[bank.place] <= filters
        )
        for scale, distance in scale_distances(bank.centre[kept]).items():
            found[scale].append(distance)
        found["bandwidth"].append(float(np.median(bank.bandwidth)))
    return {name: np.sort(values) for name, values in found.items()}


def summarise(filters: Filters, draws: int = DRAWS, first: Filters | None = None) -> dict[str, Any]:
    """Which scale the filters are nearest to, beside what untrained filters give.

    Args:
        filters: as they were learned.
        draws: banks of random filters to compare with.
        first: the same as they were before training, where that is known.

    Returns:
        `filters`, `taps`, `rate`, `kinds` (kind -> count); `nearest`, a scale, None with fewer than three
        band-pass filters; `scales`: scale -> `distance` in ranks, `before` training (None where that is not
        known), and of banks of random filters as many (that are band-pass) their `random_median`,
        `random_low`, `random_high` (5 and 95%) and `as_near`, the share of them that is at least as near;
        `bandwidth`, `bandwidth_before` and `random_bandwidth`, medians in Hz.

    >>> time = np.arange(80) / 16000
    >>> bank = np.hanning(80) * np.cos(2 * np.pi * np.arange(500, 7500, 500)[:, None] * time)
    >>> summarise(measure_filters(bank, 16000))["nearest"]
    'linear'
    """
    centres, (count, taps) = filters.centres, filters.taps.shape
    distances = scale_distances(centres)
    before = dict.fromkeys(SCALES, np.nan) if first is None else scale_distances(first.centres)
    known = not np.isnan(distances["mel"])
    random = random_banks(max(len(centres), 1), taps, filters.rate, draws)
    scales: dict[str, dict[str, float | None]] = {}
    for scale, distance in distances.items():
        drawn = random[scale][~np.isnan(random[scale])]
        low, median, high = np.percentile(drawn, (5, 50, 95)) if known and len(drawn) else (np.nan,) * 3
        row = {
            "distance": distance,
            "before": before[scale],
            "random_median": median,
            "random_low": low,
            "random_high": high,
        }
        row["as_near"] = float(np.mean(drawn <= distance)) if known and len(drawn) else np.nan
        scales[scale] = {name: None if np.isnan(value) else float(value) for name, value in row.items()}
    return {
        "filters": count,
        "taps": taps,
        "rate": filters.rate,
        "kinds": {kind: filters.count(kind) for kind in KINDS},
        "nearest": min(distances, key=distances.__getitem__) if known else None,
        "scales": scales,
        "bandwidth": float(np.nanmedian(filters.bandwidth)),
        "bandwidth_before": None if first is None else float(np.nanmedian(first.bandwidth)),
        "random_bandwidth": float(np.median(random["bandwidth"])),
    }


SCALE_HEADS = (
    "scale",
    "distance",
    "before training",
    "random median",
    "random 5%",
    "random 95%",
    "random as near",
)


def scale_cells(summary: dict[str, Any]) -> list[list[str]]:
    """The scales of `summarise` as text, the nearest first, in the order of SCALE_HEADS; distances in ranks.

    >>> noise = np.random.default_rng(0).standard_normal((16, 80))
    >>> scale_cells(summarise(measure_filters(noise, 16000)))[0][0]
    'linear'
    """
    ranked = sorted(summary["scales"].items(), key=lambda pair: pair[1]["distance"] or 0.0)
    return [
        [
            scale,
            *(
                "-" if row[name] is None else f"{row[name]:.2f}"
                for name in ("distance", "before", "random_median", "random_low", "random_high")
            ),
            "-" if row["as_near"] is None else f"{row['as_near']:.1%}",
        ]
        for scale, row in ranked
    ]


def in_words(summary: dict[str, Any]) -> str:
    """The finding as a sentence or two.

    >>> noise = np.random.default_rng(0).standard_normal((16, 80))
    >>> in_words(summarise(measure_filters(noise, 16000))).partition(":")[0]
    'Nearest to the linear scale'
    """
    nearest, kinds = summary["nearest"], summary["kinds"]
    left = [
        f"{kinds[kind]} {name}"
        for kind, name in (
            ("low", "greatest at 0 Hz"),
            ("high", "greatest at half the rate"),
            ("dead", "dead"),
        )
        if kinds[kind]
    ]
    apart = f" Left out: {', '.join(left)}." if left else ""
    earlier = summary["bandwidth_before"]
    was = "" if earlier is None else f"before training {earlier:,.0f}, "
    of_random = f"{was}of random {summary['random_bandwidth']:,.0f}"
    wide = f" Median bandwidth {summary['bandwidth']:,.0f} Hz, {of_random}."
    if nearest is None:
        return f"{kinds['band']} band-pass filters: too few to compare with a scale.{wide}{apart}"
    rows = summary["scales"]
    others = _distances(rows, "distance", besides=nearest)
    known = rows[nearest]["before"] is not None
    before = f" Before training: {_distances(rows, 'before')}." if known else ""
    random = ", ".join(f"{rows[scale]['random_median']:.2f} from {scale}" for scale in ("mel", "linear"))
    share = f"{rows[nearest]['as_near']:.1%} of such banks are as near to {nearest}"
    return (
        f"Nearest to the {nearest} scale: {rows[nearest]['distance']:.2f} ranks of {kinds['band']} off "
        f"({others}).{before} Untrained random filters: {random}; {share}.{wide}{apart}"
    )


def _distances(rows: dict[str, Any], name: str, besides: str = "") -> str:
    ranked = sorted(rows.items(), key=lambda pair: pair[1][name])
    return ", ".join(f"{scale} {row[name]:.2f}" for scale, row in ranked if scale != besides)
