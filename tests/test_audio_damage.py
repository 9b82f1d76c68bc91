"""Damaged and truncated recordings: one decided outcome each, never a traceback, never endless silence."""

from pathlib import Path

import numpy as np
import pytest
from media import RATE, Pipe, error_line, heard, long_media, tone, write_media, write_pcm

from auricle.audio import AudioError, AudioWarning, probe, read


@pytest.fixture(scope="module")
def long_files(tmp_path_factory) -> dict[str, Path]:
    return long_media(tmp_path_factory.getbasetemp() / "long_media")


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
    assert len(told) == 1 and "1 gap in its time stamps was filled with silence, the first at 4." in told[0]
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
    assert len(told) == 1 and "its time stamps jump 1 time; joined, first at 2.0" in told[0]


def test_time_stamps_hours_ahead_are_no_gap(tmp_path):
    path = write_media(tmp_path / "ahead.mkv", tone(RATE, 2.0), RATE, "flac", gap=(1.0, 4_000))
    got, told = heard(path)
    assert len(got) == 2 * RATE
    assert "its time stamps jump 1 time; joined, first at 1.0" in told[0]


@pytest.mark.parametrize(("length", "filled"), [(605.0, True), (900.0, False)])
def test_gaps_make_no_more_silence_than_what_was_heard_allows(tmp_path, length, filled):
    """Ten minutes, and ten seconds for each second of sound before."""
    path = write_media(tmp_path / "gap.mkv", tone(8_000, 2.0), 8_000, "flac", gap=(1.0, length))
    got, told = heard(path)
    assert len(got) / 8_000 == pytest.approx(2.0 + length * filled, abs=0.01)
    text = "1 gap in its time stamps was filled with silence" if filled else "its time stamps jump 1 time"
    assert text in told[0]


def test_many_gaps_share_one_allowance(tmp_path):
    parts = []
    for number in range(4):
        gap = (0.5, 400.0 * (number + 1))
        part = write_media(tmp_path / "gap.ts", tone(8_000, 1.0), 8_000, "aac", gap=gap, bit_rate=24_000)
        parts.append(part.read_bytes())
    path = tmp_path / "gaps.ts"
    path.write_bytes(b"".join(parts))  # holes of 400, 800... s, and jumps back between them
    got, told = heard(path)
    assert len(got) / 8_000 < 4.5 + 650
    assert any("time stamps jump" in line for line in told)


def ts_packets(data: bytes) -> list[tuple[int, int]]:
    """(offset, PID) of the packets of a transport stream."""
    return [(at, (data[at + 1] & 31) << 8 | data[at + 2]) for at in range(0, len(data) - 187, 188)]


SOUND_PID = 0x100


@pytest.mark.parametrize("stamp", [2**31, 2**32, 2**33 - 90_000 * 3_000, 2**33 - 90_000 * 30])
def test_a_damaged_stamp_in_front_makes_no_hours_of_silence(tmp_path, long_files, stamp):
    data = bytearray(long_files["ts"].read_bytes())
    first = next(at for at, pid in ts_packets(data) if pid == SOUND_PID)
    pes = data.index(b"\0\0\1\xc0", first)
    parts = (0x21 | stamp >> 29 & 14, stamp >> 22 & 255, 1 | stamp >> 14 & 254, stamp >> 7 & 255)
    data[pes + 9 : pes + 14] = bytes((*parts, 1 | stamp << 1 & 254))
    data[pes + 21 : first + 188] = b"\xff" * (first + 188 - pes - 21)  # behind the ADTS header
    path = tmp_path / "stamp.ts"
    path.write_bytes(data)
    got, told = heard(path)
    assert 5.5 < len(got) / RATE < 7
    assert any("damaged packet" in line for line in told)


def test_packets_of_a_track_that_appears_in_mid_stream_end_nothing(tmp_path, long_files):
    """PyAV has no such track in its list, and raises IndexError at each of its packets."""
    data = bytearray(long_files["ts"].read_bytes())
    packets = [at for at, pid in ts_packets(data) if pid == SOUND_PID]
    for at in packets[len(packets) // 2 : len(packets) // 2 + 20]:
        data[at + 2] ^= 1
    path = tmp_path / "tracks.ts"
    path.write_bytes(data)
    whole = read(long_files["ts"], None)
    got, told = heard(path)
    assert len(got) == pytest.approx(len(whole), abs=2_048)
    np.testing.assert_allclose(got[: 2 * RATE], whole[: 2 * RATE], atol=1e-6)
    assert np.abs(got[-RATE:]).max() > 0.3 and any("damaged packet" in line for line in told)
    # To the end of the file there is nothing but packets of the unknown track.
    for at in packets[len(packets) // 2 + 20 :]:
        data[at + 2] ^= 1
    path.write_bytes(data)
    got, told = heard(path)
    # PyAV asks memory that it has not set whether it wants such a packet: seldom it passes over all of them.
    assert len(got) / RATE == pytest.approx(3.0, abs=0.2)
    assert all("damaged packet" in line or "unreadable" in line for line in told), told
    np.testing.assert_allclose(got[: 2 * RATE], whole[: 2 * RATE], atol=1e-6)


@pytest.mark.parametrize("kind", ["ts", "mp3", "mp4", "mkv", "ogg"])
def test_flipped_bytes_anywhere_are_never_a_traceback_nor_endless(tmp_path, long_files, kind):
    data = long_files[kind].read_bytes()
    generator = np.random.default_rng(9)
    for number in range(25):
        broken = bytearray(data)
        for place in generator.integers(0, len(data), 40):
            broken[place] = generator.integers(256)
        path = tmp_path / f"broken{number}.{kind}"
        path.write_bytes(broken)
        try:
            assert len(heard(path)[0]) < 700 * RATE
        except AudioError as error:
            assert "\n" not in str(error)


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
    assert told == [f"{path}: 4 samples are NaN or infinite; set to 0"]
    expected = np.full(1_000, 0.5)
    expected[[10, 20, 30]] = 0.25, 0.25, 0
    np.testing.assert_array_equal(got, expected)
    double = samples.astype(np.float64)
    double[40] = 1e300  # no float32 holds it
    path = write_pcm(tmp_path / "nan64.wav", double, 16_000, "DOUBLE")
    assert "6 samples" in heard(path)[1][0]
    path = write_pcm(tmp_path / "nan.caf", samples, 16_000, "FLOAT")
    assert "4 samples" in heard(path)[1][0]


@pytest.mark.parametrize("value", [1e11, 1e20, 1e30, 3e38])
@pytest.mark.parametrize("suffix", [".wav", ".caf"])
@pytest.mark.parametrize("subtype", ["FLOAT", "DOUBLE"])
def test_absurd_floats_become_zero_and_are_counted(tmp_path, value, suffix, subtype):
    samples = np.full((4_000, 2), 0.5)
    samples[1_000:1_010] = value, -value
    samples[2_000:2_010] = value, value
    samples[3_000, 1] = -value
    path = write_pcm(tmp_path / f"absurd{suffix}", samples, 44_100, subtype)
    got, told = heard(path)
    # Channels that cancel are no trouble and are not looked at, unless others in their chunk are.
    assert told == [f"{path}: 41 samples are beyond 1e+10 times full scale; set to 0"]
    assert np.abs(got).max() == 0.5 and not got[2_000:2_010].any() and got[3_000] == 0.25
    assert np.abs(heard(path, 16_000)[0]).max() < 1


def test_floats_on_the_scale_of_integers_are_kept_with_a_warning(tmp_path):
    samples = np.round(tone(16_000, 0.5)[:, 0] * 32_768)
    path = write_pcm(tmp_path / "scale.wav", samples, 16_000, "FLOAT")
    got, told = heard(path)
    np.testing.assert_array_equal(got, samples)
    count = np.count_nonzero(np.abs(samples) > 100)
    assert told == [
        f"{path}: {count:,} samples are more than 100 times full scale, and kept: "
        "if its floats are on the scale of integers, divide them by that scale"
    ]
    loud = write_pcm(tmp_path / "loud.wav", np.full(100, -99.0), 16_000, "FLOAT")
    assert heard(loud)[1] == []


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
    assert all("damaged packet" in line for line in told)  # the one that was cut through


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
    assert told and all("damaged packet" in line or "1 gap" in line for line in told), told
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
