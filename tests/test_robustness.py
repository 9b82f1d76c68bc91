"""Changes of sound do what they say, and what a card says of them is what was measured."""

import csv
import itertools
import json
import math
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import tiny_model
import torch
from running import ROOT, load_script
from scipy.signal import butter, freqz, sosfilt
from sklearn.metrics import average_precision_score

from auricle.artifact import load_artifact, save_artifact
from auricle.artifact.card import model_card
from auricle.engine import pack
from auricle.evaluation import evaluate
from auricle.features import FeatureConfig
from auricle.frontend import LogMel
from auricle.models import build
from auricle.recipes import conditions, robustness
from auricle.recipes.robustness import Condition, calibration, measure, most_confused, paired, score
from auricle.shards import Pack

RATE = 16000


def sound(seconds: float = 2.0, seed: int = 0, silent: float = 0.0) -> np.ndarray:
    """Bursts of coloured noise, at the end silent for a while."""
    rng = np.random.default_rng(seed)
    out = np.convolve(rng.standard_normal(round(seconds * RATE)), [1, 0.7, 0.3], "same") * 0.05
    out *= 1 + 0.9 * np.sin(2 * np.pi * 3 * np.arange(len(out)) / RATE)
    out[len(out) - round(silent * RATE) :] = 0
    return out.astype(np.float32)


def decibels(power: float) -> float:
    return float(10 * np.log10(power))


# --- level


def test_a_gain_is_its_decibels_and_clips_only_where_it_is_told_to() -> None:
    before, known = sound(), conditions.changes(RATE)
    for name, by in (("gain -20 dB", -20), ("gain -10 dB", -10), ("gain +10 dB", 10)):
        after = known[name](before, RATE, 0)
        assert decibels((after**2).mean() / (before**2).mean()) == pytest.approx(by, abs=1e-4)
    loud = (before / np.abs(before).max()).astype(np.float32)
    assert np.abs(known["gain +10 dB"](loud, RATE, 0)).max() == pytest.approx(10**0.5, rel=1e-5)
    clipped = known["gain +10 dB, clipped at full scale"](loud, RATE, 0)
    assert np.abs(clipped).max() == 1
    inside = np.abs(loud) < 10**-0.5 - 1e-6
    np.testing.assert_allclose(clipped[inside], loud[inside] * 10**0.5, rtol=1e-5)


# --- noise


def active_power(x: np.ndarray) -> float:
    """Mean power of frames of 10 ms within 35 dB of the loudest."""
    frames = [
        float(np.mean(np.square(x[i : i + 160], dtype=np.float64))) for i in range(0, len(x) - 159, 160)
    ]
    return float(np.mean([power for power in frames if power >= max(frames) * 10**-3.5]))


def assert_snr(change: conditions.Change, snr: float) -> None:
    for silent in (0.0, 1.2):
        clean = sound(silent=silent)
        rest = change(clean, RATE, 7).astype(np.float64) - clean
        assert decibels(active_power(clean) / active_power(rest)) == pytest.approx(snr, abs=0.1)


@pytest.mark.parametrize("colour", ["white", "pink"])
@pytest.mark.parametrize("snr", [20, 10, 0])
def test_noise_lies_its_decibels_below_what_is_active(colour: str, snr: int) -> None:
    assert_snr(conditions.changes(RATE)[f"{colour} noise, SNR {snr} dB"], snr)


def test_a_wrong_ratio_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = conditions.add_noise
    monkeypatch.setattr(
        conditions, "add_noise", lambda x, y, snr, *, rate: right(x, y, [snr[0] - 1], rate=rate)
    )
    with pytest.raises(AssertionError):
        assert_snr(conditions.changes(RATE)["white noise, SNR 10 dB"], 10)


def test_noise_has_its_colour_and_is_another_for_another_clip() -> None:
    clean, known = sound(4.0), conditions.changes(RATE)
    for colour, expected in (("white", 10 * np.log10(8)), ("pink", 0.0)):  # eight times as wide, or an octave
        change = known[f"{colour} noise, SNR 0 dB"]
        power = np.abs(np.fft.rfft(change(clean, RATE, 3) - clean)) ** 2
        hertz = np.fft.rfftfreq(len(clean), 1 / RATE)
        low, high = (power[(hertz >= f) & (hertz < 2 * f)].sum() for f in (500, 4000))
        assert decibels(high / low) == pytest.approx(expected, abs=0.6)
        np.testing.assert_array_equal(change(clean, RATE, 3), change(clean, RATE, 3))
        assert np.abs(change(clean, RATE, 3) - change(clean, RATE, 4)).max() > 1e-3
    hushed, loud = (known[f"white noise, SNR {snr} dB"](clean, RATE, 3) - clean for snr in (20, 0))
    assert np.corrcoef(hushed, loud)[0, 1] > 0.999, "the same noise at every ratio"


# --- rooms


def decay_time(response: np.ndarray) -> float:
    """RT60 from the slope of Schroeder's backward integral between -5 and -35 dB."""
    left = np.cumsum(np.square(response[::-1], dtype=np.float64))[::-1]
    level = 10 * np.log10(left / left[0])
    there = np.flatnonzero((level <= -5) & (level >= -35))
    slope = np.polyfit(there / RATE, level[there], 1)[0]
    return float(-60 / slope)


@pytest.mark.parametrize("rt60", [0.3, 0.8, 1.5])
def test_a_room_decays_in_its_time_and_keeps_the_power(rt60: float) -> None:
    change, click = conditions.changes(RATE)[f"room, RT60 {rt60} s"], np.zeros(2 * RATE, np.float32)
    click[100] = 1
    times = []
    for clip in range(8):
        heard = change(click, RATE, clip)
        assert np.abs(heard[:100]).max() < 1e-6, "nothing is heard before the sound"
        times.append(decay_time(heard[100:]))
        assert (heard[100:] ** 2).sum() == pytest.approx(1, abs=1e-3)
        assert heard[100] ** 2 == pytest.approx(0.5, abs=1e-4)
    assert np.mean(times) == pytest.approx(rt60, rel=0.03) and np.std(times) > 0
    assert times == pytest.approx([rt60] * 8, rel=0.1)


def test_a_room_is_a_convolution_cut_at_the_end() -> None:
    short, response = sound(0.25), conditions.room_response(0.3, RATE, seed=4)
    np.testing.assert_allclose(
        conditions.reverberant(short, RATE, rt60=0.3, seed=4),
        np.convolve(short.astype(np.float64), response)[: len(short)],
        atol=1e-6,
    )
    with pytest.raises(ValueError, match="rt60 is 0"):
        conditions.room_response(0, RATE, seed=1)


def test_a_box_shaped_room_has_the_reflections_that_one_counts_by_hand() -> None:
    """Each image by a loop of its own: which walls it met, how far it is."""
    for seed in (1, 2):
        response = conditions.image_response(0.2, RATE, seed=seed)
        rng = np.random.default_rng(seed)
        size = rng.uniform((3.0, 3.0, 2.4), (8.0, 6.0, 3.5))
        source, microphone = (rng.uniform(0.5, size - 0.5) for _ in range(2))
        area = 2 * (size[0] * size[1] + size[1] * size[2] + size[2] * size[0])
        kept = math.sqrt(1 - 0.161 * float(size.prod()) / (area * 0.2))
        direct, found = math.dist(source, microphone), np.zeros(len(response))
        for x, y, z in itertools.product(range(-15, 16), repeat=3):
            # Walls are met one after the other: after m of them a coordinate is mirrored where m is odd.
            image = [
                m * length + (at if m % 2 == 0 else length - at)
                for m, length, at in zip((x, y, z), size, source, strict=True)
            ]
            distance = math.dist(image, microphone)
            place = round((distance - direct) * RATE / 343.0)
            if place < len(found):
                found[place] += kept ** (abs(x) + abs(y) + abs(z)) / distance
        found = sosfilt(butter(2, 100.0, "highpass", fs=RATE, output="sos"), found)
        power = np.abs(np.fft.rfft(response, 1 << 15)) ** 2
        assert power[np.fft.rfftfreq(1 << 15, 1 / RATE) < 100].sum() < 0.01 * power.sum()
        early = slice(0, round(0.03 * RATE))  # all images that near are in the loop
        scale = response[0] / found[0]
        np.testing.assert_allclose(response[early], scale * found[early], rtol=1e-9, atol=1e-12)
    with pytest.raises(ValueError, match=r"rt60 is 0\.01: a room of"):
        conditions.image_response(0.01, RATE, seed=1)


# --- MP3


@pytest.mark.parametrize(
    "rate, samples", [(16000, 80000), (16000, 80086), (32000, 40001), (8000, 700), (16000, 1)]
)
def test_mp3_comes_back_in_step_to_the_sample(rate: int, samples: int) -> None:
    clean = sound(6.0)[:samples]
    back = conditions.through_mp3(clean, rate)
    assert back.shape == clean.shape and back.dtype == np.float32
    if samples < 100:
        return
    size = 1 << (2 * samples).bit_length()
    products = np.fft.irfft(np.fft.rfft(back, size) * np.conj(np.fft.rfft(clean, size)), size)
    assert int(products.argmax()) == 0, "lag in samples"
    assert np.corrcoef(back, clean)[0, 1] > 0.75


def test_mp3_loses_what_its_bits_do_not_hold() -> None:
    clean = sound(3.0)
    at_32, at_128 = (
        decibels(
            ((conditions.through_mp3(clean, RATE, bit_rate=bits) - clean) ** 2).mean() / (clean**2).mean()
        )
        for bits in (32_000, 128_000)
    )
    assert at_128 < at_32 - 6 and at_32 < -3
    np.testing.assert_array_equal(
        conditions.changes(RATE)["MP3 at 32 kbit/s"](clean, RATE, 0), conditions.through_mp3(clean, RATE)
    )
    with pytest.raises(ValueError, match="rate is 12345"):
        conditions.through_mp3(clean, 12345)


# --- microphones


@pytest.mark.parametrize(("centre", "peak", "sharpness"), [(1000.0, 12.0, 2.0), (300.0, -9.0, 3.0)])
def test_a_peak_has_its_place_height_and_width(centre: float, peak: float, sharpness: float) -> None:
    rate = 192_000  # high, so that the width is that of the analogue filter
    section = conditions.peaking(centre, peak, sharpness, rate)
    hertz = np.geomspace(20, 20_000, 20_001)
    level = 20 * np.log10(np.abs(freqz(section[:3], section[3:], hertz, fs=rate)[1]))
    furthest = int(np.abs(level).argmax())
    assert hertz[furthest] == pytest.approx(centre, rel=1e-3) and level[furthest] == pytest.approx(
        peak, abs=1e-3
    )
    assert abs(level[0]) < 0.1 and abs(level[-1]) < 0.1
    within = hertz[level / peak >= 0.5]  # half of the decibels: a band as wide as centre / Q
    assert within[-1] - within[0] == pytest.approx(centre / sharpness, rel=0.01)


def test_a_microphone_keeps_the_power_and_is_another_for_another_clip() -> None:
    heard = [conditions.through_microphone(sound(), RATE, decibels=12.0, seed=seed) for seed in range(30)]
    for one in heard:
        assert decibels((one**2).mean() / (sound() ** 2).mean()) == pytest.approx(0, abs=1e-3)
    curve_BF = np.array([np.abs(np.fft.rfft(one)) for one in heard]) / np.abs(np.fft.rfft(sound()))
    inside = slice(400, 12_000)  # 200 to 6,000 Hz
    furthest_B = np.abs(20 * np.log10(curve_BF[:, inside])).max(1)
    assert 4 < np.median(furthest_B) < 25 and furthest_B.std() > 1


@pytest.mark.parametrize("slope", [-3, 3])
def test_a_tilt_is_its_decibels_an_octave_and_keeps_the_power(slope: int) -> None:
    heard = conditions.changes(RATE)[f"tilted {slope:+d} dB an octave"](sound(), RATE, 0)
    assert decibels((heard**2).mean() / (sound() ** 2).mean()) == pytest.approx(0, abs=1e-3)
    level_F = 20 * np.log10(np.abs(np.fft.rfft(heard)) / np.abs(np.fft.rfft(sound())))
    hertz = np.fft.rfftfreq(len(heard), 1 / RATE)
    octaves = [level_F[int(np.argmin(np.abs(hertz - one)))] for one in (100, 200, 400, 800, 1600, 3200, 6400)]
    assert np.diff(octaves) == pytest.approx([slope] * 6, abs=0.05)


# --- bands and excerpts


@pytest.mark.parametrize("rate, limit", [(16000, 4), (32000, 8), (32000, 4)])
def test_nothing_is_left_above_a_band_and_all_below(rate: int, limit: int) -> None:
    noise = np.random.default_rng(1).standard_normal(2 * rate + 1).astype(np.float32) * 0.1
    kept = conditions.changes(rate)[f"nothing above {limit} kHz"](noise, rate, 0)
    assert kept.shape == noise.shape and kept.dtype == np.float32
    before, after = (np.abs(np.fft.rfft(x[1000:-1000])) ** 2 for x in (noise, kept))
    hertz = np.fft.rfftfreq(len(noise) - 2000, 1 / rate)
    above, below = hertz > 1000 * limit, hertz < 900 * limit
    assert decibels(after[above].sum() / before[above].sum()) < -40
    assert decibels(after[below].sum() / before[below].sum()) == pytest.approx(0, abs=0.05)
    assert f"nothing above {limit} kHz" not in conditions.changes(2000 * limit)
    with pytest.raises(ValueError, match="less than"):
        conditions.band_limited(noise, rate, limit=rate / 2)


def test_the_loudest_stretch_is_the_one_with_the_most_energy() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        x = rng.standard_normal(50)
        best = max(range(40), key=lambda start: float((x[start : start + 11] ** 2).sum()))
        np.testing.assert_array_equal(conditions.loudest(x, 11), x[best : best + 11])
    assert len(conditions.loudest(x, 60)) == 50


def test_every_change_keeps_length_and_input_and_takes_silence() -> None:
    for name, change in conditions.changes(RATE).items():
        for clean in (sound(0.5), np.zeros(4000, np.float32)):
            kept = clean.copy()
            after = change(clean, RATE, 5)
            assert after.shape == clean.shape and after.dtype == np.float32 and np.isfinite(after).all(), name
            np.testing.assert_array_equal(clean, kept, err_msg=name)


# --- figures


def by_hand(
    targets: np.ndarray, scores: np.ndarray, groups: np.ndarray, draws: int
) -> tuple[np.ndarray, np.ndarray]:
    """Accuracy and mAP of the clips, then of each draw of groups, all clips of a drawn group together."""
    names = sorted(set(groups))
    rng, rows = np.random.default_rng(0), [np.arange(len(groups))]
    for _ in range(draws):
        drawn = rng.integers(len(names), size=len(names))
        rows.append(np.concatenate([np.flatnonzero(groups == names[g]) for g in drawn]))
    accuracies = [float(targets[r, scores[r].argmax(1)].mean()) for r in rows]
    maps = []
    for r in rows:
        there = [k for k in range(targets.shape[1]) if targets[r, k].any()]
        maps.append(float(np.mean([average_precision_score(targets[r, k], scores[r, k]) for k in there])))
    return np.array(accuracies), np.array(maps)


def test_paired_differences_are_those_of_a_bootstrap_by_hand() -> None:
    rng, draws = np.random.default_rng(3), 80
    groups = np.array([f"r{n}" for n in rng.integers(15, size=60)])
    targets = np.eye(4, dtype=bool)[rng.integers(4, size=60)]
    good, bad = (targets * lift + rng.uniform(size=(60, 4)).round(1) for lift in (0.6, 0.2))
    rows = paired(targets, {"unchanged": good, "changed": bad}, groups, draws=draws)
    assert [row["name"] for row in rows] == ["unchanged", "changed"]
    for before, after, figure in zip(
        by_hand(targets, good, groups, draws), by_hand(targets, bad, groups, draws), ("accuracy", "map"),
        strict=True,
    ):  # fmt: skip
        apart = after - before
        drawn = np.sort(apart[1:])
        moved = drawn + apart[0] - drawn[(draws - 1) // 2]
        assert rows[0][figure] == pytest.approx(before[0]) and rows[1][figure] == pytest.approx(after[0])
        assert rows[1][f"{figure}_difference"] == pytest.approx(apart[0])
        assert rows[1][f"{figure}_interval"] == pytest.approx([moved[2], moved[-3]])
    same = paired(targets, {"unchanged": good, "same": good}, groups, draws=draws)[1]
    assert same["map_difference"] == 0 and same["map_interval"] is None


def test_confusions_are_counted_one_way_the_most_first() -> None:
    rng = np.random.default_rng(5)
    labels, true, said = list("abcde"), rng.integers(5, size=300), rng.integers(5, size=300)
    rows = most_confused(np.eye(5, dtype=bool)[true], np.eye(5)[said], labels, most=7)
    pairs = Counter((labels[i], labels[j]) for i, j in zip(true, said, strict=True) if i != j)
    expected = sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0]))[:7]
    assert [((row["is"], row["taken_for"]), row["clips"]) for row in rows] == expected
    assert all(row["of"] == int((true == labels.index(row["is"])).sum()) for row in rows)


def test_the_calibration_error_is_that_of_bins_by_hand() -> None:
    rng = np.random.default_rng(6)
    scores, targets = rng.uniform(size=(200, 4)), np.eye(4, dtype=bool)[rng.integers(4, size=200)]
    found = calibration(targets, scores, np.arange(200) // 2, draws=100)

    def error(values: np.ndarray, true: np.ndarray) -> float:
        parts = [(values >= b / 15) & (values < (b + 1) / 15) for b in range(15)]
        return sum(abs(values[p].sum() - true[p].sum()) for p in parts) / len(values)

    best = scores.argmax(1)
    assert found["ece"] == pytest.approx(error(scores.ravel(), targets.ravel()))
    assert found["ece_top"] == pytest.approx(error(scores.max(1), targets[np.arange(200), best]))
    low, high = found["intervals"]["ece_top"]
    assert low < found["ece_top"] < high


# --- models


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("robustness")
    with (folder / "meta.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "split", "group", "labels"])
        for n in range(24):
            clip = sound(1.1, seed=n)[::2] * (1 + n % 3)
            soundfile.write(folder / f"{n}.wav", clip, tiny_model.RATE)
            writer.writerow([f"{n}.wav", f"fold{1 + n // 2 % 2}", f"r{n // 2}", tiny_model.LABELS[n % 3]])
    pack(folder / "meta.csv", folder / "pack", rate=tiny_model.RATE, quiet=True)
    return folder / "pack"


def save_folds(folder: Path, packed: Path) -> None:
    """Two models that contradict each other, each evaluated on its fold."""
    for fold, content in (("fold1", tiny_model.graph()), ("fold2", other_graph())):
        model = tiny_model.save(folder / fold / "run" / "last", content=content)
        evaluate(model, packed, splits=[fold], out=folder / fold, draws=0, quiet=True)


def other_graph() -> bytes:
    import onnx
    from onnx import numpy_helper

    model = onnx.load_from_string(tiny_model.graph())
    for tensor in model.graph.initializer:
        if tensor.name == "matrix":
            tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), "matrix"))
    return bytes(model.SerializeToString())


def test_each_model_is_asked_about_its_own_fold(packed: Path, tmp_path: Path) -> None:
    save_folds(tmp_path, packed)
    told: list[str] = []
    found = measure(packed, tmp_path, only=["gain -20 dB"], threads=1, draws=50, say=told.append)
    reports = {
        fold: json.loads((tmp_path / fold / "metrics.json").read_text()) for fold in ("fold1", "fold2")
    }
    by_name = {row["name"]: row for row in [*found["changes"], *found["windows"]]}
    mean = np.mean([report["accuracy"] for report in reports.values()])
    assert by_name["unchanged"]["accuracy"] == pytest.approx(mean)
    assert found["clips"] == 24 and found["recordings"] == 12
    assert found["models"] == {fold: report["model_fingerprint"] for fold, report in reports.items()}
    assert by_name["windows of 0.5 s"].keys() >= {"accuracy_difference", "map_interval"}
    assert list(by_name)[:2] == ["unchanged", "gain -20 dB"] and "hop of 0.5 s" in by_name
    assert len(told) == 2 * (2 + 10 + 3) and json.loads(json.dumps(found)) == found
    lines = model_card(
        load_artifact(tiny_model.save(tmp_path / "card", metrics={"robustness": found}).path)
    ).splitlines()
    heads = [line for line in lines if line.startswith("## ")]
    assert heads[:4] == ["## Robustness", "## Windows", "## Most confused", "## Calibration out of fold"]
    row = by_name["gain -20 dB"]
    assert any(
        line.startswith(f"| gain -20 dB | {row['accuracy']:.3f} | {row['accuracy_difference']:+.3f}")
        for line in lines
    )
    file = tmp_path / "robustness.json"
    file.write_text(json.dumps(found))
    assert robustness.read_measured(file, tmp_path) == found
    # Models of other folds in place of those that were evaluated.
    tiny_model.save(tmp_path / "fold1" / "run" / "last", content=other_graph())
    with pytest.raises(ValueError, match="of another model or pack"):
        measure(packed, tmp_path, only=["gain -20 dB"], threads=1, draws=5)
    file.write_text(json.dumps(found | {"models": {"fold1": "another"}}))
    with pytest.raises(ValueError, match="is of other models"):
        robustness.read_measured(file, tmp_path)
    with pytest.raises(ValueError, match="no change is called 'thunder'"):
        measure(packed, tmp_path, only=["thunder"])


@pytest.mark.parametrize(
    "condition, fields",
    [
        (Condition(hop=0.125), {"hop": 1000}),
        (Condition(window=0.5), {"window": 4000, "hop": 4000}),
        (Condition(window=0.1), {"window": 800, "hop": 800}),
    ],
)
def test_other_windows_are_those_of_a_model_saved_with_them(
    packed: Path, tmp_path: Path, condition: Condition, fields: dict[str, int]
) -> None:
    clips, shown = np.arange(10), Pack(packed)
    window = fields.get("window", tiny_model.WINDOW)
    waveform = sound(1.0)[None, :window]
    plain = tiny_model.save(tmp_path / "plain")
    session = tiny_model.onnxruntime.InferenceSession(tiny_model.graph())
    check = (waveform, session.run(["logits"], {"waveform": waveform})[0])
    other = tiny_model.save(tmp_path / "other", check=check, **fields)
    ours = score(plain, shown, clips, condition, threads=1)
    np.testing.assert_allclose(ours, score(other, shown, clips, Condition(), threads=1), atol=1e-6)
    assert np.abs(ours - score(plain, shown, clips, Condition(), threads=1)).max() > 1e-4


def test_an_excerpt_is_all_that_is_heard(packed: Path, tmp_path: Path) -> None:
    plain, shown = tiny_model.save(tmp_path / "plain"), Pack(packed)
    scores = score(plain, shown, np.arange(4), Condition(window=0.25, excerpt=True), threads=1)
    session = tiny_model.onnxruntime.InferenceSession(tiny_model.graph())
    for clip in range(4):
        part = conditions.loudest(shown.samples(clip).astype(np.float32) / 32768, 2000)
        logits = session.run(["logits"], {"waveform": part[None]})[0][0]
        np.testing.assert_allclose(scores[clip], 1 / (1 + np.exp(-logits)), atol=1e-5)


def test_a_net_of_one_window_is_told_from_one_of_any(tmp_path: Path) -> None:
    for name, arguments, expected in (
        ("fully_connected", {"units": 4, "layers": 1}, False),
        ("compact", {"stem": 4, "widths": [4], "blocks": [1]}, True),
    ):
        net = build(name, num_classes=2, **arguments).eval()
        heard = sound(1.0)[None, :15600]
        with torch.inference_mode():
            logits = net(LogMel(FeatureConfig())(torch.from_numpy(heard))).numpy()
        entry = {"kind": "logmel", "rate": RATE, "features": FeatureConfig().as_dict()}
        artifact = save_artifact(
            tmp_path / name,
            weights={key: value.numpy() for key, value in net.state_dict().items()},
            architecture={"name": name, "arguments": {"num_classes": 2, **arguments}},
            inputs=[entry],
            labels=("a", "b"),
            window=15600,
            hop=15600,
            embedding_size=net.embedding_size,
            check=(heard, logits),
        )
        assert robustness.fits(artifact, 0.5) == expected and robustness.fits(artifact, 0.975)
        listened = SimpleNamespace(
            path="p", rate=RATE, samples=lambda clip: (sound(1.2) * 32767).astype(np.int16)
        )
        scores = score(artifact, listened, np.arange(1), Condition(window=0.5, excerpt=True), threads=1)
        assert scores.shape == (1, 2), "padded to its own window where it takes no other"


# --- speed against accuracy


def test_the_figure_is_drawn_from_made_up_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(ROOT / "benchmarks")
    speed = load_script("benchmarks/speed_accuracy.py")
    rows = [("compact-esc50", "ESC-50", f"fold{n}", "accuracy", 0.8 + n / 100) for n in range(1, 6)]
    rows += [
        ("compact-esc50", "ESC-50", "mean", "accuracy", 0.83),
        ("compact-esc50", "ESC-50", "mean", "map", 0.9),
    ]
    for steps, value in ((600, 0.5), (2040, 0.6), (300, 0.7)):
        rows.append(
            (
                f"architectures: resnet50, width 0.25, {steps} steps, seed 0",
                "ESC-50",
                "fold5",
                "accuracy",
                value,
            )
        )
    for seed, value in enumerate((0.4, 0.5, 0.6)):
        name = f"mix-training: raw_waveform, none, width 0.25, 1200 + 240 steps, seed {seed}"
        rows.append((name, "ESC-50", "fold5", "accuracy", value))
    rows += [
        (f"architectures: alexnet, width {w}, 600 steps, seed 0", "ESC-50", "fold5", "accuracy", 0.6)
        for w in (0.25, 0.5, 1.0)
    ]
    rows += [("architectures: vgg, width 0.25, 600 steps, seed 0", "Scenes", "test", "accuracy", 0.99)]
    best = ", seed=2, taught by 2, begun by third"
    for told, value in (("", 0.8), (best, 0.9), (", seed=1, taught by 1", 0.7)):
        for fold in ("fold1", "fold2", "mean"):
            rows.append(
                (f"compact-esc50-robust{told}", "ESC-50, made sounds beside", fold, "accuracy", value)
            )
    with (tmp_path / "results.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["recipe", "data", "fold", "metric", "ours"])
        writer.writerows(rows)
    networks = speed.trained(tmp_path / "results.csv")
    by_name = {one.name: one for one in networks}
    assert (by_name["compact-esc50"].accuracy, by_name["compact-esc50"].low) == (0.83, 0.81)
    assert by_name["resnet50, width 0.25"].accuracy == 0.6, "the longest training counts"
    raw = by_name["raw_waveform, width 0.25"]
    assert (raw.accuracy, raw.low, raw.high) == (pytest.approx(0.5), 0.4, 0.6)
    assert not any("vgg" in name for name in by_name), "not on ESC-50"
    taught = by_name["compact-esc50-robust"]
    assert (taught.accuracy, taught.low, taught.high) == (0.9, 0.9, 0.9), "the one with most teachers counts"
    networks += speed.published()
    for n, one in enumerate(networks):
        one.speed = {"1": 40.0 + n, "2": 70.0 + n}  # as near to each other as can be
    boxes = speed.draw(networks, tmp_path / "speed.png", 2, "a processor")
    assert (tmp_path / "speed.png").stat().st_size > 20_000
    assert len(boxes) == len(by_name)
    assert not any(a.overlaps(b) for n, a in enumerate(boxes) for b in boxes[:n])
    lines = speed.table(networks)
    assert len(lines) == 2 + len(networks) and "0.830 (0.810 to 0.850)" in "\n".join(lines)
