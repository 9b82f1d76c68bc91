"""Waveform and spectrogram of the page: what is drawn is what sounds, in pieces of any size."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from auricle.serve.pictures import (
    BANDS,
    PEAKS_A_SECOND,
    TILE,
    PeakWriter,
    Spectrum,
    SpectrumWriter,
    peaks,
    png,
    spectrum_config,
    tile,
)

RATE = 8000


def pieces(samples: np.ndarray, seed: int) -> list[np.ndarray]:
    cuts = np.sort(np.random.default_rng(seed).integers(0, len(samples), 12))
    return np.split(samples, cuts)


def nothing(size: int) -> None:
    assert size >= 0


def drawn(folder: Path, samples: np.ndarray, seed: int = 0) -> tuple[dict[str, int], Spectrum]:
    folder.mkdir(exist_ok=True)
    heights, spectrum = PeakWriter(folder, RATE, nothing), SpectrumWriter(folder, RATE, True, nothing)
    for piece in pieces(samples, seed):
        heights.add(piece)
        spectrum.add(piece)
    return heights.finish(), spectrum.finish()


def grey_of(picture: bytes) -> np.ndarray:
    """An 8-bit grey PNG without filters, read by hand."""
    assert picture[:8] == b"\x89PNG\r\n\x1a\n"
    place, found = 8, {}
    while place < len(picture):
        (size,) = struct.unpack(">I", picture[place : place + 4])
        kind, content = picture[place + 4 : place + 8], picture[place + 8 : place + 8 + size]
        assert struct.unpack(">I", picture[place + 8 + size : place + 12 + size])[0] == zlib.crc32(
            kind + content
        )
        found[kind], place = content, place + 12 + size
    width, height, *rest = struct.unpack(">IIBBBBB", found[b"IHDR"])
    assert rest == [8, 0, 0, 0, 0]
    lines = np.frombuffer(zlib.decompress(found[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not lines[:, 0].any()
    return lines[:, 1:]


@pytest.mark.parametrize("seconds", [0.001, 0.9, 20.7, 70.0])
def test_peaks_are_the_smallest_and_largest_sample_of_a_column(seconds: float, tmp_path: Path) -> None:
    samples = np.random.default_rng(1).normal(0, 0.2, max(1, round(seconds * RATE))).astype(np.float32)
    about, _ = drawn(tmp_path / "a", samples)
    assert (tmp_path / "a" / "peaks.0").stat().st_size == 2 * -(-len(samples) // (RATE // PEAKS_A_SECOND))
    for start, end, columns in ((0.0, seconds, 100), (seconds / 3, seconds / 2, 7), (0.0, 3 * seconds, 30)):
        found = peaks(tmp_path / "a", about, RATE, start, end, columns)
        width = (end - start) / columns
        slack = max(width, 8.0 ** (about["levels"] - 1) / PEAKS_A_SECOND)  # columns are made of whole ones
        for column in range(columns):
            low, high = start + width * column, start + width * (column + 1)
            inside = samples[int(low * RATE + 0.5) : int(high * RATE - 0.5) + 1].clip(-1, 1)
            around = samples[max(0, int((low - slack) * RATE)) : int((high + slack) * RATE) + 1].clip(-1, 1)
            if not len(around):
                assert found[column].tolist() == [0, 0]
            elif len(inside) > 2 and high * RATE < len(samples):
                assert found[column, 0] <= np.rint(inside.min() * 127) and found[column, 0] >= np.rint(
                    around.min() * 127
                )
                assert found[column, 1] >= np.rint(inside.max() * 127) and found[column, 1] <= np.rint(
                    around.max() * 127
                )


def test_beyond_the_end_there_is_nothing(tmp_path: Path) -> None:
    about, spectrum = drawn(tmp_path, np.ones(RATE, np.float32))
    assert not peaks(tmp_path, about, RATE, 1.5, 9.0, 40).any()
    assert peaks(tmp_path, about, RATE, 0.0, 1.0, 4).tolist() == [[127, 127]] * 4
    assert tile(tmp_path, spectrum, 0, 1) is None
    assert tile(tmp_path, spectrum, 9, 0) is None


def test_pictures_do_not_depend_on_how_the_sound_was_cut(tmp_path: Path) -> None:
    samples = np.random.default_rng(2).normal(0, 0.2, 101_333).astype(np.float32)
    first, second = (drawn(tmp_path / str(seed), samples, seed) for seed in (1, 2))
    assert first == second
    for path in sorted((tmp_path / "1").iterdir()):
        assert path.read_bytes() == (tmp_path / "2" / path.name).read_bytes(), path.name


def test_a_column_stands_for_its_hundredth_of_a_second_and_a_row_for_its_band(tmp_path: Path) -> None:
    seconds, config = 12.0, spectrum_config(RATE, True)
    time = np.arange(round(seconds * RATE)) / RATE
    samples = np.where((time >= 4) & (time < 5), np.sin(2 * np.pi * 1000 * time), 0).astype(np.float32)
    _, spectrum = drawn(tmp_path, samples)
    assert spectrum.column == 0.01 and spectrum.levels == 4  # 1200 columns: 5 tiles, 3, 2, 1
    grey = np.concatenate([grey_of(tile(tmp_path, spectrum, 0, n) or b"") for n in range(5)], axis=1)
    assert grey.shape == (BANDS, 1200)
    loud = np.flatnonzero(grey.max(0) > 200)
    assert (loud[0], loud[-1]) == (399, 500)  # a window reaches a little further
    mel = np.log1p(np.array([config.low, 1000, config.high]) / 700)
    row = round((mel[2] - mel[1]) / (mel[2] - mel[0]) * (BANDS + 1) - 1)  # row 0 is the highest band
    assert abs(int(grey[:, 450].argmax()) - row) <= 1


def test_each_level_is_half_as_fine_and_the_last_is_one_tile(tmp_path: Path) -> None:
    samples = np.random.default_rng(3).normal(0, 0.1, 100 * RATE).astype(np.float32)
    samples[: 50 * RATE] *= 0.1
    _, spectrum = drawn(tmp_path, samples)
    assert spectrum.levels == 7  # 10,000 columns
    levels = []
    for level in range(spectrum.levels):
        tiles = []
        while (picture := tile(tmp_path, spectrum, level, len(tiles))) is not None:
            tiles.append(grey_of(picture))
        assert all(one.shape == (BANDS, TILE) for one in tiles[:-1]) and tiles[-1].shape[1] <= TILE
        levels.append(np.concatenate(tiles, axis=1))
    assert [level.shape[1] for level in levels] == [10_000, 5000, 2500, 1250, 625, 313, 157]
    for fine, coarse in zip(levels, levels[1:], strict=False):
        middle = coarse.shape[1] // 2
        for part, whole in (
            (coarse[:, : middle - 1], fine[:, : 2 * middle - 2]),
            (coarse[:, middle + 1 :], fine[:, 2 * middle + 2 :]),
        ):
            assert (
                abs(float(part.mean()) - float(whole.mean())) < 12
            )  # a mean of powers is above that of decibels
    assert levels[-1][:, :70].mean() + 30 < levels[-1][:, 90:].mean()


def test_silence_is_black_and_a_single_sample_has_a_picture(tmp_path: Path) -> None:
    _, spectrum = drawn(tmp_path / "silence", np.zeros(3 * RATE, np.float32))
    assert not grey_of(tile(tmp_path / "silence", spectrum, 0, 0) or b"").any()
    about, spectrum = drawn(tmp_path / "one", np.ones(1, np.float32))
    assert grey_of(tile(tmp_path / "one", spectrum, 0, 0) or b"").shape == (BANDS, 1)
    assert peaks(tmp_path / "one", about, RATE, 0, 1, 2).tolist() == [[127, 127], [0, 0]]


@pytest.mark.parametrize("rate", [4000, 8000, 16_000, 22_050, 32_000, 44_100, 48_000])
def test_there_is_a_picture_at_every_rate(rate: int) -> None:
    for fine in (False, True):
        config = spectrum_config(rate, fine)
        assert config.bands == BANDS and config.high == rate / 2


def test_what_is_written_was_asked_for(tmp_path: Path) -> None:
    asked: list[int] = []
    heights, spectrum = (
        PeakWriter(tmp_path, RATE, asked.append),
        SpectrumWriter(tmp_path, RATE, False, asked.append),
    )
    samples = np.zeros(200 * RATE, np.float32)
    for piece in pieces(samples, 0):
        heights.add(piece)
        spectrum.add(piece)
    heights.finish(), spectrum.finish()
    assert sum(asked) == sum(path.stat().st_size for path in tmp_path.iterdir())


def test_the_grey_of_a_png_is_the_grey_that_was_given() -> None:
    grey = np.random.default_rng(0).integers(0, 256, (96, 200), np.uint8)
    assert (grey_of(png(grey)) == grey).all()
