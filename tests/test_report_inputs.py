"""Spectrogram beside embeddings: the axes agree, nothing is drawn of nothing, and the verb draws a file."""

from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny_model import save_file

from auricle.cli import main
from auricle.features import FeatureConfig, log_mel
from auricle.presets import librosa_defaults
from auricle.report.inputs import draw_inputs

SPANS = [(0.96 * window, 0.96 * window + 0.975) for window in range(10)]


def test_both_stand_on_one_axis_of_time() -> None:
    samples = np.random.default_rng(0).standard_normal(441_000).astype(np.float32)
    logmel = log_mel(samples, librosa_defaults())
    embeddings = np.random.default_rng(1).standard_normal((10, 128))
    figure = draw_inputs(logmel, embeddings, SPANS, seconds=10.0, title="street.wav", embedder="vggish")
    above, below = figure.axes[:2]
    assert above.get_xlim() == below.get_xlim() == (0.0, 10.0)
    assert above.get_title(loc="left") == "street.wav\nlog-mel spectrogram: 128 bands, 862 frames"
    assert below.get_title(loc="left") == "vggish: 128 values, 10 windows"
    image, mesh = above.images[0], below.collections[0]
    assert image.get_array().shape == (128, 862) and image.get_clim() == (-80.0, 0.0)
    np.testing.assert_array_equal(mesh.get_array(), embeddings.T)
    corners = mesh.get_coordinates()[0, :, 0]
    np.testing.assert_allclose(corners, [*(0.96 * np.arange(10)), 9 * 0.96 + 0.975])
    ticks = dict(zip([t.get_text() for t in above.get_yticklabels()], above.get_yticks(), strict=True))
    assert list(ticks) == ["0.25", "1", "2", "4", "8", "16"]
    # 1 kHz is 15 of Slaney's 59.99 mels: band centres lie 60 / 129 apart, the first one step up.
    assert ticks["1"] == pytest.approx(15 / (59.99 / 129) - 0.5, abs=0.1)


def test_natural_logarithms_and_excerpts_are_drawn_too() -> None:
    logmel = log_mel(np.random.default_rng(2).standard_normal(16_000), FeatureConfig())
    figure = draw_inputs(logmel, np.ones((1, 3)), [(5.0, 6.0)], config=FeatureConfig(), start=5, seconds=1)
    assert figure.axes[0].get_xlim() == (5, 6)
    assert figure.axes[0].images[0].get_clim()[0] == pytest.approx(np.log(0.01))


@pytest.mark.parametrize(("frames", "windows", "spans"), [(0, 10, SPANS), (862, 0, []), (862, 10, SPANS[:9])])
def test_nothing_is_drawn_of_nothing(frames: int, windows: int, spans: list[tuple[float, float]]) -> None:
    with pytest.raises(ValueError, match=rf"expected log-mel .* got \({frames}, 128\), \({windows}, 4\)"):
        draw_inputs(np.zeros((frames, 128)), np.zeros((windows, 4)), spans, seconds=10)


def test_the_verb_draws_ten_seconds_or_what_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    save_file(Path("tiny.onnx"))
    soundfile.write("street.wav", 0.1 * np.random.default_rng(3).standard_normal(12 * 22_050), 22_050)
    for options, said in (
        ([], "862 frames of 128 bands, 40 windows of 4 values"),
        (["--start", "11"], "87 frames of 128 bands, 4 windows of 4 values"),
        (["--end", "0.5", "--rate", "16000"], "16 frames of 128 bands, 2 windows of 4 values"),
    ):
        with pytest.raises(SystemExit) as ended:
            main(["inputs", "street.wav", "--model", "tiny.onnx", "--out", "x.png", *options])
        assert (ended.value.code, capsys.readouterr().out) == (0, f"x.png: {said}\n")
        assert Path("x.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["street.wav", "--out", "x.html"], "x.html: ends in '.html'; expected one of .png, .svg, .pdf"),
        (["-", "--out", "x.png"], "standard input: a pipe cannot be read twice"),
        (["street.wav", "--out", "no/x.png"], "no/x.png: the folder no does not exist"),
        (["nothing.wav", "--out", "x.png"], "nothing.wav: does not exist"),
        (
            ["street.wav", "--start", "3", "--out", "x.png"],
            "street.wav: the range starts at 3.0 s, past the end",
        ),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_line(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    save_file(Path("tiny.onnx"))
    soundfile.write("street.wav", np.zeros(16_000), 8000)
    with pytest.raises(SystemExit) as ended:
        main(["inputs", *arguments, "--model", "tiny.onnx"])
    printed = capsys.readouterr()
    assert ended.value.code in (1, 2) and printed.out == "" and said in printed.err
    assert not Path("x.png").exists()
