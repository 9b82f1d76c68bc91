"""Content that is no recording, and headers that lie: one line each."""

import io
import os
import socket
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
from media import (
    RATE,
    Pipe,
    error_line,
    heard,
    hertz_of,
    tone,
    wav_bytes,
    write_media,
    write_pcm,
)

from auricle.audio import AudioError, probe, read


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
