"""Reading recordings: every format, resampling, mixing, ranges and blocks, to the exact sample."""

import io
import subprocess
import sys
import threading
import tracemalloc

import numpy as np
import pytest
import soundfile
from media import (
    RATE,
    WAV_SUBTYPES,
    Pipe,
    error_line,
    heard,
    hertz_of,
    tone,
    write_media,
    write_pcm,
)

from auricle.audio import MEDIA_SUFFIXES, AudioError, RawFormat, blocks, probe, read
from auricle.audio.types import PCM_DTYPES

SOUNDFILE_KINDS = [
    (".flac", "PCM_16"),
    (".flac", "PCM_24"),
    (".aiff", "PCM_24"),
    (".au", "PCM_16"),
    (".caf", "PCM_16"),
]
LOSSY_ERROR = 0.025  # RMS that codecs add to a tone of level 0.5 with noise of 0.01


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


# --- what is wrong with the request


@pytest.mark.parametrize("kind", ["wav", "mp3", "mp4", "flac"])
def test_ranges_that_hold_nothing_are_one_line(long_files, kind):
    path = long_files[kind]
    assert "the range starts at 99.0 s, past the end" in error_line(path, start=99.0)
    assert "the range ends at 1.0 s, not after its start at 2.0 s" in error_line(path, start=2.0, end=1.0)
    assert "not after its start" in error_line(path, start=2.0, end=2.0)
    assert "the range starts at -1.0 s" in error_line(path, start=-1.0)
    assert "the range starts at nan s" in error_line(path, start=float("nan"))
    assert "the range ends at nan s" in error_line(path, end=float("nan"))
    assert "the range starts at 900000000.0 s, past the end" in error_line(path, start=9e8)
    for start in (2e9, 1e18, 1e300, float("inf")):
        assert f"the range starts at {start:g} s, past the end of any recording; give an" in error_line(
            path, start=start
        )


@pytest.mark.parametrize("kind", ["wav", "mp3", "mp4", "flac"])
@pytest.mark.parametrize("end", [1e6, 1e18, 1e300, float("inf")])
def test_an_end_past_all_is_the_end(long_files, kind, end):
    for rate in (None, 16_000):
        expected = read(long_files[kind], rate, start=5.5)
        np.testing.assert_array_equal(read(long_files[kind], rate, start=5.5, end=end), expected)


def test_settings_without_sense_are_value_errors():
    for rate in (0, -16_000, 1, 10**7, 16_000.5):
        with pytest.raises(ValueError, match="rate is"):
            blocks("a.wav", rate)
    with pytest.raises(ValueError, match="block_seconds"):
        blocks("a.wav", 16_000, block_seconds=0)
    with pytest.raises(ValueError, match="block_seconds"):
        blocks("a.wav", 16_000, block_seconds=float("inf"))
    for options in ({"rate": 0}, {"rate": 8_000, "channels": 0}, {"rate": 8_000, "dtype": "s17le"}):
        with pytest.raises(ValueError, match="raw"):
            RawFormat(**options)


def test_a_text_stream_is_refused():
    assert 'open it in binary mode, "rb"' in error_line(io.StringIO("a"))


# --- the rest


def test_probe_tells_what_the_header_says(long_files):
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
