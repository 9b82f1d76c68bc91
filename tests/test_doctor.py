"""`auricle doctor`: a fault is found where it was planted and nowhere else; slow oracles of the figures."""

import io
import json
import math
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.signal
import soundfile
import soxr
import tiny_model
from running import run
from test_base_install import without_torch

from auricle.artifact import load_artifact
from auricle.audio import blocks
from auricle.doctor import Channels, Reference, examine, findings, flat_tops, reference
from auricle.fingerprint import Sound, band_edges, chosen, fingerprint, valid
from auricle.heads import save_head
from auricle.linear import Linear

RATE = 44_100
BUNDLED = Path(__file__).parents[1] / "auricle" / "bundled" / "auricle-esc50"
CONVERSIONS = {"PCM_U8": 2 / 256, "PCM_16": 2 / 65536, "PCM_24": 1e-6, "FLOAT": 1e-7}


def street(seed: int = 0, *, rate: int = RATE, seconds: float = 4.0, level: float = -22.0) -> np.ndarray:
    """(N,) float32 like a recording: coloured noise that swells, calls, nothing near half the rate."""
    rng = np.random.default_rng(seed)
    count = round(rate * seconds)
    spectrum = np.fft.rfft(rng.standard_normal(count))
    hertz = np.fft.rfftfreq(count, 1 / rate)
    spectrum /= np.maximum(hertz, 60) ** 0.5
    spectrum[hertz > 0.455 * rate] = 0
    spectrum[hertz < 20] = 0
    sound = np.fft.irfft(spectrum, count)
    time = np.arange(count) / rate
    sound *= 1 + 0.6 * np.sin(2 * np.pi * 0.7 * time + seed)
    sound += 0.5 * sound.std() * np.sin(2 * np.pi * (700 + 60 * np.sin(9 * time)) * time)
    return (sound / np.sqrt(np.mean(sound**2)) * 10 ** (level / 20)).astype(np.float32)


@pytest.fixture(scope="module")
def trained_on_streets() -> Reference:
    clips = [soxr.resample(street(seed, level=-34 + 2 * seed), RATE, 16000) for seed in range(12)]
    return Reference(rate=16000, highest=7500.0, audio=fingerprint(clips, 16000))


def write(path: Path, samples: np.ndarray, rate: int = RATE, subtype: str = "PCM_16") -> str:
    soundfile.write(path, samples, rate, subtype=subtype)
    return str(path)


def kinds(result: dict[str, Any]) -> list[str]:
    return [finding["kind"] for finding in result["findings"]]


def noise(count: int, level: float) -> np.ndarray:
    return np.random.default_rng(9).standard_normal(count).astype(np.float32) * np.float32(10 ** (level / 20))


def to(rate: int, samples: np.ndarray) -> np.ndarray:
    return soxr.resample(samples, RATE, rate)


S = street(100)
FAULTS: dict[str, tuple[np.ndarray, int, list[str]]] = {
    "nothing": (np.zeros(2 * RATE, np.float32), RATE, ["silent"]),
    "the last bit": (noise(2 * RATE, -95), RATE, ["silent"]),
    "far too quiet": (S * 0.008, RATE, ["quiet"]),
    "cut off at full scale": (np.clip(S * 5, -1, 1), RATE, ["clipped"]),
    "cut off, then turned down": (0.3 * np.clip(S * 5, -1, 1), RATE, ["clipped"]),
    "a mean that is not zero": (S + 0.03, RATE, ["offset"]),
    "a small one under a quiet sound": (street(3, level=-62) + 0.002, RATE, ["offset"]),
    "one of two channels dead": (np.stack([S, noise(len(S), -85)], 1), RATE, ["channel"]),
    "one of two channels empty": (np.stack([0 * S, S], 1), RATE, ["channel"]),
    "channels against each other": (np.stack([S, -0.7 * S], 1), RATE, ["cancelled"]),
    "recorded at 8 kHz": (to(8000, S), 8000, ["rate"]),
    "8 kHz brought up to 44.1": (soxr.resample(to(8000, S), 8000, RATE), RATE, ["upsampled"]),
    "8 kHz brought up to 16": (soxr.resample(to(8000, S), 8000, 16000), 16000, ["upsampled"]),
    "11 kHz brought up to 48": (soxr.resample(to(11025, S), 11025, 48000), 48000, ["upsampled"]),
    "every second sample": (S[::2], RATE // 2, ["aliased"]),
    "a hum": (S * 0.2 + 0.15 * np.sin(2 * np.pi * 100 / RATE * np.arange(len(S))), RATE, ["bands"]),
    "nine tenths of nothing": (np.concatenate([S, np.zeros(9 * len(S), np.float32)]), RATE, ["gaps"]),
}
# Sounds with pauses that hold low notes: in these a cut at half the rate rings on.
BARKS = S * (np.arange(len(S)) % RATE < RATE // 2) + 0.1 * soxr.resample(to(8000, S), 8000, RATE)[: len(S)]
SOUND = {
    "cut off at half its rate": (scipy.signal.resample(BARKS, len(S) * 160 // 441).astype(np.float32), 16000),
    "as it is": (S, RATE),
    "two channels": (np.stack([S, 0.3 * np.roll(S, 30)], 1), RATE),
    "two that have nothing in common": (np.stack([S, street(101)], 1), RATE),
    "at 16 kHz": (to(16000, S), 16000),
    "at 22 kHz": (to(22050, S), 22050),
    "at 96 kHz": (soxr.resample(S, RATE, 96000), 96000),
    "loud, but whole": (S / np.abs(S).max() * 0.99, RATE),
    "half of it nothing": (np.concatenate([S, np.zeros(int(0.9 * len(S)), np.float32)]), RATE),
    "a tenth of a second": (S[:4410], RATE),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_no_other(name: str, tmp_path: Path, trained_on_streets: Reference) -> None:
    samples, rate, expected = FAULTS[name]
    result = examine(write(tmp_path / "a.wav", samples, rate), trained_on_streets)
    if name == "a small one under a quiet sound":
        assert "offset" in kinds(result)
        return
    assert kinds(result) == expected
    assert all(finding["do"] and "%s" not in finding["what"] for finding in result["findings"])


@pytest.mark.parametrize("subtype", ["PCM_16", "PCM_24", "FLOAT"])
@pytest.mark.parametrize("name", SOUND)
def test_what_is_sound_has_no_finding(
    name: str, subtype: str, tmp_path: Path, trained_on_streets: Reference
) -> None:
    samples, rate = SOUND[name]
    result = examine(write(tmp_path / "a.wav", samples, rate, subtype), trained_on_streets)
    assert kinds(result) == []
    assert result["duration"] == pytest.approx(len(samples) / rate)
    assert result["channels"] == samples.ndim


def test_floats_on_the_scale_of_integers_are_too_loud(tmp_path: Path, trained_on_streets: Reference) -> None:
    result = examine(write(tmp_path / "a.wav", S * 3000, RATE, "FLOAT"), trained_on_streets)
    assert "loud" in kinds(result) and "100 times full scale" in result["warnings"][0]


def test_a_model_that_does_not_say_what_it_heard_still_finds_what_needs_no_comparison(tmp_path: Path) -> None:
    unknown = Reference(rate=16000, highest=7500.0, audio={})
    assert kinds(examine(write(tmp_path / "a.wav", S), unknown)) == []
    assert kinds(examine(write(tmp_path / "q.wav", S * 0.008), unknown)) == ["quiet"]
    hum = FAULTS["a hum"][0]
    assert kinds(examine(write(tmp_path / "h.wav", hum), unknown)) == []  # bands need the training's


def test_a_low_rate_is_no_fault_for_a_model_of_a_low_rate(tmp_path: Path) -> None:
    low = Reference(rate=8000, highest=3800.0, audio={})
    samples, rate, _ = FAULTS["recorded at 8 kHz"]
    assert kinds(examine(write(tmp_path / "a.wav", samples, rate), low)) == []


def test_a_classifier_on_embeddings_hears_what_its_embedder_hears(tmp_path: Path) -> None:
    embedder = tiny_model.save(tmp_path / "m")
    ones = Linear(np.ones((4, 2)), np.zeros(2), "several", 1.0, 0.0, 0.0)
    head = save_head(tmp_path / "head", embedder, ones, ["owl", "wren"])
    assert head.input_kinds == ("embedding",) and head.rate / 2 == 4000
    assert reference(head).highest == reference(embedder).highest == tiny_model.CONFIG.high == 3800


def test_a_training_without_high_sounds_asks_for_none(tmp_path: Path, trained_on_streets: Reference) -> None:
    clips = [soxr.resample(to(8000, street(seed)), 8000, 16000) for seed in range(6)]
    narrow = Reference(rate=16000, highest=7500.0, audio=fingerprint(clips, 16000))
    assert narrow.bandwidth < 4100 < trained_on_streets.bandwidth
    samples, rate, _ = FAULTS["8 kHz brought up to 16"]
    assert kinds(examine(write(tmp_path / "a.wav", samples, rate), narrow)) == []


def test_gaps_that_are_filled_with_silence_do_not_look_like_channels_that_cancel() -> None:
    both = np.stack([S, S], 1)
    channels, sound = Channels(), Sound(RATE)
    channels.add(both)
    sound.add(both.mean(axis=1))
    sound.add(np.zeros(40 * len(S), np.float32))  # where time stamps had a gap
    found = findings(sound, channels, Reference(rate=16000, highest=7500.0, audio={}))
    assert [finding.kind for finding in found] == ["gaps"]


@pytest.mark.parametrize("subtype", CONVERSIONS)
def test_channels_are_heard_as_they_are_before_they_are_mixed(subtype: str, tmp_path: Path) -> None:
    both = np.stack([S, street(5)], 1)
    path = write(tmp_path / "a.wav", both, RATE, subtype)
    pieces, rates = [], set()

    def heard(samples: np.ndarray, rate: int) -> None:
        pieces.append(samples.copy())
        rates.add(rate)

    mixed = np.concatenate([block.samples for block in blocks(path, 16000, heard=heard)])
    assert rates == {RATE} and len(pieces[0]) == 0
    np.testing.assert_allclose(np.concatenate(pieces), both, atol=CONVERSIONS[subtype])
    plain = np.concatenate([block.samples for block in blocks(path, 16000)])
    assert mixed.tobytes() == plain.tobytes()


def test_channels_of_a_compressed_file_are_heard_too(tmp_path: Path) -> None:
    path = write(tmp_path / "a.flac", np.stack([S, 0 * S], 1))
    pieces: list[np.ndarray] = []
    for _ in blocks(path, None, heard=lambda samples, rate: pieces.append(samples.copy())):
        pass
    np.testing.assert_allclose(np.concatenate(pieces)[:, 0], S, atol=2 / 65536)
    assert not np.concatenate(pieces)[:, 1].any()


def slow_level(samples: np.ndarray, size: int) -> float:
    """The two gates of BS.1770 over frames, one after the other, as plainly as can be."""
    powers = []
    for start in range(0, len(samples) - size + 1, size):
        frame = samples[start : start + size].astype(np.float64)
        powers.append(float(np.mean((frame - frame.mean()) ** 2)))
    audible = [power for power in powers if power > 0 and 10 * math.log10(power) >= -70]
    gate = sum(audible) / len(audible) / 10
    kept = [power for power in audible if power >= gate]
    return 10 * math.log10(sum(kept) / len(kept))


@pytest.mark.parametrize("seed", range(5))
def test_the_level_is_that_of_a_slow_oracle(seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps = np.repeat(10 ** (rng.uniform(-90, 0, 40) / 20), 4410)
    samples = (steps * rng.standard_normal(len(steps)) * 0.3).astype(np.float32)
    sound = Sound(RATE)
    sound.add(samples)
    assert sound.level == pytest.approx(
        slow_level(samples, sound.size), abs=0.3
    )  # the gate stands on whole dB


def test_the_level_is_not_that_of_a_mean() -> None:
    sounds = Sound(RATE), Sound(RATE)
    sounds[0].add(S)
    sounds[1].add(S + 0.2)
    assert sounds[1].level == pytest.approx(sounds[0].level, abs=0.01)
    assert sounds[1].offset == pytest.approx(0.2, abs=1e-3)


@pytest.mark.parametrize("rate", [16000, 22050, RATE])
def test_a_tone_is_in_its_band(rate: int) -> None:
    edges = band_edges(16000)
    for place, (low, high) in enumerate(zip(edges, edges[1:], strict=False)):
        for hertz in (low + 12, high - 12) if low > 100 else (low + 25, high - 25):
            sound = Sound(rate)
            sound.add(np.sin(2 * np.pi * hertz / rate * np.arange(rate)).astype(np.float32))
            assert np.argmax(sound.bands(edges)) == place, hertz


@pytest.mark.parametrize("power", [1, 2, 3])
def test_a_sound_that_fades_towards_high_tones_is_not_taken_for_up_sampled(power: int) -> None:
    spectrum = np.fft.rfft(np.random.default_rng(power).standard_normal(4 * RATE))
    hertz = np.fft.rfftfreq(4 * RATE, 1 / RATE)
    samples = np.fft.irfft(
        spectrum / (1 + (hertz / 1500) ** (2 * power)), 4 * RATE
    )  # 12 dB an octave and more
    samples = 0.1 * samples / samples.std() + noise(4 * RATE, -75)
    sound = Sound(RATE)
    sound.add(samples.astype(np.float32))
    assert sound.cutoff is None


def test_bands_hold_the_power_that_a_filter_lets_through() -> None:
    samples = street(7, seconds=8.0)
    sound = Sound(RATE)
    sound.add(samples)
    edges = band_edges(16000)
    spectrum = np.abs(np.fft.rfft(samples.astype(np.float64))) ** 2
    hertz = np.fft.rfftfreq(len(samples), 1 / RATE)
    powers = np.array(
        [spectrum[(hertz >= low) & (hertz < high)].sum() for low, high in zip(edges, edges[1:], strict=False)]
    )
    np.testing.assert_allclose(sound.bands(edges), 10 * np.log10(powers / powers.sum()), atol=0.5)


def test_bands_do_not_depend_on_the_rate() -> None:
    edges = band_edges(16000)
    figures = []
    for rate in (16000, 22050, RATE, 96000):
        sound = Sound(rate)
        sound.add(S if rate == RATE else to(rate, S))
        figures.append(sound.bands(edges))
    np.testing.assert_allclose(figures, np.broadcast_to(figures[0], (4, len(edges) - 1)), atol=0.8)


def test_pieces_of_any_size_give_the_same_figures() -> None:
    samples = np.clip(S * 4, -1, 1)
    whole, parts = Sound(RATE), Sound(RATE)
    whole.add(samples)
    all_at_once, one_by_one = Channels(), Channels()
    all_at_once.add(samples[:, None])
    rng = np.random.default_rng(1)
    start = 0
    while start < len(samples):
        size = int(rng.integers(1, 9000))
        parts.add(samples[start : start + size])
        one_by_one.add(samples[start : start + size, None])
        start += size
    assert parts.level == pytest.approx(whole.level, abs=1e-6) and parts.frames == whole.frames
    np.testing.assert_allclose(parts.cells, whole.cells, atol=1e-3)
    assert one_by_one.peak == all_at_once.peak
    assert one_by_one.flat == pytest.approx(all_at_once.flat, rel=0.1)  # a run over a border may be lost


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("hertz", [20, 50, 110, 440])
def test_the_top_of_a_slow_wave_is_no_flat_top(bits: int, hertz: int) -> None:
    scale = 2 ** (bits - 1)
    wave = np.round(0.9 * scale * np.sin(2 * np.pi * hertz / RATE * np.arange(RATE))) / scale
    channels = Channels()
    channels.add(wave[:, None].astype(np.float32))
    assert channels.flat == 0
    channels = Channels()
    channels.add(np.clip(wave, -0.6, 0.6)[:, None].astype(np.float32))
    assert channels.flat > 0.1 or bits == 8  # in 8 bits such a slow wave has no steeper step


def test_flat_tops_counts_what_a_loop_counts() -> None:
    rng = np.random.default_rng(4)
    samples = np.clip(rng.integers(-6, 7, 3000), -4, 4) / 4
    expected, start = 0, 0
    while start < len(samples):
        end = start
        while end + 1 < len(samples) and samples[end + 1] == samples[start]:
            end += 1
        if abs(samples[start]) >= 0.9 and end - start >= 2 and start > 0 and end + 1 < len(samples):
            entered = abs(samples[start] - samples[start - 1]) > 0.5
            expected += (end - start + 1) * (entered and abs(samples[end + 1] - samples[end]) > 0.5)
        start = end + 1
    assert expected > 50
    assert flat_tops(np.abs(samples), np.abs(np.diff(samples)), 0.9, 0.5) == expected


def test_a_fingerprint_is_of_the_clips_and_silence_counts_as_silence_only() -> None:
    levels = np.arange(-40, -20)
    clips = [to(16000, street(seed, level=level)) for seed, level in enumerate(levels)]
    found = fingerprint([*clips, np.zeros(16000, np.int16)], 16000)
    singles = [fingerprint([clip], 16000) for clip in clips]
    for name in ("level", "bandwidth"):
        expected = np.quantile([single[name][2] for single in singles], found["quantiles"])
        np.testing.assert_allclose(found[name], expected, atol=0.51 if name == "bandwidth" else 0.051)
    assert found["clips"] == 20 and found["silence"][-1] > 0.5
    assert valid(found) and valid(json.loads(json.dumps(found)))
    assert fingerprint([np.zeros(16000, np.int16)], 16000) == {}
    integers = [np.round(clip * 32768).astype(np.int16) for clip in clips]
    assert fingerprint(integers, 16000)["level"] == pytest.approx(found["level"], abs=0.2)


@pytest.mark.parametrize("damage", [{"bands": []}, {"level": [1.0]}, {"quantiles": [0.5]}, {"silence": None}])
def test_a_fingerprint_of_another_form_is_left_alone(damage: dict[str, Any]) -> None:
    good = fingerprint([to(16000, S)], 16000)
    assert valid(good) and not valid(good | damage)


def test_so_many_clips_stand_for_all() -> None:
    assert len(chosen(10**7)) == 2000 and chosen(10**7)[-1] == 10**7 - 1
    assert chosen(7).tolist() == list(range(7))


def test_memory_does_not_grow_with_the_recording(tmp_path: Path, trained_on_streets: Reference) -> None:
    def peak(seconds: int) -> int:
        samples = np.tile(to(16000, S)[:16000], seconds)
        path = write(tmp_path / f"{seconds}.wav", samples, 16000)
        tracemalloc.start()
        try:
            examine(path, trained_on_streets)
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    short, long = peak(30), peak(600)
    assert long < 1.1 * short + 100_000, f"{short} bytes for 30 s, {long} for 600 s"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "r").mkdir()
    write(tmp_path / "r" / "a.wav", S)
    write(tmp_path / "r" / "b.wav", np.clip(S * 5, -1, 1))
    return tmp_path / "r"


@pytest.fixture
def known(tmp_path: Path, trained_on_streets: Reference) -> Path:
    return tiny_model.save(tmp_path / "m", training={"audio": trained_on_streets.audio}).path


def test_a_line_a_finding_and_a_healthy_recording_says_so(
    folder: Path, known: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(capsys, "doctor", known, folder, "--quiet")
    assert status == 1
    healthy, clipped = out.splitlines()
    assert healthy == f"{folder / 'a.wav'}: ok (4.0 s, 44100 Hz, -22 dB)"
    assert clipped.startswith(f"{folder / 'b.wav'}: clipped: ") and clipped.endswith("does not come back")
    assert err == "auricle: error: 1 of 2 recordings have findings\n"
    assert run(capsys, "doctor", known, folder / "a.wav")[0] == 0


@pytest.mark.parametrize("jobs", [1, 2])
def test_json_is_one_document_and_nothing_else(
    jobs: int, folder: Path, known: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "c.wav").write_bytes(b"RIFF")
    status, out, err = run(capsys, "doctor", known, folder, "--format", "json", "--jobs", jobs)
    said = json.loads(out)
    assert status == 1 and said["model"] == str(known) and valid(said["audio"])
    names = [Path(recording["path"]).name for recording in said["recordings"]]
    assert names == ["a.wav", "b.wav", "c.wav"]
    assert [kinds(recording) for recording in said["recordings"][:2]] == [[], ["clipped"]]
    assert "error" in said["recordings"][2] and "c.wav" in err
    status, out, _ = run(capsys, "doctor", known, folder / "a.wav", "--format", "json")
    assert status == 0 and json.loads(out)["recordings"][0]["findings"] == []


def test_what_cannot_be_read_is_named_and_wrong_usage_is_2(
    folder: Path, known: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, out, err = run(capsys, "doctor", known, folder / "a.wav", folder / "none.wav")
    assert status == 1 and "a.wav: ok" in out and "none.wav: no such file or folder" in err
    assert run(capsys, "doctor", known)[0] == 2
    assert run(capsys, "doctor", known, folder, "--format", "xml")[0] == 2
    assert run(capsys, "doctor", folder / "nothing", folder)[0] == 1


def test_a_model_without_a_fingerprint_says_so(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tiny_model.save(tmp_path / "plain")
    status, out, err = run(capsys, "doctor", tmp_path / "plain", folder / "a.wav")
    assert status == 0 and ": ok" in out and "does not say what its training sounded like" in err


def test_standard_input_is_examined(
    known: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Piped:
        buffer = io.BytesIO((to(16000, S) * 32767).astype("<i2").tobytes())

        @staticmethod
        def isatty() -> bool:
            return False

    monkeypatch.setattr("sys.stdin", Piped())
    status, out, _ = run(capsys, "doctor", known, "-", "--raw", "16000,1,s16le")
    assert status == 0 and out.startswith("-: ok (4.0 s, 16000 Hz")


def test_training_keeps_what_its_clips_sound_like(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    from tones import config_for, make_corpus

    from auricle.shards import Pack
    from auricle.training import train
    from auricle.training.data import choose_clips

    (tmp_path / "corpus").mkdir()
    corpus = make_corpus(tmp_path / "corpus")
    config = config_for(corpus, steps=2, validate_every=1)
    train(config, tmp_path / "run", quiet=True)
    pack = Pack(corpus)
    clips, _ = choose_clips(pack, config)
    expected = fingerprint((pack.samples(int(clip)) for clip in clips), pack.rate)
    assert 0 < len(clips) < len(pack) and expected["clips"] == len(clips)
    for name in ("best", "last"):
        artifact = load_artifact(tmp_path / "run" / name)
        assert artifact.training["audio"] == expected
        assert reference(artifact).audio == expected
        assert artifact.changed_parts() == []


@pytest.mark.skipif(not BUNDLED.is_dir(), reason="auricle/bundled/auricle-esc50 is missing")
def test_the_bundled_model_knows_its_training_and_the_example_is_like_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    artifact = load_artifact("default")
    known = reference(artifact)
    assert valid(known.audio) and known.highest == 7500.0 and known.audio["clips"] == 1927  # seven are silent
    assert artifact.changed_parts() == []
    example = Path(__file__).parents[1] / "examples" / "scene.ogg"
    assert run(capsys, "doctor", "default", example)[0] == 0


def test_what_only_may_be_wrong_is_told_and_is_no_failure(
    known: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write(tmp_path / "half.wav", to(16000, S)[::2], 8000)
    status, out, err = run(capsys, "doctor", known, path, "--quiet")
    assert (status, err) == (0, "") and out.startswith(f"{path}: may be aliased: ")
    found = json.loads(run(capsys, "doctor", known, path, "--format", "json")[1])["recordings"][0]["findings"]
    assert [(finding["kind"], finding["sure"]) for finding in found] == [("aliased", False)]


def test_doctor_needs_no_torch(folder: Path, known: Path) -> None:
    done = without_torch(
        "from auricle.cli import main\nmain(sys.argv[1:])", "doctor", str(known), str(folder / "a.wav")
    )
    assert done.returncode == 0 and ": ok" in done.stdout, done.stderr


def resampled(samples: np.ndarray, rate: int) -> np.ndarray:
    return soxr.resample(samples, rate, 16000)


MENDED: dict[str, tuple[Callable[[np.ndarray, int], tuple[np.ndarray, int]], str]] = {
    "x[::3]": (lambda x, rate: (x[::3], rate // 3), "aliased"),
    "8 kHz": (lambda x, rate: (soxr.resample(soxr.resample(x, rate, 8000), 8000, 16000), 16000), "upsampled"),
}


def test_real_recordings_are_seldom_ill_and_their_ill_twins_mostly(shared_data: Path, tmp_path: Path) -> None:
    known = reference(load_artifact("default"))
    files = sorted((shared_data / "esc50" / "audio").iterdir())[::50]
    assert len(files) == 40
    found = [kind for file in files for kind in kinds(examine(str(file), known))]
    assert len(found) <= 8 and not {"aliased", "upsampled", "rate", "channel", "cancelled"} & set(found)
    for make, kind in MENDED.values():
        hits = 0
        for place, file in enumerate(files):
            samples, rate = soundfile.read(file, dtype="float32", always_2d=True)
            made, new = make(np.ascontiguousarray(samples[:, 0]), rate)
            hits += kind in kinds(examine(write(tmp_path / f"{place}.wav", made, new), known))
        assert hits >= 24, f"{kind}: {hits} of 40"
