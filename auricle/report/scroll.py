"""Pictures for a recording that has none: its spectrogram and rows of scores, which pass a cursor.

A column of the spectrogram is a pixel wide: 100 a second. A short recording fills the width and stands still:
there the cursor moves.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from auricle.report.overlay import BAR, Numbers, Planes, Scores, digits_of, paste, text_mask, to_yuv
from auricle.report.timeline import CONFIG, Spectrogram, Timeline, bands_of, clock, frame_stream, score_text

WIDTH, HEIGHT, RATE = 1280, 720, 25  # pixels, pixels, pictures a second
LEFT, WIDE = 304, 976  # of the part that moves
SPEED = CONFIG.rate // CONFIG.hop  # pixels a second; a multiple of 2 * RATE keeps colours in place
CURSOR = WIDE // 2
STILL = 12.0  # seconds: a recording up to here is seen whole
TOP, BAND = 44, 5  # first line of the spectrogram, lines a band
ROWS_TOP, ROWS_TALL = 376, 312
INK, PAPER, FAINT, LIT = (236, 236, 236), (18, 20, 23), (35, 38, 42), (110, 193, 255)


class Scroll:
    """Picture after picture of a recording, each a pure function of its number."""

    def __init__(self, path: str | Path, timeline: Timeline, picture: Spectrogram):
        self.start, self.seconds = picture.start, picture.end - picture.start
        self.count = max(1, int(np.ceil(self.seconds * RATE - 1e-6)))
        # Pixels a second: of a short recording so many that it is as wide as the picture.
        self._still_view = self.seconds <= STILL
        self._speed = WIDE / self.seconds if self._still_view else float(SPEED)
        self._scores, self._scale = Scores(timeline), timeline.scale
        self._above, self._mark = timeline.above, to_yuv(np.array(BAR))
        self._row = max(12, min(20, ROWS_TALL // len(timeline.labels))) // 2 * 2
        self.rows = min(len(timeline.labels), ROWS_TALL // self._row)
        self._low = float(np.log(CONFIG.log_offset))
        self._high = max(picture.loudest, 0.0)
        import matplotlib

        magma = matplotlib.colormaps["magma"](np.arange(256))[:, :3] * 255
        share = np.linspace(0, 1, 256)[:, None]
        self._heat = to_yuv(magma)
        self._blue = to_yuv(np.array(FAINT) * (1 - share) + np.array(LIT) * share)
        self._numbers = Numbers(self._row, digits_of(timeline))
        self._digits = {sign: text_mask(sign, 24) for sign in "0123456789:"}
        self._still = self._drawn_once(timeline, Path(path).name)
        self._frames = frame_stream(path, picture.start, picture.end, warn=lambda _: None)
        self._heard = np.empty((CONFIG.bands, 0), np.uint8)
        self._first = 0  # number of the first column that is kept
        self._more = True

    def pictures(self) -> Iterator[Planes]:
        """Planes of each picture, at number / RATE seconds; new arrays every time."""
        for number in range(self.count):
            yield self._picture(number)

    def _picture(self, number: int) -> Planes:
        planes: Planes = (self._still[0].copy(), self._still[1].copy(), self._still[2].copy())
        at = int(number * self._speed / RATE + 1e-6)  # the pixel under the cursor, counted from the start
        cursor = min(at, WIDE - 1) if self._still_view else CURSOR
        pixels = np.arange(at - cursor, at - cursor + WIDE)
        inside = (pixels >= 0) & (pixels < self.seconds * self._speed + 1e-6)
        moments = (pixels + 0.5) / self._speed
        # The centre of pixel p is at (p + 0.5) / 100 s, that of frame k at (k + 1.25) / 100 s.
        frames = np.floor(moments * SPEED - 0.75 + 1e-6).astype(int)
        heat = np.repeat(self._columns(frames, inside), BAND, axis=0)[::-1]
        now = self._scores.at(self.start + number / RATE)
        over = self._scores.over(self.start + moments)
        above = self._above(over.T).T[: self.rows] & inside
        scores = np.clip(over[: self.rows] / self._scale * 255, 0, 255).astype(np.uint8)
        rows = np.repeat(scores, self._row, axis=0)
        for plane, index, table, top in (
            (0, heat, self._heat, TOP),
            (0, rows, self._blue, ROWS_TOP),
            (1, heat[::2, ::2], self._heat, TOP // 2),
            (1, rows[::2, ::2], self._blue, ROWS_TOP // 2),
            (2, heat[::2, ::2], self._heat, TOP // 2),
            (2, rows[::2, ::2], self._blue, ROWS_TOP // 2),
        ):
            left = LEFT // (2 if plane else 1)
            seen = inside[:: 2 if plane else 1]
            part = planes[plane][top : top + len(index), left : left + index.shape[1]]
            np.copyto(part, table[index, plane], where=seen)
        self._underline(planes, above)
        under = ROWS_TOP + self.rows * self._row
        planes[0][ROWS_TOP + self._row - 1 : under : self._row, LEFT:] = self._still[0][0, 0]
        self._draw_time(planes, number, at, cursor)
        for k, score in enumerate(now[: self.rows].tolist()):
            self._numbers.draw(planes, score, ROWS_TOP + k * self._row, LEFT - 8 - self._numbers.width, INK)
        middle = max(LEFT + 1, LEFT + cursor)
        planes[0][TOP:under, middle - 1 : middle + 1] = 235
        for colour in planes[1:]:
            colour[TOP // 2 : under // 2, middle // 2 - 1 : middle // 2] = 128
        return planes

    def _underline(self, planes: Planes, above: np.ndarray) -> None:
        """A line under what reaches its label's threshold."""
        for k in np.flatnonzero(above.any(axis=1)).tolist():
            bottom = ROWS_TOP + (k + 1) * self._row
            for n, plane in enumerate(planes):
                half = 2 if n else 1
                line = plane[(bottom - 4) // half : bottom // half, LEFT // half :]
                line[:, above[k, ::half][: line.shape[1]]] = self._mark[n]

    def _columns(self, wanted: np.ndarray, inside: np.ndarray) -> np.ndarray:
        """(bands, WIDE) uint8 of the columns wanted; read on as far as they go, and forgotten behind."""
        while self._more and self._first + self._heard.shape[1] <= wanted[-1]:
            block = next(self._frames, None)
            if block is None:
                self._more = False
                break
            share = (block[1].T - self._low) / (self._high - self._low)
            new = np.clip(share * 255, 0, 255).astype(np.uint8)
            drop = max(0, int(wanted[0]) - self._first)
            self._heard = np.concatenate([self._heard[:, drop:], new], axis=1)
            self._first += min(drop, self._heard.shape[1] + drop - new.shape[1])
        last = max(0, self._heard.shape[1] - 1)
        if not self._heard.shape[1]:
            return np.zeros((CONFIG.bands, len(wanted)), np.uint8)
        return self._heard[:, np.clip(wanted - self._first, 0, last)]

    def _draw_time(self, planes: Planes, number: int, at: int, cursor: int) -> None:
        """The moment under the cursor, and a mark every second or two under the rows."""
        self._write(planes, clock(self.start + number / RATE), 12, LEFT + CURSOR)
        under = ROWS_TOP + self.rows * self._row
        first = self.start + (at - cursor) / self._speed
        each = 1 if self.seconds < 6 else 2
        for second in range(int(np.ceil(first / each)) * each, int(first + WIDE / self._speed) + 1, each):
            x = LEFT + round((second - first) * self._speed)
            if self.start - 1e-9 <= second <= self.start + self.seconds and LEFT + 20 < x < WIDTH - 20:
                planes[0][under : under + 5, x : x + 2] = 190
                self._write(planes, clock(second), under + 6, x)

    def _write(self, planes: Planes, digits: str, y: int, middle: int) -> None:
        masks = [self._digits[sign] for sign in digits]
        x = middle - sum(mask.shape[1] for mask in masks) // 2
        for mask in masks:
            paste(planes, mask, y, x, INK)
            x += mask.shape[1]

    def _drawn_once(self, timeline: Timeline, title: str) -> Planes:
        paper = to_yuv(np.array(PAPER))
        planes: Planes = (
            np.full((HEIGHT, WIDTH), paper[0], np.uint8),
            np.full((HEIGHT // 2, WIDTH // 2), paper[1], np.uint8),
            np.full((HEIGHT // 2, WIDTH // 2), paper[2], np.uint8),
        )
        paste(planes, text_mask(title, 24, most=LEFT + CURSOR - 80), 12, 12, INK)
        for hertz in (250, 1000, 2000, 4000, 7000):
            place = float(bands_of([hertz])[0])
            mask = text_mask(f"{hertz / 1000:g} kHz", 18)
            y = TOP + round((CONFIG.bands - place) * BAND) - 9
            paste(planes, mask, y, LEFT - 10 - mask.shape[1], (170, 170, 170))
        edge = LEFT - 8 - self._numbers.width - 8  # the score under the cursor stands between name and row
        for k, label in enumerate(timeline.labels[: self.rows]):
            mask = text_mask(label, self._row, most=edge - 8)
            paste(planes, mask, ROWS_TOP + k * self._row, edge - mask.shape[1], INK)
        said = [f"full colour: a score of {score_text(timeline.scale)}"] if timeline.scale < 1 else []
        said += ["underlined: from the label's threshold on"] if timeline.thresholds is not None else []
        if said:
            mask = text_mask("; ".join(said), 18, most=WIDTH - LEFT - CURSOR - 60)
            paste(planes, mask, 15, WIDTH - 12 - mask.shape[1], (170, 170, 170))
        return planes
