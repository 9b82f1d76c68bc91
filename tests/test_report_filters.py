"""Learned filters: what is made at a frequency is found there, a bank is said to lie where it was laid."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from running import run
from test_report_priors import self_contained

from auricle.artifact import load_artifact, save_artifact
from auricle.features import hertz_to_mel, mel_to_hertz
from auricle.report.filters import (
    SCALES,
    WEIGHT,
    Filters,
    first_layer,
    fit_scale,
    in_words,
    measure_filters,
    random_banks,
    scale_cells,
    scale_distances,
    summarise,
)
from auricle.report.filters_page import draw_filters, filter_cells, filters_html

RATE = 16000


def gabors(hertz: np.ndarray, taps: int = 80) -> np.ndarray:
    """(F, taps): a Hann window over a cosine of each frequency."""
    time = (np.arange(taps) - (taps - 1) / 2) / RATE
    return np.hanning(taps) * np.cos(2 * np.pi * np.asarray(hertz, float)[:, None] * time)


def shuffled(taps: np.ndarray, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).permutation(taps)


def spaced(scale: str, count: int, low: float = 300.0, high: float = 7200.0) -> np.ndarray:
    """Frequencies at equal steps of a scale, found by bisection: the scale's inverse written another way."""
    wanted = np.linspace(SCALES[scale](np.array(low)), SCALES[scale](np.array(high)), count)
    left, right = np.full(count, 1.0), np.full(count, 8000.0)
    for _ in range(60):
        middle = (left + right) / 2
        below = SCALES[scale](middle) < wanted
        left, right = np.where(below, middle, left), np.where(below, right, middle)
    return left


# --- single filters


@pytest.mark.parametrize("taps", [80, 81, 400])
def test_gabor_filters_come_out_at_their_frequencies_in_order(taps: int) -> None:
    hertz = np.array([5000.0, 700.0, 7300.0, 2500.0, 1000.0])
    bank = measure_filters(gabors(hertz, taps), RATE)
    assert bank.kind.tolist() == ["band"] * 5
    # The spectrum is read every 2 Hz, and at 80 taps the mirrored lobe leans on it.
    np.testing.assert_allclose(bank.centre, np.sort(hertz), atol=3)
    np.testing.assert_array_equal(hertz[bank.place], np.sort(hertz))
    np.testing.assert_array_equal(bank.taps, gabors(np.sort(hertz), taps))


def test_noise_in_the_taps_moves_a_mean_of_power_but_not_the_peak() -> None:
    noise = np.random.default_rng(3).normal(0, 0.15, (1, 80))
    bank = measure_filters(gabors(np.array([800.0])) + noise, RATE)
    power = bank.response[0] ** 2
    mean = power @ np.linspace(0, RATE / 2, len(power)) / power.sum()
    assert abs(bank.centre[0] - 800) < 40 and mean > 1100


def test_bandwidth_is_the_area_of_the_power_over_its_height() -> None:
    taps = np.random.default_rng(0).normal(0, 1, (6, 80))
    bank = measure_filters(taps, RATE)
    at = np.linspace(0, RATE / 2, 20001)  # the sum over taps written out, on another grid
    waves = np.exp(-2j * np.pi * np.outer(at, np.arange(80)) / RATE)
    for n, place in enumerate(bank.place):
        power = np.abs(waves @ taps[place]) ** 2
        area = np.trapezoid(power, at)
        assert bank.bandwidth[n] == pytest.approx(area / power.max(), rel=1e-3)
        assert bank.peak[n] == pytest.approx(10 * np.log10(power.max()), abs=0.01)
        assert bank.centre[n] == pytest.approx(at[power.argmax()], abs=2)


def test_a_plain_cosine_has_the_least_bandwidth_that_its_taps_allow() -> None:
    time = np.arange(80) / RATE
    bank = measure_filters(np.cos(2 * np.pi * 3000 * time)[None], RATE)
    assert bank.bandwidth[0] == pytest.approx(RATE / 80, rel=1e-3)
    assert bank.peak[0] == pytest.approx(20 * np.log10(40), abs=0.01)


def test_low_high_and_dead_filters_have_places_of_their_own() -> None:
    taps = np.concatenate(
        [
            gabors(np.array([4000.0, 2000.0])),
            np.zeros((1, 80)),
            np.hanning(80)[None],  # greatest at 0 Hz
            (np.hanning(80) * np.resize([1, -1], 80))[None],  # at half the rate
            1e-9 * gabors(np.array([1000.0])),
        ]
    )
    bank = measure_filters(taps, RATE)
    assert bank.kind.tolist() == ["low", "band", "band", "high", "dead", "dead"]
    assert bank.place.tolist() == [3, 1, 0, 4, 2, 5]
    assert bank.centre[0] == 0 and bank.centre[3] == 8000 and np.isnan(bank.centre[4:]).all()
    np.testing.assert_allclose(bank.centres, [2000, 4000], atol=3)
    assert np.isneginf(bank.peak[4]) and not bank.response[4:].any()
    assert bank.response[:4].max(axis=1).tolist() == [1] * 4
    assert "Left out: 1 greatest at 0 Hz, 1 greatest at half the rate, 2 dead" in in_words(
        summarise(bank, 10)
    )
    assert [cells[2:] for cells in filter_cells(bank)[4:]] == [["dead", "-", "-", "-"]] * 2


@pytest.mark.parametrize(
    "taps, said",
    [
        (np.zeros((4, 80)), "every filter is zero"),
        (np.full((1, 8), np.nan), "not a number"),
        (np.zeros(80), r"shape \(80,\); expected \(filters, taps\)"),
        (np.zeros((0, 80)), r"shape \(0, 80\)"),
    ],
)
def test_what_is_no_bank_of_filters_is_refused(taps: np.ndarray, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        measure_filters(taps, RATE)


def test_filters_longer_than_the_grid_are_measured_whole() -> None:
    bank = measure_filters(gabors(np.array([1234.0]), 10_000), RATE)
    assert bank.centre[0] == pytest.approx(1234, abs=0.5)


# --- scales


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("taps, count", [(80, 16), (80, 64), (400, 32)])
def test_a_bank_laid_on_a_scale_is_said_to_lie_on_it(scale: str, taps: int, count: int) -> None:
    bank = measure_filters(shuffled(gabors(spaced(scale, count), taps)), RATE)
    summary = summarise(bank, 10)
    assert summary["nearest"] == scale
    distances = {name: row["distance"] for name, row in summary["scales"].items()}
    assert distances[scale] < 0.012 * count
    assert distances[scale] < 0.7 * min(value for name, value in distances.items() if name != scale)
    assert f"Nearest to the {scale} scale" in in_words(summary)


def test_mel_spaced_filters_are_found_on_mel_through_jitter_and_noise() -> None:
    random = np.random.default_rng(1)
    for _ in range(20):
        mel = np.linspace(hertz_to_mel(200.0), hertz_to_mel(7200.0), 32)
        hertz = mel_to_hertz(mel + random.normal(0, 30, 32))
        bank = measure_filters(gabors(hertz) + random.normal(0, 0.05, (32, 80)), RATE)
        summary = summarise(bank, 50)
        assert summary["scales"]["mel"]["distance"] < summary["scales"]["linear"]["distance"] / 2
        assert summary["scales"]["mel"]["as_near"] == 0  # of the random banks


def test_the_distance_is_that_of_a_least_squares_line_through_the_ranks() -> None:
    centres = np.sort(np.random.default_rng(0).uniform(100, 7000, 20))
    for scale, places in SCALES.items():
        line = np.polyfit(places(centres), np.arange(20), 1)
        left = np.arange(20) - np.polyval(line, places(centres))
        start, slope, distance = fit_scale(centres, scale)
        np.testing.assert_allclose([slope, start], line, rtol=1e-6)
        assert distance == pytest.approx(np.sqrt(np.mean(left**2)), abs=1e-8)


def test_distances_do_not_depend_on_the_unit_of_a_scale() -> None:
    centres = np.sort(np.random.default_rng(0).uniform(100, 7000, 20))
    before = scale_distances(centres)["linear"]
    assert before == pytest.approx(fit_scale(centres / 1000, "linear")[2], abs=1e-8)


@pytest.mark.parametrize("hertz", [[], [1000.0], [1000.0, 3000.0], [2000.0] * 5])
def test_filters_that_span_no_range_are_compared_with_nothing(hertz: list[float]) -> None:
    taps = np.concatenate([gabors(np.array(hertz)), np.hanning(80)[None]])
    bank = measure_filters(taps, RATE)
    summary = summarise(bank, 10)
    assert summary["nearest"] is None
    assert all(value is None for row in summary["scales"].values() for value in row.values())
    assert "too few to compare" in in_words(summary) or len(hertz) == 5
    assert draw_filters(bank, draws=10).axes


def test_the_scales_are_the_published_ones() -> None:
    at = np.array([0.0, 1000.0, 8000.0])
    np.testing.assert_allclose(SCALES["mel"](at), [0, 1000, 2840], atol=1)
    # Bark's bands: 1 kHz is in the middle of the ninth, between 8 and 9. ERB-rate at 1 kHz is 15.6.
    np.testing.assert_allclose(SCALES["Bark"](at[1:]), [8.53, 21.0], atol=0.05)
    np.testing.assert_allclose(SCALES["ERB"](at), [0, 15.6, 33.3], atol=0.1)


def test_untrained_filters_lie_on_the_linear_scale() -> None:
    random = random_banks(64, 80, RATE, 100)
    assert all(len(values) == 100 for values in random.values())
    assert np.percentile(random["linear"], 95) < np.percentile(random["mel"], 5)
    assert (np.diff(random["mel"]) >= 0).all()
    # The greatest of 40 independent powers is about 4.3 times their mean.
    assert np.median(random["bandwidth"]) == pytest.approx(8000 / 4.6, rel=0.15)


def test_untrained_filters_are_told_from_learned_ones_by_their_reference() -> None:
    noise = np.random.default_rng(5).normal(0, 1, (40, 80))
    summary = summarise(measure_filters(noise, RATE), 100)
    assert summary["nearest"] == "linear"
    assert 0.02 < summary["scales"]["linear"]["as_near"] < 0.98
    assert summary["bandwidth"] == pytest.approx(summary["random_bandwidth"], rel=0.2)


def test_torchs_own_first_weights_are_what_the_reference_takes_them_for() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    torch.manual_seed(0)
    weight = torch.nn.Conv1d(1, 64, 80).weight.detach().numpy()[:, 0]
    summary = summarise(measure_filters(weight, RATE), 100)
    assert summary["nearest"] == "linear" and summary["scales"]["linear"]["as_near"] > 0.02


# --- what is drawn


def by_gid(axes: object, gid: str) -> list:
    return [artist for artist in axes.get_children() if artist.get_gid() == gid]  # type: ignore[attr-defined]


def mixed_bank() -> Filters:
    taps = np.concatenate([gabors(spaced("mel", 14)), np.hanning(80)[None], np.zeros((1, 80))])
    return measure_filters(shuffled(taps), RATE)


def test_the_picture_shows_what_was_measured() -> None:
    bank = mixed_bank()
    figure = draw_filters(bank, title="A bank", draws=10)
    responses, centres, bandwidths, waveforms = figure.axes[:4]
    (image,) = by_gid(responses, "responses")
    rows = np.asarray(image.get_array())
    middle = (np.arange(len(rows)) + 0.5) * 8000 / len(rows)
    for n in range(15):
        assert abs(middle[rows[:, n].argmax()] - bank.centre[n]) <= 8000 / len(rows)
    assert np.ma.getmaskarray(image.get_array())[:, 15].all()  # the dead one
    (points,) = by_gid(centres, "band")
    np.testing.assert_allclose(points.get_offsets(), np.c_[np.arange(2, 16), bank.centres / 1000])
    (low,) = by_gid(centres, "low")
    np.testing.assert_allclose(low.get_offsets(), [[1, 0]])
    (line,) = by_gid(centres, "mel")
    drawn = np.interp(np.arange(2, 16), line.get_xdata(), line.get_ydata())
    np.testing.assert_allclose(drawn, bank.centres / 1000, atol=0.15)  # the curve goes through the filters
    (cloud,) = bandwidths.collections
    np.testing.assert_allclose(cloud.get_offsets()[:, 1], bank.bandwidth[:15])
    assert [label.get_text().split(":")[0] for label in waveforms.get_yticklabels()] == [
        "1",
        "4",
        "7",
        "9",
        "12",
        "15",
    ]
    assert "Nearest to the mel scale" in figure.get_supxlabel()


def test_filters_before_training_stand_beside() -> None:
    """Their own distances and centres, whatever they were to become; "-" where nobody knows them."""
    taps = np.concatenate([gabors(spaced("linear", 14)), np.hanning(80)[None], np.zeros((1, 80))])
    bank, first = mixed_bank(), measure_filters(shuffled(taps, 1), RATE)
    summary = summarise(bank, 10, first)
    for scale, distance in scale_distances(spaced("linear", 14)).items():
        assert summary["scales"][scale]["before"] == pytest.approx(distance, abs=0.02)
    assert summary["nearest"] == "mel" and summary["bandwidth_before"] == np.nanmedian(first.bandwidth)
    cells = {row[0]: row[1:3] for row in scale_cells(summary)}
    assert cells["linear"] == [f"{scale_distances(bank.centres)['linear']:.2f}", "0.00"]
    words = in_words(summary)
    assert " Before training: linear 0.00, " in words and f"before training {bank.bandwidth[3]:,.0f}" in words
    unknown = summarise(bank, 10)
    assert [row[2] for row in scale_cells(unknown)] == ["-"] * 4 and unknown["bandwidth_before"] is None
    assert "efore training" not in in_words(unknown)

    centres = draw_filters(bank, draws=10, first=first).axes[1]
    (light,) = by_gid(centres, "before")
    np.testing.assert_allclose(light.get_offsets(), np.c_[np.arange(2, 16), first.centres / 1000])
    (points,) = by_gid(centres, "band")
    assert light.get_zorder() < points.get_zorder()
    assert not by_gid(draw_filters(bank, draws=10).axes[1], "before")
    assert "<td>0.00</td>" in filters_html(bank, title="", draws=10, first=first)


def test_the_page_holds_the_picture_and_a_row_for_each_filter() -> None:
    page = filters_html(mixed_bank(), title="<16> filters", draws=10)
    seen = self_contained(page)
    assert "&lt;16&gt; filters" in page
    images = [value for tag, name, value in seen.attributes if (tag, name) == ("img", "src")]
    assert len(images) == 1 and images[0].startswith("data:image/png;base64,")
    cells = np.reshape(seen.cells[4 * 7 :], (-1, 6))
    assert cells.tolist() == filter_cells(mixed_bank())
    assert len(cells) == 16 and seen.cells[0] == "mel"


# --- models, and the verb


def waveform_model(path: Path, taps: np.ndarray | None) -> Path:
    weights = {"head.weight": np.zeros((1, 2), np.float32)}
    if taps is not None:
        weights[WEIGHT] = taps.astype(np.float32)
    save_artifact(
        path,
        weights=weights,
        check=(np.zeros((1, 2048)), np.zeros((1, 1))),
        inputs=[{"kind": "waveform", "rate": RATE}],
        labels=("dog",),
        window=2048,
        hop=2048,
        embedding_size=2,
    )
    return path


def test_the_first_layer_is_read_from_the_model(tmp_path: Path) -> None:
    taps = gabors(spaced("mel", 16))
    model = load_artifact(waveform_model(tmp_path / "model", taps[:, None]))
    np.testing.assert_array_equal(first_layer(model), taps.astype(np.float32))


def test_the_raw_waveform_network_has_its_filters_where_they_are_looked_for(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="torch is not installed")
    from auricle.models import build

    net = build("raw_waveform", num_classes=2, depth_2d=18, bands=64, width=0.125)
    taps = net.state_dict()[WEIGHT].numpy()
    assert taps.shape == (8, 1, 80)
    model = load_artifact(waveform_model(tmp_path / "model", taps))
    np.testing.assert_array_equal(first_layer(model), taps[:, 0])


def test_the_verb_tells_the_first_weights_of_a_training_by_its_seed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Those that training began with, seen at the rate 0; and none where it began with another model."""
    pytest.importorskip("torch", reason="torch is not installed")
    from tones import config_for, make_corpus

    from auricle.training import train

    arguments = {"bands": 64, "depth_2d": 18, "width": 0.05, "hidden": 8, "input_shape": [4000]}
    plain: dict[str, Any] = {"speed_spread": 0.0, "gain_decibels": 0.0, "mask_frames": 0, "mask_bands": 0}
    config = config_for(
        make_corpus(tmp_path),
        model="raw_waveform",
        model_arguments=arguments,
        seed=3,
        steps=1,
        warmup_steps=0,
        learning_rate=1e-30,
        average=0.0,
        **plain,
    )
    train(config, tmp_path / "run", quiet=True)
    learned = measure_filters(first_layer(load_artifact(tmp_path / "run/last")), RATE // 2)
    warm = dataclasses.replace(config, init_from=str(tmp_path / "run/last"))
    train(warm, tmp_path / "warm", quiet=True)
    status, printed, err = run(capsys, "filters", tmp_path / "run/last", "--out", tmp_path / "x.html")
    assert (status, err) == (0, "")
    told = {line.split()[0]: line.split()[1:3] for line in printed.splitlines()[1:5]}
    distances = scale_distances(learned.centres)
    assert told == {scale: [f"{distance:.2f}"] * 2 for scale, distance in distances.items()}
    _, printed, _ = run(capsys, "filters", tmp_path / "warm/last", "--out", tmp_path / "x.html")
    assert [line.split()[2] for line in printed.splitlines()[1:5]] == ["-"] * 4


def test_without_torch_the_verb_leaves_out_what_was_before_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import auricle.cli.networks as module

    monkeypatch.setattr(module, "find_spec", lambda name: None)
    model = waveform_model(tmp_path / "model", gabors(spaced("mel", 16))[:, None])
    status, printed, err = run(capsys, "filters", model, "--out", tmp_path / "x.png")
    assert (status, err) == (0, "") and [line.split()[2] for line in printed.splitlines()[1:5]] == ["-"] * 4


@pytest.mark.parametrize("suffix, begins", [("png", b"\x89PNG"), ("svg", b"<?xml"), ("html", b"<!doctype")])
def test_the_verb_draws_and_prints_which_scale_is_nearest(
    suffix: str, begins: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = waveform_model(tmp_path / "model", gabors(spaced("mel", 16))[:, None])
    out = tmp_path / f"filters.{suffix}"
    status, printed, err = run(capsys, "filters", model, "--out", out)
    lines = printed.splitlines()
    assert (status, err) == (0, "")
    assert lines[0].split()[:2] == ["scale", "distance"] and lines[1].split()[0] == "mel"
    assert {line.split()[0] for line in lines[1:5]} == set(SCALES)
    assert lines[-1].startswith("Nearest to the mel scale: 0.")
    assert "; 0.0% of such banks are as near to mel. " in lines[-1]
    assert "Median bandwidth 3" in lines[-1] and "of random 1,6" in lines[-1]
    assert out.read_bytes().startswith(begins)
    before = out.read_bytes()
    run(capsys, "filters", model, "--out", out)
    assert out.read_bytes() == before  # the same filters, the same bytes


def test_a_model_without_filters_on_waveforms_is_told_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = {
        "default": "takes log-mels, so no layer of it has filters on waveforms",
        waveform_model(tmp_path / "other", None): "has no weight front.stem.0.weight",
        waveform_model(tmp_path / "flat", np.ones((4, 80))): "has the shape (4, 80); expected (filters, 1,",
        waveform_model(tmp_path / "zero", np.zeros((4, 1, 80))): "every filter is zero",
        tmp_path / "nowhere": "no model",
    }
    for model, said in cases.items():
        status, out, err = run(capsys, "filters", model, "--out", tmp_path / "x.png")
        assert (status, out) == (1, "") and len(err.splitlines()) == 1
        assert err.startswith("auricle: error: ") and said in err
        assert not (tmp_path / "x.png").exists()


def test_a_graph_on_waveforms_is_not_looked_into(tmp_path: Path) -> None:
    from types import SimpleNamespace

    graph = SimpleNamespace(path="x.onnx", backend="onnx", inputs=[{"kind": "waveform", "rate": RATE}])
    with pytest.raises(ValueError, match=r"x\.onnx: is a graph \(onnx\).*give the folder"):
        first_layer(graph)  # type: ignore[arg-type]


@pytest.mark.parametrize("name, status", [("x.bmp", 2), ("x", 2), ("none/x.png", 1)])
def test_names_that_cannot_be_written_are_told_first(
    name: str, status: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    got, out, err = run(capsys, "filters", tmp_path / "no model", "--out", tmp_path / name)
    assert (got, out) == (status, "") and "no model nor" not in err
    assert "expected a name that ends in one of .png" in err if status == 2 else "does not exist" in err
