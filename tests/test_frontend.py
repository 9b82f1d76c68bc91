"""The torch front end equals the NumPy one, under autocast too, with gradients, and in onnxruntime."""

import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from auricle.features import FeatureConfig, log_mel, num_frames
from auricle.frontend import LogMel
from auricle.presets import librosa_defaults

METHODS = ("fft", "convolution")
CONFIGS = {
    "hershey": FeatureConfig(),
    "odd window": FeatureConfig(window=401, hop=160, fft=512),
    "hop not a divisor": FeatureConfig(window=400, hop=130),
    "hop above the window": FeatureConfig(window=300, hop=420),
    "hop is the window": FeatureConfig(window=512, hop=512),
    "44.1 kHz": FeatureConfig(rate=44100, window=1102, hop=441, fft=2048, bands=128, low=20.0, high=22050.0),
    "8 kHz, fft not a power of 2": FeatureConfig(
        rate=8000, window=200, hop=80, fft=250, bands=20, high=4000.0
    ),
    "centred": FeatureConfig(window=401, hop=130, fft=513, centred=True),
    "powers": FeatureConfig(power=2, mel="slaney"),
}
URBAN = librosa_defaults()


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def signals(config: FeatureConfig) -> np.ndarray:
    """(4, N) float32: noise, a gliding voice, clicks, silence; a length that no hop divides."""
    rng, count = np.random.default_rng(0), 12 * config.window + 37
    clicks = np.zeros(count)
    clicks[:: config.window + 7] = 0.9
    phase = np.cumsum(np.linspace(0.04, 0.12, count))
    voice = sum(np.sin(h * phase) / h for h in range(1, 25)) * 0.2 + 1e-3 * rng.standard_normal(count)
    return np.stack([0.1 * rng.standard_normal(count), voice, clicks, np.zeros(count)]).astype(np.float32)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_equals_the_numpy_front_end(config: FeatureConfig, method: str) -> None:
    waveform = signals(config)
    ours = LogMel(config, method=method)(torch.from_numpy(waveform))
    assert ours.dtype == torch.float32
    assert ours.shape == (4, 1, num_frames(waveform.shape[1], config), config.bands)
    # Magnitudes, and so the rounding of float32, grow with the window; the offset in the logarithm does not.
    tolerance = 1e-4 * max(1.0, config.window / 400)
    for row, samples in zip(ours.numpy()[:, 0], waveform, strict=True):
        np.testing.assert_allclose(row, log_mel(samples, config, np.float64), atol=tolerance, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_one_window_gives_one_frame_and_less_is_refused(method: str) -> None:
    config = FeatureConfig()
    module = LogMel(config, method=method)
    waveform = torch.from_numpy(signals(config))[:1]
    one = module(waveform[:, :400])
    assert one.shape == (1, 1, 1, 64)
    np.testing.assert_allclose(one[0, 0].numpy(), log_mel(waveform[0, :400].numpy(), config), atol=1e-4)
    assert module(waveform[:, : 400 + 159]).shape[2] == 1
    assert module(waveform[:, : 400 + 160]).shape[2] == 2
    with pytest.raises(ValueError, match="399 samples, fewer than a window of 400"):
        module(waveform[:, :399])
    with pytest.raises(ValueError, match=r"\(1, 1, 400\): expected \(B, N\)"):
        module(waveform[:, None, :400])


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ValueError, match="'stft'.*'fft' or 'convolution'"):
        LogMel(FeatureConfig(), method="stft")


@pytest.mark.parametrize("method", METHODS)
def test_autocast_and_half_input_change_nothing(method: str) -> None:
    module, waveform = LogMel(FeatureConfig(), method=method), torch.from_numpy(signals(FeatureConfig()))
    plain = module(waveform)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        under = module(waveform)
        assert (waveform[:, :8] @ torch.ones(8, 2)).dtype == torch.bfloat16  # autocast is on around it
    assert under.dtype == torch.float32
    assert torch.equal(under, plain)
    assert module(waveform.double()).dtype == torch.float32


@pytest.mark.parametrize("method", METHODS)
def test_a_clip_gives_the_same_alone_and_in_a_batch(method: str) -> None:
    module, waveform = LogMel(FeatureConfig(), method=method), torch.from_numpy(signals(FeatureConfig()))
    batch = module(waveform)
    for index in range(len(waveform)):
        torch.testing.assert_close(module(waveform[index : index + 1])[0], batch[index], atol=1e-5, rtol=0)


def test_long_and_many_clips_equal_the_numpy_front_end() -> None:
    # More frames than are computed at a time: clips are split in time, or batches into clips.
    rng, config = np.random.default_rng(1), FeatureConfig()
    for clips, samples in ((1, 160_000), (2, 70_000), (7, 32_000)):
        waveform = 0.1 * rng.standard_normal((clips, samples), np.float32)
        ours = LogMel(config)(torch.from_numpy(waveform))
        assert ours.shape == (clips, 1, num_frames(samples, config), 64)
        for row, clip in zip(ours.numpy()[:, 0], waveform, strict=True):
            np.testing.assert_allclose(row, log_mel(clip, config), atol=1e-4, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_nothing_is_saved_with_the_weights(method: str) -> None:
    module = LogMel(FeatureConfig(), method=method)
    assert module.state_dict() == {}
    assert list(module.parameters()) == []


@pytest.mark.parametrize("method", METHODS)
def test_gradients_are_finite_also_on_silence_and_nonzero_on_sound(method: str) -> None:
    waveform = torch.from_numpy(signals(FeatureConfig())).requires_grad_()
    LogMel(FeatureConfig(), method=method)(waveform).sum().backward()
    assert waveform.grad is not None
    assert torch.isfinite(waveform.grad).all()
    assert (waveform.grad[0] != 0).any()


def test_both_methods_have_the_same_gradient() -> None:
    gradients = []
    for method in METHODS:
        waveform = torch.from_numpy(signals(FeatureConfig())[:1]).requires_grad_()
        LogMel(FeatureConfig(), method=method)(waveform).square().mean().backward()
        gradients.append(waveform.grad)
    scale = gradients[0].abs().max()
    torch.testing.assert_close(gradients[0] / scale, gradients[1] / scale, atol=1e-4, rtol=0)


@pytest.mark.parametrize("name", ["hershey", "hop not a divisor"])
def test_onnxruntime_gives_the_same_for_any_batch_and_length(name: str, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    config = CONFIGS[name]
    dimensions = {0: torch.export.Dim("batch"), 1: torch.export.Dim("samples", min=config.window)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        program = torch.onnx.export(
            LogMel(config, method="convolution").eval(),
            (torch.zeros(2, 16000),),
            input_names=["waveform"],
            dynamo=True,
            verbose=False,
            dynamic_shapes=(dimensions,),
        )
    program.save(tmp_path / "front.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        tmp_path / "front.onnx", options, providers=["CPUExecutionProvider"]
    )
    waveform = signals(config)
    for clips, samples in ((1, 4000), (4, 4837), (3, config.window), (2, config.window + config.hop)):
        (ours,) = session.run(None, {"waveform": waveform[:clips, :samples]})
        assert ours.shape == (clips, 1, num_frames(samples, config), config.bands)
        for row, clip in zip(ours[:, 0], waveform, strict=False):
            np.testing.assert_allclose(row, log_mel(clip[:samples], config, np.float64), atol=1e-4, rtol=0)


@pytest.mark.gpu
@pytest.mark.parametrize("method", METHODS)
def test_a_gpu_gives_the_same(method: str) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    waveform = torch.from_numpy(signals(FeatureConfig()))
    ours = LogMel(FeatureConfig(), method=method).cuda()(waveform.cuda()).cpu()
    # TF32 is off by default; 1e-3 leaves room for another summation order.
    torch.testing.assert_close(ours, LogMel(FeatureConfig())(waveform), atol=1e-3, rtol=0)


# --- librosa's defaults: decibels of each clip


def urban_clips() -> np.ndarray:
    """(3, N): loud noise; faint sounds that swell, with a tone; silence. No hop divides the length."""
    rng, count = np.random.default_rng(2), 30_001
    swelling = 0.01 * rng.standard_normal(count) * np.linspace(0.01, 1, count) ** 2
    swelling += 0.003 * np.sin(2 * np.pi * 600 / 44100 * np.arange(count))
    return np.stack([0.3 * rng.standard_normal(count), swelling, np.zeros(count)]).astype(np.float32)


@pytest.mark.parametrize("method", METHODS)
def test_decibels_equal_the_numpy_front_end_and_are_each_clips_own(method: str) -> None:
    waveform = urban_clips()
    module = LogMel(URBAN, method=method)
    ours = module(torch.from_numpy(waveform))
    assert ours.shape == (3, 1, 59, 128)
    for row, samples in zip(ours.numpy()[:, 0], waveform, strict=True):
        np.testing.assert_allclose(row, log_mel(samples, URBAN, np.float64), atol=2e-3, rtol=0)
        assert row.max() == 0 and row.min() >= -80
    for index in range(3):
        alone = module(torch.from_numpy(waveform[index : index + 1]))
        torch.testing.assert_close(alone[0], ours[index], atol=1e-4, rtol=0)
    one = module(torch.from_numpy(waveform[:1, :1]))
    assert one.shape == (1, 1, 1, 128)
    with pytest.raises(ValueError, match="0 samples, fewer than a window of 1"):
        module(torch.from_numpy(waveform[:, :0]))


def test_decibels_of_many_frames_are_of_the_whole_clip(monkeypatch: pytest.MonkeyPatch) -> None:
    waveform = torch.from_numpy(urban_clips())
    whole = LogMel(URBAN)(waveform)
    monkeypatch.setattr("auricle.frontend.CHUNK_FRAMES", 20)  # clips are cut in time, batches into clips
    torch.testing.assert_close(LogMel(URBAN)(waveform), whole, atol=1e-4, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_decibels_have_finite_gradients_also_on_silence(method: str) -> None:
    waveform = torch.from_numpy(urban_clips()).requires_grad_()
    LogMel(URBAN, method=method)(waveform).sum().backward()
    assert waveform.grad is not None and torch.isfinite(waveform.grad).all()
    assert (waveform.grad[0] != 0).any() and not (waveform.grad[2] != 0).any()


def test_onnxruntime_gives_torchs_decibels(tmp_path: Path) -> None:
    """Relative to the loudest value of each window, not of the batch."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    module = LogMel(URBAN, method="convolution").eval()
    dimensions = {0: torch.export.Dim("batch"), 1: torch.export.Dim("samples", min=2)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's own
        program = torch.onnx.export(
            module, (torch.zeros(2, 22_050),), dynamo=True, verbose=False, dynamic_shapes=(dimensions,)
        )
    program.save(tmp_path / "front.onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        tmp_path / "front.onnx", options, providers=["CPUExecutionProvider"]
    )
    waveform = urban_clips()
    name = session.get_inputs()[0].name
    for clips, samples in ((3, 30_001), (1, 22_050), (2, 5_000)):
        (ours,) = session.run(None, {name: waveform[:clips, :samples]})
        with torch.inference_mode():
            theirs = module(torch.from_numpy(waveform[:clips, :samples])).numpy()
        np.testing.assert_allclose(ours[0], theirs[0], atol=1e-4, rtol=0)
        # Bands 70 dB below a tone are the limit of float32.
        np.testing.assert_allclose(ours, theirs, atol=3e-3, rtol=0)
