"""What joins the networks of a model into one ONNX graph: windows, resampling, gates, scores.

Each does in a graph what the package does in NumPy: `runners.composed`, `runners.fusion` (soxr), `gating`,
and the calibration. Shape letters: B windows of the model, N samples, T windows of an embedder, D values, K
labels, M labels of a member, L outputs and S inputs of a period of a resampler, R samples that it reaches.
"""

from collections.abc import Mapping
from math import gcd
from typing import Any

import numpy as np
import soxr

from auricle.gating import NEVER, Gating
from auricle.interop.onnx_graph import Assembly

# Output samples that soxr's HQ hears to either side: 100 at every pair of rates looked at, 1e-7 of a sample.
REACH = 128
FIRST = 8  # outputs that are computed one by one
MOST_WEIGHTS = 2**23  # of a resampler, 32 MB: rates that have little in common need one filter a sample
RESAMPLER = "resampler"  # the name of its convolution, whatever stands before and behind it
NOTHING = np.float32(-np.inf)


def cut_windows(graph: Assembly, waveform_BN: str, window: int, hop: int) -> tuple[str, str]:
    """(B, N) -> (B T, window), each hop, and the shape (2,) that starts one of an array (B, T, ...).

    A rest at the end is dropped.

    >>> graph = Assembly({"waveform": ("batch", 10)})
    >>> rows, both = cut_windows(graph, "waveform", 4, 2)
    >>> stack_windows(graph, rows, both, 4)
    'Reshape_2'
    """
    length = graph.node("Gather", graph.node("Shape", waveform_BN), np.int64(1), axis=0)
    last = graph.node("Sub", length, np.int64(window - 1))
    starts_T1 = graph.node("Unsqueeze", graph.node("Range", np.int64(0), last, np.int64(hop)), np.array([1]))
    places_TW = graph.node("Add", starts_T1, graph.node("Range", np.int64(0), np.int64(window), np.int64(1)))
    windows_BTW = graph.node("Gather", waveform_BN, places_TW, axis=1)
    both = graph.node("Shape", windows_BTW, start=0, end=2)
    return graph.node("Reshape", windows_BTW, np.array([-1, window], np.int64)), both


def stack_windows(graph: Assembly, embedding_RD: str, both: str, size: int) -> str:
    """(B T, D) -> (B, T, D).

    >>> graph = Assembly({"waveform": ("batch", 10)})
    >>> rows, both = cut_windows(graph, "waveform", 4, 2)  # which has an example of both
    """
    shape = graph.node("Concat", both, np.array([size], np.int64), axis=0)
    return graph.node("Reshape", embedding_RD, shape)


def resample(graph: Assembly, waveform_BN: str, samples: int, rates: tuple[int, int], needed: int) -> str:
    """(B, N) -> (B, needed): soxr's HQ as a convolution, of waveforms of one length; zeros after their end.

    Raises:
        ValueError: the two rates have too little in common.

    >>> graph = Assembly({"waveform": ("batch", 4800)})
    >>> resample(graph, "waveform", 4800, (48000, 16000), 1600)
    'Slice_3'
    """
    heard = len(soxr.resample(np.zeros(samples, np.float32), *rates, quality="HQ"))
    if rates[0] == rates[1]:
        resampled = waveform_BN
    else:
        kernel_LR, left, period = resampling_kernel(*rates)
        outputs, taps = kernel_LR.shape
        frames = -(-min(heard, needed) // outputs)
        right = max(0, (frames - 1) * period + taps - left - samples)
        signal_B1N = graph.node("Unsqueeze", waveform_BN, np.array([1]))
        padded = graph.node("Pad", signal_B1N, np.array([0, 0, left, 0, 0, right]), np.float32(0))
        turns = graph.node(
            "Conv", padded, kernel_LR[:, None], named=RESAMPLER, strides=[period], kernel_shape=[taps]
        )
        rows = graph.node("Transpose", turns, perm=[0, 2, 1])
        steady = graph.node("Reshape", rows, np.array([0, -1]))
        start_RF = _first_outputs(samples, rates)
        begin = graph.node("Slice", waveform_BN, np.array([0]), np.array([len(start_RF)]), np.array([1]))
        first = graph.node("MatMul", begin, start_RF, named=RESAMPLER)
        rest = graph.node("Slice", steady, np.array([FIRST]), np.array([2**31 - 1]), np.array([1]))
        resampled = graph.node("Concat", first, rest, axis=1)
    cut = graph.node("Slice", resampled, np.array([0]), np.array([min(heard, needed)]), np.array([1]))
    if heard >= needed:
        return cut
    return graph.node("Pad", cut, np.array([0, 0, 0, needed - heard]), np.float32(0))


def resampling_kernel(before: int, after: int) -> tuple[np.ndarray, int, int]:
    """The HQ of soxr as numbers, found by asking it for the answer to one sample at each place of a period.

    Args:
        before: Hz.
        after: Hz, fewer.

    Returns:
        (L, R) float32: outputs k L to k L + L are the products of its rows with the R samples from k S -
        left on; left; and S.

    Raises:
        ValueError: the rates have too little in common, so that the array would be very large.

    >>> kernel, left, period = resampling_kernel(48000, 16000)
    >>> kernel.shape, period, bool(np.allclose(kernel.sum(1), 1, atol=1e-3))
    ((1, 771), 3, True)
    """
    common = gcd(before, after)
    outputs, period = after // common, before // common
    left = -(-REACH * period // outputs)
    taps = period + 2 * left
    if outputs * taps > MOST_WEIGHTS:
        raise ValueError(
            f"resampling from {before} to {after} Hz inside one graph needs {outputs * taps / 1e6:.0f} M "
            f"numbers, more than {MOST_WEIGHTS / 1e6:.0f} M; train the model at a rate with more in common"
        )
    turns = left // period + 2  # of the period on either side of the one that is asked
    impulses = np.zeros(((2 * turns + 1) * period, period), np.float32)
    impulses[turns * period + np.arange(period), np.arange(period)] = 1
    # Zeros after it, so that the end, where soxr pads, is far.
    heard = soxr.resample(np.pad(impulses, ((0, turns * period), (0, 0))), before, after, quality="HQ")
    turn, place = np.divmod(np.arange(taps) - left, period)
    rows = (turns - turn) * outputs + np.arange(outputs)[:, None]
    return np.ascontiguousarray(heard[rows, place]), left, period


def _first_outputs(samples: int, rates: tuple[int, int]) -> np.ndarray:
    """(R, F): what the first F outputs are of the first R samples; soxr's first two are not as the others."""
    most = min(samples, -(-(REACH + FIRST) * rates[0] // rates[1]))
    silence = np.zeros((2 * rates[0] * REACH // rates[1], most), np.float32)
    heard = soxr.resample(np.concatenate([np.eye(most, dtype=np.float32), silence]), *rates, quality="HQ")
    return np.ascontiguousarray(heard[:FIRST].T)


def gates(graph: Assembly, gating: Gating, logits: Mapping[str, str]) -> str:
    """Members' logits, name -> (B, M) -> the family's (B, K): `auricle.gating.follow_gates` on all rows.

    A label that nobody has given yet is minus infinity in `given`.

    >>> from auricle.gating import plan_gates
    >>> members = {"roughly": ["animal", "engine"], "engines": ["truck", "boat"]}
    >>> labels, parents = ["truck", "boat", "animal", "engine"], [["engine"], ["engine"], [], []]
    >>> graph = Assembly({name: ("batch", len(own)) for name, own in members.items()})
    >>> plan = plan_gates(labels, parents, members, {"engine": "engines"})
    >>> name = gates(graph, plan, {member: member for member in members})
    >>> graph.model({"logits": (name, ("batch", 4))}).graph.output[0].name
    'logits'
    """
    labels = gating.num_labels
    rows_B1 = graph.node(
        "ReduceMax", logits[gating.root], np.array([1]), keepdims=1
    )  # any value for each row
    zero_B1 = graph.node("Mul", graph.node("Sub", rows_B1, rows_B1), np.float32(0))
    nothing_B1 = graph.node("Add", zero_B1, NOTHING)
    default_BK = graph.node("Add", zero_B1, np.full(labels, NEVER, np.float32))
    given_BK = graph.node("Add", zero_B1, np.full(labels, NOTHING, np.float32))
    entered_BK = graph.node("Add", zero_B1, np.zeros(labels, np.float32))

    def spread(values: str, columns: np.ndarray, taken: np.ndarray, rest_B1: str, width: int) -> str:
        """Columns `taken` of (B, width) -> columns `columns` of (B, K), the rest from (B, 1)."""
        places = np.full(labels, width, np.int64)
        places[columns] = taken
        return graph.node("Gather", graph.node("Concat", values, rest_B1, axis=1), places, axis=1)

    def said() -> str:
        silent = graph.node("IsInf", given_BK)
        return graph.node("Where", silent, default_BK, given_BK)

    widths = _widths(gating)
    for step in gating.steps:
        if len(step.heirs):
            own_B1 = graph.node("Gather", said(), np.array([step.column]), axis=1)
            inherited = spread(own_B1, step.heirs, np.zeros(len(step.heirs), np.int64), nothing_B1, 1)
            given_BK = graph.node("Max", given_BK, inherited)
        if not step.member and not len(step.children):
            continue
        inside_B1 = None
        if step.column >= 0:
            column_B1 = graph.node("Gather", entered_BK, np.array([step.column]), axis=1)
            inside_B1 = graph.node("Greater", column_B1, np.float32(0.5))
        if step.member:
            answers, width = logits[step.member], widths[step.member]
            answers = graph.node("Slice", answers, np.array([0]), np.array([width]), np.array([1]))
            if step.column < 0 and gating.unasked == "top":
                has = np.flatnonzero(gating.from_root >= 0)
                never_B1 = graph.node("Add", zero_B1, np.float32(NEVER))
                default_BK = spread(answers, has, gating.from_root[has], never_B1, width)
            told = spread(answers, step.given, step.taken, nothing_B1, width)
            if inside_B1 is not None:
                told = graph.node("Where", inside_B1, told, NOTHING)
            given_BK = graph.node("Max", given_BK, told)
        if len(step.children):
            likely = graph.node("Gather", given_BK, step.children, axis=1)
            best_B1 = graph.node("ArgMax", likely, axis=1, keepdims=1)
            first = graph.node("Equal", best_B1, np.arange(len(step.children)))
            some = graph.node("Greater", likely, NOTHING)
            chosen = graph.node(
                "Or", graph.node("Greater", likely, np.float32(0)), graph.node("And", first, some)
            )
            if inside_B1 is not None:
                chosen = graph.node("And", chosen, inside_B1)
            marks = graph.node("Cast", chosen, to=1)
            count = len(step.children)
            marks_BK = spread(marks, step.children, np.arange(count), zero_B1, count)
            entered_BK = graph.node("Max", entered_BK, marks_BK)
    return said()


def _widths(gating: Gating) -> dict[str, int]:
    """How many of a member's first columns are used."""
    widths: dict[str, int] = {}
    for step in gating.steps:
        if step.member:
            most = int(step.taken.max(initial=-1)) + 1
            widths[step.member] = max(widths.get(step.member, 1), most)
    widths[gating.root] = max(widths[gating.root], int(gating.from_root.max(initial=-1)) + 1)
    return widths


def scores(graph: Assembly, logits_BK: str, calibration: Mapping[str, Any] | None) -> str:
    """(B, K) -> (B, K) in [0, 1]: `auricle.probabilities.to_scores`, in float32.

    >>> scores(Assembly({"logits": ("batch", 3)}), "logits", None)
    'Sigmoid_1'
    """
    if calibration is None:
        return graph.node("Sigmoid", logits_BK)
    if calibration["kind"] == "affine":
        scale_K, offset_K = (np.array(calibration[name], np.float32) for name in ("scale", "offset"))
        return graph.node("Sigmoid", graph.node("Add", graph.node("Mul", logits_BK, scale_K), offset_K))
    if calibration["kind"] != "isotonic":
        raise ValueError(f"calibration is of the kind {calibration['kind']!r}; expected affine or isotonic")
    # How far a logit is along each line, times its slope, summed: no large numbers that cancel. The first
    # line goes on below, the last above; labels of fewer knots have lines of no length.
    knots = [(np.array(label["x"]), np.array(label["y"])) for label in calibration["labels"]]
    lines = max(len(x) for x, _ in knots) - 1
    begin, slope, least, most = (np.zeros((len(knots), lines)) for _ in range(4))
    for k, (x, y) in enumerate(knots):
        own = slice(len(x) - 1)
        begin[k, own], slope[k, own], most[k, own] = x[:-1], np.diff(y) / np.diff(x), np.diff(x)
        least[k, 0], most[k, len(x) - 2] = -np.inf, np.inf
    lower, upper, steep = (array.astype(np.float32) for array in (least, most, slope))
    logits_BK1 = graph.node("Unsqueeze", logits_BK, np.array([2]))
    along = graph.node("Max", graph.node("Sub", logits_BK1, begin.astype(np.float32)), lower)
    rises = graph.node("Mul", graph.node("Min", along, upper), steep)
    risen_BK = graph.node("ReduceSum", rises, np.array([2]), keepdims=0)
    first_K = np.array([y[0] for _, y in knots], np.float32)
    return graph.node("Sigmoid", graph.node("Add", risen_BK, first_K))
