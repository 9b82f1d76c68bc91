"""What is drawn into the pictures of a film: text rendered once, then only bytes moved, in YUV 4:2:0.

Planes are (H, W) for brightness and (H/2, W/2) for the two colours, uint8 in the range of television: black
16, white 235, no colour 128.
"""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from auricle.report.style import drawing
from auricle.report.timeline import Timeline

Planes = tuple[np.ndarray, np.ndarray, np.ndarray]

VEIL = 0.58  # how much of the film the panel hides
BAR = (255, 196, 61)  # amber: stands out on film and veil, also for colour-blind eyes
TRACK = (88, 92, 98)
BELOW = (140, 140, 140)  # of a bar that does not reach its label's threshold
WHITE = (255, 255, 255)
LEAST_ROW = 12  # pixels: below, letters cannot be read


def to_yuv(rgb: np.ndarray) -> np.ndarray:
    """RGB 0..255 (..., 3) -> YUV by BT.709, in the range of television.

    >>> to_yuv(np.array([[0, 0, 0], [255, 255, 255]])).tolist()
    [[16, 128, 128], [235, 128, 128]]
    """
    red, green, blue = np.moveaxis(np.asarray(rgb, np.float64) / 255, -1, 0)
    bright = 0.2126 * red + 0.7152 * green + 0.0722 * blue
    parts = [
        16 + 219 * bright,
        128 + 224 * (blue - bright) / 1.8556,
        128 + 224 * (red - bright) / 1.5748,
    ]
    return np.round(np.stack(parts, axis=-1)).astype(np.uint8)


def text_mask(text: str, height: int, most: int = 10_000) -> np.ndarray:
    """A line of text as (height, width) float in 0..1; cut with an ellipsis where it is wider than `most`.

    >>> text_mask("dog", 20).shape[0]
    20
    """
    while True:
        size = 0.72 * height  # pixels
        wide = int(size * (len(text) + 2)) + 8
        with drawing():
            figure = Figure(figsize=(wide / 100, height / 100), dpi=100)
            # Two pixels on the left: letters may lean out of their box.
            figure.text(2 / wide, 0.5, text, fontsize=size * 0.72, va="center_baseline", color="black")
            canvas = FigureCanvasAgg(figure)
            canvas.draw()
            pixels = np.asarray(canvas.buffer_rgba())[..., 0]
        mask = 1.0 - pixels.astype(np.float32) / 255
        filled = np.flatnonzero(mask.any(axis=0))
        width = int(filled[-1]) + 2 if len(filled) else 2
        if width <= most or len(text) < 2:
            return mask[:, : min(width, most)]
        keep = min(len(text) - 1, max(1, int(len(text) * most / width) - 1))
        text = text[:keep].rstrip("…") + "…"


class Scores:
    """The scores of a moment."""

    def __init__(self, timeline: Timeline):
        self._left, self._right = timeline.cells
        self._scores, self._blank = timeline.scores, np.zeros(len(timeline.labels))

    def at(self, seconds: float) -> np.ndarray:
        """(S,) scores, 0 where no window is; `seconds` of the recording."""
        # A time stamp is a rounded number: a hair before a window's start is its start.
        place = int(np.searchsorted(self._left, seconds + 1e-6, side="right")) - 1
        inside = place >= 0 and seconds < self._right[place] + 1e-6
        return self._scores[place] if inside else self._blank

    def over(self, seconds: np.ndarray) -> np.ndarray:
        """(S, N) of many moments."""
        place = np.searchsorted(self._left, seconds + 1e-6, side="right") - 1
        inside = (place >= 0) & (seconds < self._right[place] + 1e-6)
        return np.where(inside[:, None], self._scores[place], 0.0).T


class Numbers:
    """Scores as text of one width, rendered letter by letter once.

    Args:
        height: pixels.
        digits: after the point; two tell strong scores apart, three those of a model that is never sure.
    """

    def __init__(self, height: int, digits: int = 2):
        masks = {sign: text_mask(sign, height)[:, 1:-1] for sign in "0123456789."}  # less of the margins
        wide = {sign: mask.shape[1] for sign, mask in masks.items()}
        step = max(wide[sign] for sign in "0123456789")  # digits stand under each other
        self._lines: dict[str, np.ndarray] = {}
        self._masks, self._steps = masks, {sign: wide["."] if sign == "." else step for sign in masks}
        self._digits, self._height = digits, height
        self.width = (step * (digits + 1) + wide["."] + 1) // 2 * 2

    def draw(self, planes: Planes, score: float, y: int, x: int, colour: Any = WHITE) -> None:
        """Write a score into planes, its upper left corner at (y, x)."""
        paste(planes, self._line(f"{score:.{self._digits}f}"), y, x, colour)

    def _line(self, text: str) -> np.ndarray:
        """The mask of a whole number; there are at most a thousand and one."""
        if text not in self._lines:
            line = np.zeros((self._height, self.width), np.float32)
            x = 0
            for sign in text:
                mask = self._masks[sign][:, : self.width - x]
                line[:, x : x + mask.shape[1]] = mask
                x += self._steps[sign]
            self._lines[text] = line
        return self._lines[text]


def digits_of(timeline: Timeline) -> int:
    """After the point of a score in a film.

    >>> from auricle.report.timeline import Timeline
    >>> whole = {"path": "a.wav", "model": "m", "labels": ("dog",)}
    >>> digits_of(Timeline(**whole, starts=np.zeros(1), stops=np.ones(1), scores=np.array([[0.04]])))
    3
    """
    return 3 if timeline.scale < 0.1 else 2


class Panel:
    """Labels, bars and scores in the lower left of a film of a given size; a bar is full at a score of 1.

    The scores stand beside the bars where the film is wide enough for them. With thresholds (S,), each bar
    has a mark there, and is grey where it does not reach it.
    """

    def __init__(
        self,
        labels: Sequence[str],
        width: int,
        height: int,
        digits: int = 2,
        thresholds: np.ndarray | None = None,
    ):
        row = max(LEAST_ROW, min(40, round(height / 25))) // 2 * 2
        margin = max(4, round(0.02 * height)) // 2 * 2
        self.rows = min(len(labels), max(1, (height - 2 * margin - 8) // row))
        masks = [text_mask(label, row, most=int(0.3 * width)) for label in labels[: self.rows]]
        names = (max(mask.shape[1] for mask in masks) + 3) // 2 * 2
        self.bar = max(16, round(0.16 * width)) // 2 * 2
        pad = max(4, row // 4) // 2 * 2
        wide = min(pad + names + pad + self.bar + pad, width // 2 * 2)
        numbers = Numbers(row, digits)
        self._numbers = numbers if min(margin, width) + wide + numbers.width + pad <= width else None
        wide += numbers.width + pad if self._numbers else 0
        tall = min(self.rows * row + 2 * pad, height // 2 * 2)
        self.x, self.y = min(margin, width - wide) // 2 * 2, max(0, height - margin - tall) // 2 * 2
        ink = np.zeros((tall, wide), np.float32)
        track = np.zeros((tall, wide), np.float32)
        self._bars: list[tuple[slice, int]] = []
        for k, mask in enumerate(masks):
            top = pad + k * row
            if top + row > tall:
                break
            end = pad + names
            ink[top : top + row, end - mask.shape[1] : end] = mask
            thick = slice(top + (row // 4) // 2 * 2, top + row - (row // 4) // 2 * 2)
            begin = end + pad
            track[thick, begin : begin + self.bar] = 1
            self._bars.append((thick, begin))
        keep = (1 - VEIL) * (1 - ink) * (1 - 0.6 * track)
        colours = to_yuv(np.array([(0, 0, 0), WHITE, TRACK, BAR, BELOW]))
        self._colour, self._grey, self._white = colours[3], colours[4], colours[1]
        self._thresholds = None if thresholds is None else np.asarray(thresholds, float).tolist()
        self._blend: list[tuple[np.ndarray, np.ndarray]] = []
        for plane in range(3):
            black, white, grey = (float(colours[n][plane]) for n in range(3))
            paint = white * ink + (1 - ink) * (grey * track + black * (1 - track))
            weight, add = keep, paint * (1 - keep)
            if plane:
                weight, add = (_halved(array) for array in (weight, add))
            self._blend.append(((weight * 256).astype(np.uint16), (add * 256).astype(np.uint16)))
        self.shape = (tall, wide)
        self._places = [(pad + k * row, pad + names + pad + self.bar + pad) for k in range(len(self._bars))]

    def draw(self, planes: Planes, scores: np.ndarray) -> None:
        """Draw into the planes of a picture; `scores` (S,) in 0..1 are the lengths of the bars too."""
        tall, wide = self.shape
        for n, (plane, (weight, add)) in enumerate(zip(planes, self._blend, strict=True)):
            half = 2 if n else 1
            y, x = self.y // half, self.x // half
            part = plane[y : y + tall // half, x : x + wide // half]
            part[:] = (part * weight + add) >> 8
            for k, ((thick, begin), share) in enumerate(zip(self._bars, scores.tolist(), strict=False)):
                long = round(self.bar * min(1.0, share))
                rows = slice(thick.start // half, thick.stop // half)
                reached = self._thresholds is None or share >= self._thresholds[k]
                part[rows, begin // half : (begin + long) // half] = (
                    self._colour[n] if reached else self._grey[n]
                )
                if self._thresholds is not None and self._thresholds[k] <= 1:  # else it is never reached
                    at = begin + min(self.bar - 2, round(self.bar * self._thresholds[k]) // 2 * 2)
                    tall_mark = slice((thick.start - 2) // half, (thick.stop + 2) // half)
                    part[tall_mark, at // half : (at + 2) // half] = self._white[n]
        if self._numbers is not None:
            for (y, x), score in zip(self._places, scores.tolist(), strict=False):
                self._numbers.draw(planes, score, self.y + y, self.x + x)

    def lit(self, brightness: np.ndarray) -> np.ndarray:
        """How long each bar is in a picture, as a share: what a test, or a curious eye, reads back."""
        found = []
        for thick, begin in self._bars:
            middle = self.y + (thick.start + thick.stop) // 2
            line = brightness[middle, self.x + begin : self.x + begin + self.bar].astype(int)
            found.append(np.mean(np.abs(line - int(self._colour[0])) < 24))
        return np.array(found)


def _halved(array: np.ndarray) -> np.ndarray:
    tall, wide = array.shape
    return array.reshape(tall // 2, 2, wide // 2, 2).mean(axis=(1, 3))


def paste(planes: Planes, mask: np.ndarray, y: int, x: int, colour: Any = WHITE) -> None:
    """Draw a text's mask into planes; what lies outside is left out.

    >>> grey = np.full((2, 2), 128, np.uint8)
    >>> blank = (np.full((4, 4), 16, np.uint8), grey, grey.copy())
    >>> paste(blank, np.ones((2, 2)), 0, 2)
    >>> blank[0][0].tolist()
    [16, 16, 235, 235]
    """
    bright = planes[0]
    top, left = max(0, y), max(0, x)
    bottom, right = min(bright.shape[0], y + mask.shape[0]), min(bright.shape[1], x + mask.shape[1])
    if top >= bottom or left >= right:
        return
    part = bright[top:bottom, left:right]
    cut = mask[top - y : bottom - y, left - x : right - x]
    part[:] = (part + cut * (_brightness(colour) - part)).astype(np.uint8)


@functools.cache
def _brightness(colour: tuple[int, int, int]) -> np.float32:
    return np.float32(to_yuv(np.array(colour))[0])
