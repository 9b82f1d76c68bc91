"""What an encoder puts behind the sound of an MP4 is cut, to the sample, however the file is read."""

from pathlib import Path

import numpy as np
import pytest
from media import Pipe, heard, tone, write_media

from auricle.audio import blocks, probe, read

FRAGMENTS = {"movflags": "frag_keyframe+empty_moov", "frag_duration": "1000000"}
FASTSTART = {"movflags": "faststart"}


@pytest.mark.parametrize("kind", ["m4a", "mp4", "mov"])
@pytest.mark.parametrize(
    "rate, samples", [(44_100, 220_500), (16_000, 20_000), (48_000, 48 * 1024), (8_000, 1025)]
)
def test_an_mp4_has_as_many_samples_as_were_encoded(
    tmp_path: Path, kind: str, rate: int, samples: int
) -> None:
    path = write_media(tmp_path / f"a.{kind}", tone(rate, samples / rate)[:samples], rate, "aac")
    got, told = heard(path)
    assert len(got) == samples and told == []
    assert probe(path).duration == pytest.approx(samples / rate, abs=1e-3)  # headers have milliseconds


@pytest.mark.parametrize("options", [FASTSTART, FRAGMENTS], ids=["faststart", "fragments"])
def test_a_pipe_a_range_and_short_blocks_end_where_the_file_does(
    tmp_path: Path, options: dict[str, str]
) -> None:
    rate = 16_000
    path = write_media(tmp_path / "a.mp4", tone(rate, 21.3), rate, "aac", options=options)
    whole = read(path, None)
    assert len(whole) == round(21.3 * rate) + (1024 if options is FRAGMENTS else 0)  # no edit list: priming
    np.testing.assert_array_equal(read(Pipe(path.read_bytes()), None), whole)
    for size in (0.03, 0.7, 60.0):
        pieces = [block.samples for block in blocks(path, None, block_seconds=size)]
        np.testing.assert_array_equal(np.concatenate(pieces), whole)
    late = read(path, None, start=21.0)  # found by a search: the decoder starts a second before
    assert len(late) == len(whole) - 21 * rate
    np.testing.assert_allclose(late, whole[21 * rate :], atol=1e-4)


def test_an_edit_list_ends_the_sound_where_packets_do_not_say(tmp_path: Path) -> None:
    rate, samples = 44_100, 220_500
    path = write_media(tmp_path / "a.m4a", tone(rate, 5.0)[:samples], rate, "aac")
    data, expected = path.read_bytes(), read(path, None)
    rest = (samples + 1024) % 1024
    last = b"stts" + bytes(7) + b"\2"  # version, flags, two entries: many of 1024, one of the rest
    at = data.index(last) + len(last) + 8
    assert data[at : at + 8] == (1).to_bytes(4, "big") + rest.to_bytes(4, "big")
    path.write_bytes(data[: at + 4] + (1024).to_bytes(4, "big") + data[at + 8 :])
    np.testing.assert_array_equal(read(path, None), expected)


def test_a_picture_that_starts_first_moves_the_end_and_cuts_nothing(tmp_path: Path) -> None:
    rate = 16_000
    path = write_media(tmp_path / "a.mp4", tone(rate, 2.01), rate, "aac", video_seconds=3.0, audio_delay=0.5)
    assert len(read(path, None)) == pytest.approx(2.51 * rate, abs=2)
    whole = write_media(tmp_path / "b.ts", tone(rate, 2.01), rate, "aac")
    assert len(read(whole, None)) % 1024 == 0  # a container that does not say keeps its padding
