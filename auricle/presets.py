"""Front ends as others published theirs: settings of `auricle.features.FeatureConfig` by their names."""

from auricle.features import FeatureConfig


def librosa_defaults(rate: int = 44100) -> FeatureConfig:
    """What librosa makes of a signal where nothing is set, in dB relative to its loudest value.

    The same numbers as `power_to_db(feature.melspectrogram(y=y, sr=rate), ref=np.max)` of librosa 0.10 and
    later, which pad with zeros (before, the signal was mirrored at its ends).

    >>> librosa_defaults().hop, librosa_defaults().decibels
    (512, 80.0)
    """
    return FeatureConfig(
        rate=rate,
        window=2048,
        hop=512,
        fft=2048,
        bands=128,
        low=0.0,
        high=rate / 2,
        centred=True,
        mel="slaney",
        power=2,
        decibels=80.0,
    )


def panns(rate: int = 32000) -> FeatureConfig:
    """The front end of the PANNs: absolute dB of 64 Slaney bands above 50 Hz, a hundred frames a second.

    At 32 kHz bands reach to 14 kHz, at 16 and 8 kHz to half the rate.

    Args:
        rate: 32000, 16000 or 8000 Hz, the rates of the released networks.

    Raises:
        ValueError: another rate.

    >>> panns().window, panns().hop, panns().high
    (1024, 320, 14000.0)

    Source: Kong et al., "PANNs: Large-Scale Pretrained Audio Neural Networks for Audio Pattern Recognition",
    2020, https://arxiv.org/abs/1912.10211, section VI; padding by reflection and the floor of 1e-10 as in the
    authors' release (audioset_tagging_cnn, pytorch/models.py).
    """
    if rate not in (32000, 16000, 8000):
        raise ValueError(f"rate is {rate}: expected 32000, 16000 or 8000, those of the released networks")
    return FeatureConfig(
        rate=rate,
        window=rate * 4 // 125,
        hop=rate // 100,
        fft=rate * 4 // 125,
        bands=64,
        low=50.0,
        high=min(14000.0, rate / 2),
        centred=True,
        mel="slaney",
        power=2,
        pad="reflect",
        absolute=True,
    )


def efficientat(*, hop: int = 320, bands: int = 128) -> FeatureConfig:
    """The front end of EfficientAT: 32 kHz, pre-emphasis, 128 bands up to 15 kHz, values from about -1.4 on.

    Its bands are Kaldi's: of the "htk" formula, straight in mel, from 0 Hz on.

    Args:
        hop: samples from one frame to the next; released networks take 160 to 800.
        bands: F; of the 256 that a released network takes, the lowest hold no bin and never change.

    >>> efficientat().window, efficientat().hop, efficientat().shift
    (800, 320, 4.5)

    Source: Schmid et al., "Efficient Large-Scale Audio Tagging via Transformer-to-CNN Knowledge
    Distillation", ICASSP 2023, https://arxiv.org/abs/2211.04772; pre-emphasis, reflection, the symmetric
    window, the upper edge and the numbers at the end as in the authors' release (fschmid56/EfficientAT,
    models/preprocess.py), its bands as torchaudio's `compliance.kaldi.get_mel_banks` makes them.
    """
    return FeatureConfig(
        rate=32000,
        window=800,
        hop=hop,
        fft=1024,
        bands=bands,
        low=0.0,
        high=15000.0,
        log_offset=1e-5,
        centred=True,
        power=2,
        pad="reflect",
        hann="symmetric",
        preemphasis=0.97,
        constant_bands=bands > 128,
        shift=4.5,
        scale=0.2,
    )
