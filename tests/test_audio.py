"""Reading recordings: what is right stays exact, what is wrong has one decided outcome, never a traceback."""

import io
import os
import socket
import struct
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from media import COMPRESSED, WAV_SUBTYPES, Pipe, tone, write_media, write_pcm

from auricle.audio import (
    MEDIA_SUFFIXES,
    AudioError,
    AudioWarning,
    RawFormat,
    blocks,
    probe,
    read,
)
from auricle.audio.types import PCM_DTYPES

RATE = 44_100
SOUNDFILE_KINDS = [
    (".flac", "PCM_16"),
    (".flac", "PCM_24"),
    (".aiff", "PCM_24"),
    (".au", "PCM_16"),
    (".caf", "PCM_16"),
]
LOSSY_ERROR = 0.025  # RMS that codecs add to a tone of level 0.5 with noise of 0.01


def error_line(source: object, **options: object) -> str:
    """The text of the AudioError that reading gives: one line, naming the file, saying what to do."""
    with pytest.raises(AudioError) as caught:
        read(source, None, warn=lambda line: None, **options)
    line = str(caught.value)
    assert "\n" not in line and ": " in line and "; " in line, line
    return line


def heard(source: object, rate: int | None = None, **options: object) -> tuple[np.ndarray, list[str]]:
    """Samples and warnings."""
    told: list[str] = []
    samples = read(source, rate, warn=told.append, **options)
    assert samples.dtype == np.float32 and samples.ndim == 1 and np.isfinite(samples).all()
    assert all("\n" not in line for line in told)
    return samples, told


def hertz_of(samples: np.ndarray, rate: int) -> float:
    """The strongest frequency."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples)), 1 << 19))
    return float(np.argmax(spectrum)) * rate / (1 << 19)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("media")


@pytest.fixture(scope="module")
def long_tone() -> np.ndarray:
    return tone(RATE, 6.0, channels=2)


@pytest.fixture(scope="module")
def long_files(folder, long_tone) -> dict[str, Path]:
    """Six seconds in every kind."""
    files = {"wav": write_pcm(folder / "long.wav", long_tone, RATE)}
    files["ogg"] = write_pcm(folder / "long.ogg", long_tone, RATE, "VORBIS")
    files["flac"] = write_pcm(folder / "long.flac", long_tone, RATE)
    files["aiff"] = write_pcm(folder / "long.aiff", long_tone, RATE)
    for suffix in COMPRESSED:
        rate = 48_000 if COMPRESSED[suffix][0] == "libopus" else RATE
        video = 6.0 if suffix in (".mkv", ".mov", ".mp4") else 0.0
        content = long_tone if rate == RATE else tone(rate, 6.0, channels=2)
        files[suffix[1:]] = write_media(folder / f"long{suffix}", content, rate, video_seconds=video)
    return files


# --- what is right


@pytest.mark.parametrize("subtype", WAV_SUBTYPES)
@pytest.mark.parametrize("channels", [1, 2, 3, 8])
def test_wav_of_every_sample_type_equals_soundfile(tmp_path, subtype, channels):
    samples = np.random.default_rng(1).uniform(-1, 1, (5_000, channels)).astype(np.float32)
    path = write_pcm(tmp_path / "a.wav", samples, 22_050, subtype)
    expected = soundfile.read(path, always_2d=True)[0].mean(axis=1)
    got, told = heard(path)
    assert told == []
    np.testing.assert_allclose(got, expected, atol=2e-7)


@pytest.mark.parametrize("dtype", PCM_DTYPES)
def test_raw_samples_of_every_type_have_full_scale_at_one(dtype):
    values = {"u": (0, 128, 192), "s": (-1, 0, 0.5), "f": (-1, 0, 0.5)}[dtype[0]]
    if dtype == "s24le":
        data = b"".join(int(v * 8388608).to_bytes(3, "little", signed=True) for v in values)
    elif dtype[0] == "s":
        bits = 8 * np.dtype(PCM_DTYPES[dtype]).itemsize
        data = np.array([int(v * 2 ** (bits - 1)) for v in values], PCM_DTYPES[dtype]).tobytes()
    else:
        data = np.array(values, PCM_DTYPES[dtype]).tobytes()
    got = read(io.BytesIO(data), None, raw=RawFormat(rate=8_000, dtype=dtype))
    np.testing.assert_array_equal(got, [-1, 0, 0.5])


@pytest.mark.parametrize(("suffix", "subtype"), SOUNDFILE_KINDS)
def test_other_lossless_files_equal_soundfile(tmp_path, suffix, subtype):
    samples = tone(48_000, 0.7, channels=2)
    path = write_pcm(tmp_path / f"a{suffix}", samples, 48_000, subtype)
    got, told = heard(path)
    assert told == []
    np.testing.assert_allclose(got, soundfile.read(path)[0].mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("kind", ["mp3", "m4a", "opus", "webm", "mka", "mkv", "mov", "mp4", "ogg"])
def test_compressed_sound_is_in_its_place(long_files, kind):
    rate = probe(long_files[kind]).rate
    got, told = heard(long_files[kind])
    expected = tone(rate, 6.0)[:, 0]
    assert told == []
    assert abs(len(got) - len(expected)) < 1_024
    inner = slice(2_000, len(expected) - 4_000)
    errors = {
        lag: np.std(np.roll(got, lag)[inner] - expected[inner]) for lag in (-1_024, -2, -1, 0, 1, 2, 1_024)
    }
    assert min(errors, key=errors.__getitem__) == 0 and errors[0] < LOSSY_ERROR


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 22_050, 32_000, 48_000, 96_000, 192_000])
@pytest.mark.parametrize("out_rate", [16_000, 44_100])
def test_a_sine_survives_resampling(tmp_path, rate, out_rate):
    path = write_pcm(tmp_path / "a.wav", tone(rate, 1.0), rate, "FLOAT")
    got = read(path, out_rate)
    assert len(got) == out_rate
    inner = got[out_rate // 10 : -out_rate // 10]
    assert hertz_of(inner, out_rate) == pytest.approx(440, abs=0.5)
    assert 20 * np.log10(np.sqrt(2 * np.mean(inner**2)) / 0.5) == pytest.approx(0, abs=0.02)  # dB
    exact = 0.5 * np.sin(2 * np.pi * 440 * np.arange(out_rate) / out_rate)
    assert (
        np.abs((got - exact)[out_rate // 10 : -out_rate // 10]).max() < 0.06
    )  # the noise; half a sample more


def test_resampling_keeps_each_sample_in_its_instant(tmp_path):
    samples = 0.5 * np.sin(2 * np.pi * 997 * np.arange(44_100) / 44_100)
    path = write_pcm(tmp_path / "a.wav", samples, 44_100, "DOUBLE")
    expected = 0.5 * np.sin(2 * np.pi * 997 * np.arange(16_000) / 16_000)
    np.testing.assert_allclose(read(path, 16_000)[500:-500], expected[500:-500], atol=1e-5)


def test_downmix_is_the_mean_of_the_channels(tmp_path):
    samples = np.random.default_rng(2).uniform(-0.5, 0.5, (44_100, 6)).astype(np.float32)
    wav = write_pcm(tmp_path / "a.wav", samples, 44_100, "FLOAT")
    np.testing.assert_allclose(read(wav, None), samples.mean(axis=1), atol=1e-7)
    flac = write_pcm(tmp_path / "a.flac", samples, 44_100, "PCM_24")
    np.testing.assert_allclose(read(flac, None), samples.mean(axis=1), atol=1e-6)
    # Six planes of float by way of a lossy codec: only the sound in all channels survives in the mean.
    surround = tone(48_000, 1.0, channels=6)
    surround[:, 1:] = 0
    ac3 = write_media(tmp_path / "a.mkv", surround, 48_000, "ac3", bit_rate=448_000)
    assert np.abs(read(ac3, None)[5_000:40_000]).max() == pytest.approx(0.51 / 6, abs=0.01)


@pytest.mark.parametrize("channels", [1, 2, 6, 8])
@pytest.mark.parametrize("suffix", [".m4a", ".opus"])
def test_compressed_sound_of_many_channels(tmp_path, suffix, channels):
    path = write_media(
        tmp_path / f"a{suffix}", tone(48_000, 0.5, channels=channels), 48_000, bit_rate=64_000 * channels
    )
    assert probe(path).channels == channels
    assert hertz_of(read(path, None), 48_000) == pytest.approx(440, abs=3)


@pytest.mark.parametrize("channels", [7, 8, 9, 16, 40])
def test_planes_of_more_channels_than_a_frame_has_room_for(tmp_path, channels):
    """From eight planes on, PyAV's own list of planes runs past its end."""
    samples = np.random.default_rng(3).uniform(-0.5, 0.5, (20_000, channels))
    path = write_pcm(tmp_path / "a.ogg", samples, 44_100, "VORBIS")
    expected = soundfile.read(path)[0].mean(axis=1)
    np.testing.assert_allclose(read(path, None), expected, atol=1e-5)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 48_000])
def test_mp3_of_every_family_of_rates(tmp_path, rate):
    path = write_media(
        tmp_path / "a.mp3", tone(rate, 1.0), rate, bit_rate=32_000 if rate < 32_000 else 128_000
    )
    got, told = heard(path, 16_000)
    assert told == [] and len(got) == 16_000
    assert hertz_of(got, 16_000) == pytest.approx(440, abs=1)


# --- blocks and ranges


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "mp4"])
@pytest.mark.parametrize("rate", [None, 16_000])
def test_blocks_are_the_whole_cut_at_exact_places(long_files, kind, rate):
    whole = read(long_files[kind], rate)
    got = list(blocks(long_files[kind], rate, block_seconds=0.7))
    size = round(0.7 * (rate or RATE))
    assert [block.start for block in got] == list(range(0, len(whole), size))
    assert {len(block.samples) for block in got[:-1]} == {size}
    np.testing.assert_array_equal(np.concatenate([block.samples for block in got]), whole)


@pytest.mark.parametrize(
    "kind", ["wav", "flac", "aiff", "mp3", "m4a", "aac", "ogg", "opus", "webm", "mkv", "mka", "mov", "mp4"]
)
@pytest.mark.parametrize("rate", [None, 16_000, 22_051])
def test_a_range_is_a_slice_of_the_whole(long_files, kind, rate, monkeypatch):
    monkeypatch.setattr("auricle.audio.media.SEEK_FROM_SECONDS", 2.0)
    whole = read(long_files[kind], rate)
    out_rate = rate or probe(long_files[kind]).rate
    # Without resampling the lossless ones are equal to the last bit, and so are the rest in practice.
    tolerance = 0 if rate is None and kind in ("wav", "flac", "aiff", "mka") else 1e-4
    for start, end in [(0, 0.3), (0.7, 1.9), (3.234, 4.5), (5.0001, None), (5.9, 99.0)]:
        part = read(long_files[kind], rate, start=start, end=end)
        expected = whole[round(start * out_rate) : None if end is None else round(end * out_rate)]
        assert len(part) == len(expected), (start, end)
        np.testing.assert_allclose(part, expected, atol=tolerance, rtol=0)
        first = next(blocks(long_files[kind], rate, start=start, end=end))
        assert first.start == round(start * out_rate)


@pytest.mark.parametrize("count", [1, 2, 3, 440, 441, 442, 70_001])
@pytest.mark.parametrize(
    ("rate", "out_rate"), [(44_100, 16_000), (8_000, 44_100), (16_000, 16_000), (11_025, 11_024)]
)
def test_length_is_the_rounded_up_share(tmp_path, count, rate, out_rate):
    path = write_pcm(tmp_path / "a.wav", np.full((count, 1), 0.25), rate)
    got, told = heard(path, out_rate)
    assert told == []
    assert len(got) == -(-count * out_rate // rate)


def test_a_one_sample_file_is_one_sample(tmp_path):
    path = write_pcm(tmp_path / "one.wav", np.array([0.5]), 16_000)
    np.testing.assert_array_equal(read(path, None), [0.5])
    path = write_pcm(tmp_path / "one.flac", np.array([0.5]), 16_000)
    np.testing.assert_array_equal(read(path, None), [0.5])


def test_memory_is_flat_in_the_length(tmp_path):
    class Endless(io.RawIOBase):
        """An hour or ten of 16-bit silence, made as it is read."""

        def __init__(self, seconds):
            self.left = seconds * 32_000

        def read(self, size=-1):
            size = min(size, self.left)
            self.left -= size
            return bytes(size)

    def peak(seconds):
        tracemalloc.start()
        count = sum(len(b.samples) for b in blocks(Endless(seconds), 8_000, raw=RawFormat(rate=16_000)))
        top = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert count == seconds * 8_000
        return top

    assert peak(3_600) < 1.1 * peak(360) < 20e6


def test_several_threads_read_at_once(long_files):
    expected = read(long_files["mp3"], 16_000)
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(read(long_files["mp3"], 16_000))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 4
    for result in results:
        np.testing.assert_array_equal(result, expected)


# --- pipes


@pytest.mark.parametrize("kind", ["wav", "flac", "ogg", "mp3", "mkv", "webm", "m4a", "mp4", "aiff", "opus"])
@pytest.mark.parametrize("piece", [1_000_000, 999])
def test_a_pipe_gives_what_the_file_gives(long_files, kind, piece):
    got, told = heard(Pipe(long_files[kind].read_bytes(), piece), 16_000)
    expected = read(long_files[kind], 16_000)
    # FFmpeg does not cut an MP3's closing padding without seeking.
    assert len(expected) <= len(got) <= len(expected) + (1_152 if kind == "mp3" else 0)
    np.testing.assert_allclose(got[: len(expected) - 300], expected[:-300], atol=1e-6)
    assert [line.split(": ")[1] for line in told] == (
        ["an MP4 whose index is at its end needs seeking"] if kind in ("m4a", "mp4") else []
    )


def test_a_container_that_cannot_do_without_seeking_is_copied_to_disk_first(tmp_path):
    path = write_pcm(tmp_path / "a.caf", tone(RATE, 2.0), RATE)
    got, told = heard(Pipe(path.read_bytes()))
    assert told == ["<Pipe>: its container needs seeking: 0.2 MB were copied to a temporary file first"]
    np.testing.assert_array_equal(got, read(path, None))


def test_an_mp4_with_its_index_in_front_streams(tmp_path):
    path = write_media(
        tmp_path / "a.mp4", tone(RATE, 2.0), RATE, video_seconds=2, options={"movflags": "faststart"}
    )
    got, told = heard(Pipe(path.read_bytes()))
    assert told == []
    np.testing.assert_array_equal(got, read(path, None))


def test_a_range_of_a_pipe(long_files):
    for kind in ("wav", "mp3", "mkv"):
        got, _ = heard(Pipe(long_files[kind].read_bytes()), 16_000, start=3.5, end=4.0)
        np.testing.assert_allclose(got, read(long_files[kind], 16_000, start=3.5, end=4.0), atol=1e-4)


def test_standard_input(long_files):
    code = "from auricle.audio import read, RawFormat; import sys; "
    whole = code + "print(len(read('-', 16000)))"
    data = long_files["mp3"].read_bytes()
    done = subprocess.run([sys.executable, "-c", whole], input=data, capture_output=True, check=True)
    assert abs(int(done.stdout) - 96_000) < 500 and done.stderr == b""
    raw = code + "print(len(read('-', 16000, raw=RawFormat(rate=8000, channels=2))))"
    done = subprocess.run([sys.executable, "-c", raw], input=bytes(32_000), capture_output=True, check=True)
    assert int(done.stdout) == 16_000
    done = subprocess.run([sys.executable, "-c", whole], input=b"", capture_output=True)
    assert b"standard input: is empty" in done.stderr


def test_a_terminal_is_not_waited_for(monkeypatch):
    monkeypatch.setattr("sys.stdin", SimpleNamespace(isatty=lambda: True))
    assert error_line("-") == "standard input: is a terminal; pipe a recording into the command"


def test_a_named_pipe(tmp_path, long_files):
    fifo = tmp_path / "fifo.mp3"
    os.mkfifo(fifo)
    thread = threading.Thread(target=lambda: fifo.write_bytes(long_files["flac"].read_bytes()))
    thread.start()
    got = read(fifo, None)
    thread.join()
    np.testing.assert_array_equal(got, read(long_files["flac"], None))


def test_a_file_object_is_left_open_and_read_from_its_start(long_files):
    with long_files["flac"].open("rb") as file:
        file.seek(1000)
        got = read(file, None)
        assert not file.closed
        np.testing.assert_array_equal(read(file, None), got)
        assert probe(file).codec == "flac"
    np.testing.assert_array_equal(got, read(long_files["flac"], None))


# --- time stamps


def sound_starts(samples: np.ndarray, rate: int) -> float:
    return float(np.argmax(np.abs(samples) > 0.2)) / rate


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".mov"])
def test_sound_that_starts_after_the_picture_gets_silence_in_front(tmp_path, suffix):
    path = tmp_path / f"late{suffix}"
    write_media(path, tone(RATE, 2.0), RATE, video_seconds=3, audio_delay=0.75)
    got, told = heard(path)
    assert told == []
    assert sound_starts(got, RATE) == pytest.approx(0.75, abs=0.03)  # AAC smears its first frame
    assert not got[: int(0.7 * RATE)].any()
    assert sound_starts(read(path, None, start=0.5), RATE) == pytest.approx(0.25, abs=0.03)


@pytest.mark.parametrize("length", [0.5, 3.0])
def test_a_gap_in_the_time_stamps_is_silence(tmp_path, length):
    samples = tone(RATE, 12.0)
    path = write_media(tmp_path / "gap.mkv", samples, RATE, "flac", gap=(4.0, length))
    got, told = heard(path)
    assert len(told) == 1 and "1 gaps in its time stamps were filled with silence, the first at 4." in told[0]
    assert len(got) == pytest.approx((12 + length) * RATE, abs=50)
    hole = int(np.argmax(np.abs(np.convolve(np.abs(got), np.ones(2000), "valid")) == 0))
    assert hole / RATE == pytest.approx(4.0, abs=0.1)
    # Past the gap a range still goes by the container's clock (Matroska's has a grain of 1 ms).
    part = read(path, None, start=11.5, end=12.0)
    expected = got[round(11.5 * RATE) : 12 * RATE]
    best = max(np.dot(np.roll(part, shift)[100:-100], expected[100:-100]) for shift in range(-45, 46))
    assert best > 0.95 * np.dot(expected, expected)


def test_time_stamps_that_jump_back_do_not_tear_the_sound(tmp_path):
    path = write_media(tmp_path / "a.ts", tone(48_000, 2.0), 48_000, "mp2", bit_rate=128_000)
    path.write_bytes(path.read_bytes() * 2)  # a receiver that started anew
    got, told = heard(path)
    assert len(got) / 48_000 == pytest.approx(4.0, abs=0.06)
    assert len(told) == 1 and "its time stamps jump 1 times; joined, first at 2.0" in told[0]


def test_time_stamps_hours_ahead_are_no_gap(tmp_path):
    path = write_media(tmp_path / "ahead.mkv", tone(RATE, 2.0), RATE, "flac", gap=(1.0, 4_000))
    got, told = heard(path)
    assert len(got) == 2 * RATE
    assert "its time stamps jump 1 times; joined, first at 1.0" in told[0]


def test_small_wandering_of_time_stamps_is_no_gap(tmp_path):
    path = write_media(tmp_path / "jitter.mkv", tone(RATE, 2.0), RATE, "flac", gap=(1.0, 0.03))
    got, told = heard(path)
    assert told == [] and len(got) == 2 * RATE


# --- what is wrong with the file


def test_nan_and_infinity_become_zero_and_are_counted(tmp_path):
    samples = np.full((1_000, 2), 0.5, np.float32)
    samples[10, 0], samples[20, 1], samples[30] = np.nan, np.inf, -np.inf
    path = write_pcm(tmp_path / "nan.wav", samples, 16_000, "FLOAT")
    got, told = heard(path)
    assert told == [f"{path}: 4 samples are NaN or infinite; they were set to 0"]
    expected = np.full(1_000, 0.5)
    expected[[10, 20, 30]] = 0.25, 0.25, 0
    np.testing.assert_array_equal(got, expected)
    double = samples.astype(np.float64)
    double[40] = 1e300  # no float32 holds it
    path = write_pcm(tmp_path / "nan64.wav", double, 16_000, "DOUBLE")
    assert "6 samples" in heard(path)[1][0]
    path = write_pcm(tmp_path / "nan.caf", samples, 16_000, "FLOAT")
    assert "4 samples" in heard(path)[1][0]


def test_warnings_are_python_warnings_unless_taken(tmp_path):
    path = write_pcm(tmp_path / "nan.wav", np.full((100, 1), np.nan), 16_000, "FLOAT")
    with pytest.warns(AudioWarning, match="100 samples are NaN"):
        read(path, None)


@pytest.mark.parametrize("kind", ["wav", "flac", "aiff", "mp3", "mkv", "webm", "mka", "ogg", "opus"])
def test_a_truncated_file_is_read_to_where_it_ends_with_a_warning(tmp_path, long_files, kind):
    path = tmp_path / f"cut.{kind}"
    path.write_bytes(long_files[kind].read_bytes()[: long_files[kind].stat().st_size * 6 // 10])
    got, told = heard(path)
    rate = probe(path).rate
    whole = read(long_files[kind], None)
    assert 0.4 < len(got) / len(whole) < 0.65
    assert np.abs(got[: len(got) - 5_000] - whole[: len(got) - 5_000]).max() < 1e-4
    assert any(f"{len(got) / rate:.3f} s" in line for line in told), told


@pytest.mark.parametrize("kind", ["aac", "caf", "w64", "ts"])
def test_a_truncated_file_that_cannot_know_is_read_to_where_it_ends(tmp_path, kind):
    path = tmp_path / f"a.{kind}"
    samples = tone(48_000, 2.0)
    if kind in ("caf", "w64"):
        write_pcm(path, samples, 48_000)
    else:
        write_media(path, samples, 48_000, {"aac": "aac", "ts": "mp2"}[kind], bit_rate=128_000)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 6 // 10])
    got, told = heard(path)
    assert len(got) / 48_000 == pytest.approx(1.2, abs=0.1)
    assert all("damaged packets" in line for line in told)  # the one that was cut through


def test_an_mp4_cut_before_its_index_is_one_line(tmp_path, long_files):
    for kind in ("mp4", "m4a", "mov"):
        path = tmp_path / f"cut.{kind}"
        path.write_bytes(long_files[kind].read_bytes()[:50_000])
        assert "cut off before its index" in error_line(path)
        assert "cut off before its index" in error_line(Pipe(path.read_bytes()))


def test_an_mp4_cut_after_its_index_is_read_to_its_end(tmp_path):
    whole = write_media(tmp_path / "a.mp4", tone(RATE, 6.0), RATE, options={"movflags": "faststart"})
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    got, told = heard(cut)
    assert 0.4 < len(got) / (6 * RATE) < 0.65
    assert any("though its header says 6.0" in line for line in told)


@pytest.mark.parametrize("kind", ["flac", "mka", "mkv", "m4a", "mp4", "ogg", "opus", "mov"])
def test_damage_in_the_middle_is_silence_of_the_same_length(tmp_path, long_files, kind):
    data = bytearray(long_files[kind].read_bytes())
    middle = len(data) // 2
    data[middle : middle + 300] = bytes((index * 7 + 13) % 256 for index in range(300))
    path = tmp_path / f"damaged.{kind}"
    path.write_bytes(data)
    got, told = heard(path)
    whole = read(long_files[kind], None)
    assert told and all("damaged packets" in line or "gaps" in line for line in told), told
    assert len(told) <= 2
    assert len(got) == len(whole)
    rate = probe(path).rate
    tail = slice(len(whole) - rate, len(whole))
    np.testing.assert_allclose(got[tail], whole[tail], atol=2e-2)


def test_damage_in_an_mp3_is_passed_over(tmp_path, long_files):
    data = bytearray(long_files["mp3"].read_bytes())
    for place in (20_000, 40_000, 60_000):
        data[place : place + 300] = b"\x55" * 300
    path = tmp_path / "damaged.mp3"
    path.write_bytes(data)
    got, told = heard(path)
    assert 1 <= len(told) <= 2 and told[0].startswith(f"{path}: 3 damaged packets were skipped")
    assert len(got) == pytest.approx(6 * RATE, abs=4 * 1_152)


def test_a_file_without_a_sound_track(tmp_path):
    silent = write_media(
        tmp_path / "video.mp4", np.zeros((0, 1), np.float32), RATE, video_seconds=1, tracks=0
    )
    assert error_line(silent) == f"{silent}: has no audio stream (video); name a file with sound"


def test_empty_missing_folder_forbidden(tmp_path):
    empty = tmp_path / "empty.mp3"
    empty.touch()
    assert error_line(empty) == f"{empty}: is empty (0 bytes); record or copy it again"
    assert error_line(tmp_path / "no.wav") == f"{tmp_path}/no.wav: does not exist; check the path"
    assert error_line(tmp_path) == f"{tmp_path}: is a folder; name a file in it"
    assert "is empty" in error_line(io.BytesIO())
    assert "is empty" in error_line(Pipe(b""))
    assert "does not exist" in error_line("https://example.org/a.mp3")  # never fetched


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    path = write_pcm(tmp_path / "a.wav", np.zeros((10, 1)), 16_000)
    path.chmod(0)
    assert "may not be read" in error_line(path)


def test_a_file_that_the_system_refuses_is_one_line(tmp_path, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    assert "may not be read (permission denied); change its permissions" in error_line(tmp_path / "a.wav")


@pytest.mark.parametrize("suffix", [".wav", ".mp3", ".flac", ".txt", ".mp4", ".ogg", ""])
def test_a_text_file_is_said_to_be_text(tmp_path, suffix):
    path = tmp_path / f"notes{suffix}"
    path.write_text("Recorded on a Sunday; die Glocken läuten.\n" * 40, encoding="utf-8")
    assert error_line(path) == f"{path}: is text, not a recording; name an audio or video file"
    assert "is text" in error_line(Pipe(path.read_bytes()))


@pytest.mark.parametrize(
    "ending", [b"", b"\0"]
)  # with the zero byte it is no text, and FFmpeg gets to see it
def test_a_playlist_opens_no_address(tmp_path, ending):
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.ts".encode()
        path = tmp_path / "list.m3u8"
        head = b"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n"
        path.write_bytes(head + address + b"\n#EXT-X-ENDLIST\n" + ending)
        error_line(path)
        error_line(io.BytesIO(path.read_bytes()))
        with pytest.raises(BlockingIOError):  # nobody called
            server.accept()


@pytest.mark.parametrize(
    "content", [bytes(10_000), b"RIFF", b"\x89PNG\r\n\x1a\n" + bytes(200), b"PK\x03\x04" + bytes(999)]
)
@pytest.mark.parametrize("suffix", [".wav", ".mp3"])
def test_other_content_is_one_line(tmp_path, content, suffix):
    path = tmp_path / f"other{suffix}"
    path.write_bytes(content)
    error_line(path)
    error_line(io.BytesIO(content))


def test_noise_is_never_a_traceback(tmp_path):
    generator = np.random.default_rng(5)
    for number in range(20):
        path = tmp_path / f"noise{number}.mp3"
        path.write_bytes(generator.bytes(3_000))
        try:
            heard(path)
        except AudioError as error:
            assert "\n" not in str(error)


@pytest.mark.parametrize("kind", ["wav", "flac", "mp3", "m4a", "mkv", "ogg"])
def test_any_cut_or_flipped_byte_is_never_a_traceback(tmp_path, long_files, kind):
    """A fixed-seed sweep over damage near the header, where readers trust what they find."""
    data = long_files[kind].read_bytes()[:30_000]
    generator = np.random.default_rng(6)
    for number in range(15):
        broken = bytearray(data)
        for place in generator.integers(0, 200, 3):
            broken[place] = generator.integers(256)
        path = tmp_path / f"broken{number}.{kind}"
        path.write_bytes(broken[: generator.integers(1, len(data))])
        try:
            heard(path, 16_000, end=1.0)
        except AudioError as error:
            assert "\n" not in str(error)


def test_the_content_counts_and_not_the_suffix(tmp_path, long_files):
    for kind, suffix in [
        ("mp3", ".wav"),
        ("wav", ".mp3"),
        ("flac", ".mp3"),
        ("ogg", ".mp4"),
        ("mp4", ".flac"),
        ("m4a", ".txt"),
    ]:
        path = tmp_path / f"wrong_{kind}{suffix}"
        path.write_bytes(long_files[kind].read_bytes())
        got, told = heard(path)
        assert told == []
        np.testing.assert_array_equal(got, read(long_files[kind], None))


def wav_bytes(
    samples: np.ndarray,
    *,
    rate: int = 16_000,
    size: int | None = None,
    after: bytes = b"",
    riff: bytes = b"RIFF",
) -> bytes:
    """A 16-bit mono WAV whose data chunk claims `size` bytes."""
    body = samples.astype("<i2").tobytes()
    form = struct.pack("<HHIIHH", 1, 1, rate, rate * 2 % 2**32, 2, 16)
    chunk = b"data" + struct.pack("<I", len(body) if size is None else size) + body
    rest = b"WAVEfmt " + struct.pack("<I", 16) + form + chunk + after
    return riff + struct.pack("<I", min(len(rest), 0xFFFFFFFF)) + rest


@pytest.mark.parametrize(
    ("size", "warning"),
    [
        (0xFFFFFFFF, None),  # what writers to pipes put: not known, not wrong
        (0x7FFFFFFF, None),
        (0, "its header says it holds no samples, yet they follow: read to the end"),
        (4_000, "ends at 0.062 s though its header says 0.125 s"),
    ],
)
@pytest.mark.parametrize("pipe", [False, True])
def test_a_wav_header_that_lies_about_its_length(size, warning, pipe):
    samples = np.arange(1_000)
    data = wav_bytes(samples, size=size)
    got, told = heard(Pipe(data) if pipe else io.BytesIO(data))
    np.testing.assert_array_equal(got, samples / np.float32(32_768))
    assert len(told) == (warning is not None)
    assert warning is None or warning in told[0]


def test_a_wav_with_chunks_behind_its_samples_reads_the_samples_only():
    data = wav_bytes(np.arange(1_000), after=b"LIST" + struct.pack("<I", 4) + b"INFO")
    assert len(heard(io.BytesIO(data))[0]) == 1_000


def test_an_rf64_takes_its_length_from_its_own_chunk():
    plain = wav_bytes(
        np.arange(1_000), size=0xFFFFFFFF, riff=b"RF64", after=b"LIST" + struct.pack("<I", 4) + b"INFO"
    )
    sizes = b"ds64" + struct.pack("<IQQQI", 28, 0, 2_000, 1_000, 0)
    got, told = heard(io.BytesIO(plain[:12] + sizes + plain[12:]))
    assert len(got) == 1_000 and told == []


@pytest.mark.parametrize("after", [b"", b"LIST" + struct.pack("<I", 4) + b"INFO"])
def test_a_data_chunk_of_no_length_holds_no_samples(after):
    assert "holds no samples" in error_line(io.BytesIO(wav_bytes(np.zeros(0), after=after)))


def test_a_wav_without_data_chunk():
    data = wav_bytes(np.zeros(0))
    assert "without a data chunk" in error_line(io.BytesIO(data[: data.index(b"data")]))


@pytest.mark.parametrize("rate", [0, 1, 999, 768_001, 0xFFFFFFFF])
def test_absurd_sample_rates_are_one_line(rate):
    line = error_line(io.BytesIO(wav_bytes(np.arange(100), rate=rate)))
    assert f"says {rate} samples a second, expected 1000 to 768000" in line


@pytest.mark.parametrize("rate", [1_000, 384_000, 768_000])
def test_unusual_sample_rates_are_read(rate):
    assert len(read(io.BytesIO(wav_bytes(np.zeros(rate), rate=rate)), 16_000)) == 16_000


@pytest.mark.parametrize(
    ("claim", "warning"), [(10 * RATE, "though its header says 10.000 s"), (RATE // 10, None), (0, None)]
)
def test_a_flac_header_that_lies_about_its_length(tmp_path, claim, warning):
    path = write_pcm(tmp_path / "a.flac", tone(RATE, 2.0), RATE)
    data = bytearray(path.read_bytes())
    data[21] = data[21] & 0xF0  # STREAMINFO: 36 bits of total samples
    data[22:26] = claim.to_bytes(4, "big")
    path.write_bytes(data)
    got, told = heard(path)
    assert len(got) == 2 * RATE
    assert len(told) == (warning is not None)
    assert warning is None or warning in told[0]


@pytest.mark.parametrize("suffix", [".mp3", ".m4a", ".mkv", ".webm", ".aiff"])
def test_metadata_that_is_not_utf8_is_no_obstacle(tmp_path, suffix):
    rate = 48_000
    path = write_media(
        tmp_path / f"a{suffix}",
        tone(rate, 0.5),
        rate,
        metadata={"title": "QQQQQQQQ", "artist": "QQQQQQQQ"},
        codec="pcm_s16be" if suffix == ".aiff" else None,
    )
    data = path.read_bytes()
    assert b"QQQQQQQQ" in data
    path.write_bytes(data.replace(b"QQQQQQQQ", b"Gl\xf6ck\xff\xfe\xe4"))
    got, _ = heard(path)
    assert len(got) == pytest.approx(rate / 2, abs=1_100)
    probe(path)


def test_a_name_of_any_bytes_and_line_ends(tmp_path):
    name = os.fsencode(tmp_path) + b"/gl\xf6ck\n1.flac"
    soundfile.write(tmp_path / "a.flac", tone(16_000, 0.5), 16_000)
    os.rename(os.fsencode(tmp_path / "a.flac"), name)  # noqa: PTH104 - bytes
    assert len(read(os.fsdecode(name), None)) == 8_000
    Path(os.fsdecode(name)).write_bytes(b"")
    assert "gl\\xf6ck\\n1.flac: is empty" in error_line(os.fsdecode(name))


@pytest.mark.parametrize(("flagged", "loud"), [(0, 0), (1, 1), (None, 0)])
def test_of_several_sound_tracks_the_default_or_else_the_first_is_read(tmp_path, flagged, loud):
    path = tmp_path / "three.mkv"
    write_media(
        path, tone(RATE, 1.0), RATE, video_seconds=1, tracks=3, loud_track=loud, default_track=flagged
    )
    assert np.abs(read(path, None)).max() > 0.4


def test_a_change_of_rate_in_mid_stream_is_brought_to_the_first_rate(tmp_path):
    first = write_media(tmp_path / "a.mp3", tone(44_100, 2.0), 44_100)
    second = write_media(tmp_path / "b.mp3", tone(32_000, 2.0), 32_000)
    path = tmp_path / "both.mp3"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    got, told = heard(path)
    assert any("its sample rate changes from 44100 to 32000 Hz at 2.0" in line for line in told), told
    assert len(got) / 44_100 == pytest.approx(4.0, abs=0.2)
    assert hertz_of(got[int(2.5 * 44_100) : int(3.5 * 44_100)], 44_100) == pytest.approx(440, abs=1)


def test_a_change_of_channels_in_mid_stream_is_no_obstacle(tmp_path):
    first = write_media(tmp_path / "a.mp3", tone(44_100, 1.0, channels=2), 44_100)
    second = write_media(tmp_path / "b.mp3", tone(44_100, 1.0, channels=1), 44_100)
    path = tmp_path / "both.mp3"
    path.write_bytes(first.read_bytes() + second.read_bytes())
    got, _ = heard(path)
    assert len(got) / 44_100 == pytest.approx(2.0, abs=0.1)
    for part in (got[10_000:30_000], got[60_000:80_000]):
        assert np.sqrt(2 * np.mean(part**2)) == pytest.approx(0.475, abs=0.01)  # LAME scales by 0.95


# --- what is wrong with the request


@pytest.mark.parametrize("kind", ["wav", "mp3", "mp4", "flac"])
def test_ranges_that_hold_nothing_are_one_line(long_files, kind):
    path = long_files[kind]
    assert "the range starts at 99.0 s, past the end" in error_line(path, start=99.0)
    assert "the range ends at 1.0 s, not after its start at 2.0 s" in error_line(path, start=2.0, end=1.0)
    assert "not after its start" in error_line(path, start=2.0, end=2.0)
    assert "the range starts at -1.0 s" in error_line(path, start=-1.0)
    assert "the range starts at nan s" in error_line(path, start=float("nan"))


def test_settings_without_sense_are_value_errors():
    for rate in (0, -16_000, 1, 10**7, 16_000.5):
        with pytest.raises(ValueError, match="rate is"):
            blocks("a.wav", rate)
    with pytest.raises(ValueError, match="block_seconds"):
        blocks("a.wav", 16_000, block_seconds=0)
    for options in ({"rate": 0}, {"rate": 8_000, "channels": 0}, {"rate": 8_000, "dtype": "s17le"}):
        with pytest.raises(ValueError, match="raw"):
            RawFormat(**options)


def test_a_text_stream_is_refused():
    assert 'open it in binary mode, "rb"' in error_line(io.StringIO("a"))


# --- the rest


def test_probe_tells_what_the_header_says(long_files, folder):
    info = probe(long_files["mp4"])
    assert (info.codec, info.rate, info.channels, info.has_video) == ("aac", RATE, 2, True)
    assert info.duration == pytest.approx(6.0, abs=0.03)
    info = probe(long_files["wav"])
    assert (info.container, info.codec, info.duration, info.has_video) == ("wav", "pcm_s16le", 6.0, False)
    assert probe(Pipe(bytes(100)), raw=RawFormat(rate=8_000)).duration is None


def test_suffixes_are_lower_case_with_a_dot():
    assert {".wav", ".mp3", ".mp4", ".mkv", ".webm", ".opus"} <= MEDIA_SUFFIXES
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in MEDIA_SUFFIXES)


def test_importing_is_cheap_and_brings_no_decoder():
    code = "import sys, auricle.audio; print({'av', 'soxr', 'soundfile', 'torch'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "set()"


def test_ffmpeg_writes_nothing_to_the_terminal(tmp_path, long_files):
    path = tmp_path / "damaged.mp3"
    data = bytearray(long_files["mp3"].read_bytes())
    data[50_000:50_300] = bytes(300)
    path.write_bytes(data)
    code = f"from auricle.audio import read; read({str(path)!r}, 16000, warn=lambda line: None)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert done.stderr == b"" and done.stdout == b""


def test_errors_travel_between_processes():
    import pickle

    error = pickle.loads(pickle.dumps(AudioError("a.wav: is empty (0 bytes); record it again")))
    assert str(error) == "a.wav: is empty (0 bytes); record it again"


def test_real_recordings(shared_data):
    paths = sorted((shared_data / "esc50" / "audio").iterdir())[:20]
    assert len(paths) == 20
    for path in paths:
        got, told = heard(path)
        expected = soundfile.read(path, always_2d=True)[0].mean(axis=1)
        assert told == [] and len(got) == len(expected)
        np.testing.assert_allclose(got, expected, atol=1e-4)
