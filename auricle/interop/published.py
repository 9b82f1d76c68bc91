"""Published taggers by name: what can be had, from where, and how it becomes a model.

A name that `--model` is given is looked up here where it is neither a bundled model nor a folder: its file is
fetched once, imported once, and the model kept in the cache folder.

Sources, looked up in November 2026: PANNs, Zenodo record 3987831, with the MD5 that it publishes, and Kong et
al. (2020); EfficientAT, its README and models/*/model.py (release v0.0.1), and for mn04 and mn10 the SHA-256
that projects independent of each other have of them; YAMNet, tensorflow/models, research/audioset/yamnet/
README.md; VGGish, torchvggish's release v0.1. Sizes of PANNs and EfficientAT beside those of Cnn14, Cnn10 and
mn10 are reckoned from the arrays in the files.
"""

import contextlib
import errno
import hashlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from auricle.interop.download import Another, Unreachable, cache_folder, held, keep, pin, record_of
from auricle.progress import say

ZENODO = "https://zenodo.org/records/3987831/files/{}?download=1"
EFFICIENTAT = "https://github.com/fschmid56/EfficientAT/releases/download/v0.0.1/{}"
YAMNET = "https://storage.googleapis.com/audioset/yamnet.h5"
YAMNET_INT8 = (
    "https://storage.googleapis.com/download.tensorflow.org/models/tflite/task_library/audio_classification/"
    "android/lite-model_yamnet_classification_tflite_1.tflite"
)
VGGISH = "https://github.com/harritaylor/torchvggish/releases/download/v0.1/vggish-10086976.pth"
WHOLE = 64  # hexadecimal digits of a SHA-256
NEEDED = {  # system -> module, and the extra that has it
    "PANNs": (("torch", "train"),),
    "EfficientAT": (("torch", "train"),),
    "YAMNet": (("torch", "train"), ("h5py", "hdf5")),
    "YAMNet int8": (("ai_edge_litert", "tflite"),),
    "VGGish": (("torch", "train"),),
}


@dataclass(frozen=True, kw_only=True)
class Published:
    """A published tagger.

    Args:
        name: what `--model` calls it.
        system: whose it is, see `IMPORTERS`.
        weights: how many; of YAMNet as its file and summary count them, with the running means and variances,
            which the int8 graph has in its biases and kernels.
        rate: samples a second that it takes.
        window: seconds scored at once here.
        classes: how many sounds it knows; 0 where it only embeds.
        mean_ap: its published mean average precision on AudioSet's evaluation clips; None: there is none.
        licence: of the weights, by those who released them.
        address: of the file.
        file: its name.
        megabytes: its size.
        sha256: of the file, where it is known before it is fetched.
        md5: the same.
    """

    name: str
    system: str
    weights: int
    rate: int
    window: float
    classes: int
    mean_ap: float | None
    licence: str
    address: str
    file: str
    megabytes: float
    sha256: str = ""
    md5: str = ""


def _panns(
    name: str, file: str, weights: int, rate: int, mean_ap: float, megabytes: float, md5: str
) -> Published:
    return Published(
        name=f"panns-{name}",
        system="PANNs",
        weights=weights,
        rate=rate,
        window=10.0,
        classes=527,
        mean_ap=mean_ap,
        licence="CC-BY-4.0",
        address=ZENODO.format(file.replace("=", "%3D")),
        file=file,
        megabytes=megabytes,
        md5=md5,
    )


def _efficientat(
    name: str, file: str, weights: int, mean_ap: float, megabytes: float, sha256: str = ""
) -> Published:
    return Published(
        name=f"efficientat-{name}",
        system="EfficientAT",
        weights=weights,
        rate=32000,
        window=10.0,
        classes=527,
        mean_ap=mean_ap,
        licence="MIT",
        address=EFFICIENTAT.format(file),
        file=file,
        megabytes=megabytes,
        sha256=sha256,
    )


MN10 = 4_876_831
# fmt: off
LISTED = (
    _panns("cnn14", "Cnn14_mAP=0.431.pth", 80_753_615, 32000, 0.431, 327.4,
           "541141fa2ee191a88f24a3219fff024e"),
    _panns("cnn14-16k", "Cnn14_16k_mAP=0.438.pth", 80_753_615, 16000, 0.438, 324.2,
           "362fc5ff18f1d6ad2f6d464b45893f2c"),
    _panns("cnn14-8k", "Cnn14_8k_mAP=0.416.pth", 80_753_615, 8000, 0.416, 323.4, ""),
    _panns("cnn14-decision", "Cnn14_DecisionLevelMax_mAP=0.385.pth", 80_753_615, 32000, 0.385, 327.4,
           "70539c43c18b6a289b3199c503a82c5a"),
    _panns("cnn10", "Cnn10_mAP=0.380.pth", 5_219_279, 32000, 0.380, 25.2, "bfb1f1f9968938fa8ef4012b8471f5f6"),
    _panns("cnn6", "Cnn6_mAP=0.343.pth", 4_837_455, 32000, 0.343, 23.7, "e25e26b84585b14c7754c91e48efc9be"),
    _panns("resnet38", "ResNet38_mAP=0.434.pth", 73_783_247, 32000, 0.434, 299.7,
           "bf12f36aaabac4e0855e22d3c3239c1b"),
    _panns("mobilenetv1", "MobileNetV1_mAP=0.389.pth", 4_796_303, 32000, 0.389, 23.6,
           "a419303e1c88aa1b9d2ac3811563d371"),
    _panns("wavegram-logmel-cnn14", "Wavegram_Logmel_Cnn14_mAP=0.439.pth", 81_065_487, 32000, 0.439, 328.7,
           "17fa9ab65af3c0eb5ffbc5f65552c4e1"),
    _efficientat("mn04", "mn04_as_mAP_432.pt", 983_599, 0.432, 4.0,
                 "899a8c6217063f6941793102a2780b3dd788ab11fce468d9cf5f0577c453321c"),
    _efficientat("mn05", "mn05_as_mAP_443.pt", 1_431_239, 0.443, 5.8),
    _efficientat("mn10", "mn10_as_mAP_471.pt", MN10, 0.471, 19.7,
                 "0bd7dc2443af498c289a2e739f02ebb515d6aa3fd3ab9db539c86123ae368a4e"),
    _efficientat("mn20", "mn20_as_mAP_478.pt", 17_909_287, 0.478, 72.0),
    _efficientat("mn30", "mn30_as_mAP_482.pt", 39_086_367, 0.482, 156.9),
    _efficientat("mn40", "mn40_as_mAP_484.pt", 68_427_303, 0.484, 274.4),
    _efficientat("mn40-ext", "mn40_as_ext_mAP_487.pt", 68_427_303, 0.487, 274.4),
    _efficientat("mn10-hop-5", "mn10_as_hop_5_mAP_475.pt", MN10, 0.475, 19.7),
    _efficientat("mn10-hop-15", "mn10_as_hop_15_mAP_463.pt", MN10, 0.463, 19.7),
    _efficientat("mn10-hop-20", "mn10_as_hop_20_mAP_456.pt", MN10, 0.456, 19.7),
    _efficientat("mn10-hop-25", "mn10_as_hop_25_mAP_447.pt", MN10, 0.447, 19.7),
    _efficientat("mn10-mels-40", "mn10_as_mels_40_mAP_453.pt", MN10, 0.453, 19.7),
    _efficientat("mn10-mels-64", "mn10_as_mels_64_mAP_461.pt", MN10, 0.461, 19.7),
    _efficientat("mn10-mels-256", "mn10_as_mels_256_mAP_474.pt", MN10, 0.474, 19.7),
    _efficientat("dymn04", "dymn04_as.pt", 1_961_239, 0.450, 7.9),
    _efficientat("dymn10", "dymn10_as.pt", 10_548_479, 0.477, 42.4),
    _efficientat("dymn20", "dymn20_as_mAP_493.pt", 39_966_143, 0.493, 160.1),
    Published(
        name="yamnet", system="YAMNet", weights=3_751_369, rate=16000, window=0.975, classes=521,
        mean_ap=0.306, licence="Apache-2.0", address=YAMNET, file="yamnet.h5", megabytes=15.3,
        sha256="13c3308955bbfaef262f175ac9c40e47b134573a93984f009220dd7cc12a1744",
    ),
    Published(
        name="yamnet-int8", system="YAMNet int8", weights=3_729_481, rate=16000, window=0.975, classes=521,
        mean_ap=None, licence="Apache-2.0", address=YAMNET_INT8,
        file="lite-model_yamnet_classification_tflite_1.tflite", megabytes=4.1,
        sha256="10c95ea3eb9a7bb4cb8bddf6feb023250381008177ac162ce169694d05c317de",
    ),
    Published(
        name="vggish", system="VGGish", weights=72_141_184, rate=16000, window=0.975, classes=0, mean_ap=None,
        licence="Apache-2.0", address=VGGISH, file="vggish-10086976.pth", megabytes=288.6, sha256="10086976",
    ),
)
# fmt: on
PUBLISHED = {entry.name: entry for entry in LISTED}


def obtain(name: str, *, quiet: bool = False) -> Path:
    """The folder of a published tagger's model, made at its first use.

    Args:
        name: one of `PUBLISHED`.
        quiet: show no progress.

    Raises:
        ValueError: there is no such name; or its file is not here and cannot be fetched, which is one line
            that says what to fetch from where, and where to put it; or it is not the file that was published.
        ModuleNotFoundError: what its network needs is not installed.

    >>> obtain("panns-cnn14").name  # doctest: +SKIP
    'panns-cnn14'
    """
    if name not in PUBLISHED:
        raise ValueError(f"no published model {name!r}; auricle models --published lists them")
    entry = PUBLISHED[name]
    folder = model_folder(name)
    if _is_made(folder):
        return folder
    _refuse_missing(entry)
    with _cache_told(name), held(folder.with_name(f".{name}.lock"), f"the making of {name}"):
        if not _is_made(folder):
            _make(entry, folder, quiet=quiet)
    return folder


def _make(entry: Published, folder: Path, *, quiet: bool) -> None:
    """Fetch a file, and make its model; only a file of which there is one counts from then on."""
    path = file_path(entry)
    elsewhere = f"fetch that file ({entry.megabytes:.0f} MB) where there is a network, and put it at {path}"
    ours = not path.is_file() and not record_of(path).is_file() and not entry.sha256 and not entry.md5
    known = {"sha256": entry.sha256, "md5": entry.md5}
    size = round(entry.megabytes * 1e6)
    try:
        keep(entry.address, path, **known, size=size, pinned=False, quiet=quiet)
    except Unreachable as error:
        raise ValueError(f"{entry.name}: {error}; {elsewhere}") from error
    except Another as error:
        again = "" if path.is_file() else "try again, "
        raise ValueError(f"{entry.name}: {error}; {again}or {elsewhere}") from error
    say(f"making the model {entry.name} of {path.name}, once")
    try:
        IMPORTERS[entry.system](entry, path, folder)
    except ValueError as error:
        if isinstance(error.__cause__, OSError):  # a full disk, a folder that cannot be written: not the file
            raise ValueError(f"{entry.name}: {error}; {path} stays for the next try") from error
        if ours:  # nothing but the server says that it is the right file
            path.unlink()
            raise ValueError(
                f"{entry.name}: what {entry.address} gave was removed: {error}; try again, or {elsewhere}"
            ) from error
        files = f"{path} and {record_of(path).name}" if record_of(path).is_file() else f"{path}"
        raise ValueError(
            f"{entry.name}: {error}; if that is not the file of {entry.address}, remove {files}"
        ) from error
    if len(entry.sha256) < WHOLE:
        try:
            pin(path)
        except OSError as error:
            warnings.warn(
                f"{entry.name}: the model is made, but {record_of(path)} cannot be written "
                f"({error.strerror}): a later file is not held against this one",
                stacklevel=3,
            )


@contextlib.contextmanager
def _cache_told(name: str) -> Iterator[None]:
    """One line that says which folder is meant, and how to choose another, where files cannot be written."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            raise  # not of a file
        place = error.filename or cache_folder()
        raise ValueError(
            f"{name}: its file and its model are kept in {cache_folder() / 'published'}, but {place}: "
            f"{error.strerror}; to keep them in another folder set AURICLE_CACHE"
        ) from error


def licence_of(sha256: str) -> str:
    """The licence of the published file with this SHA-256; empty where none in the list has it.

    >>> licence_of(PUBLISHED["yamnet-int8"].sha256), licence_of("0" * 64)
    ('Apache-2.0', '')
    """
    return next((entry.licence for entry in LISTED if entry.sha256 == sha256), "")


def other_than_released(path: Path) -> str:
    """What is wrong with a file that has a published one's name; empty where nothing is known to be.

    >>> other_than_released(Path("own.pth"))
    ''
    """
    entry = next((entry for entry in PUBLISHED.values() if entry.file == path.name), None)
    if entry is None or not (entry.sha256 or entry.md5):
        return ""
    kind, expected = ("sha256", entry.sha256) if entry.sha256 else ("md5", entry.md5)
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()
    if found.startswith(expected):
        return ""
    called = {"sha256": "SHA-256", "md5": "MD5"}[kind]
    return (
        f"{path}: has the name of the released file, but its {called} begins with {found[:8]}, that of the "
        f"release with {expected[:8]}: it is another file, or damaged; the release's licence is not taken"
    )


def file_path(entry: Published) -> Path:
    """Where a published file is kept, or is to be put by hand.

    >>> file_path(PUBLISHED["yamnet"]).name
    'yamnet.h5'
    """
    return cache_folder() / "published" / entry.file


def model_folder(name: str) -> Path:
    """Where the model of a published file is kept.

    >>> model_folder("yamnet").parent.name
    'models'
    """
    return cache_folder() / "published" / "models" / name


def describe_published() -> list[dict[str, Any]]:
    """What can be had, a row each, for people and programs.

    `here` is "model" where the model was made already, "file" where its file is there, else "".

    >>> describe_published()[0]["name"], describe_published()[0]["mean_ap"]
    ('panns-cnn14', 0.431)
    """
    rows = []
    for entry in LISTED:
        fields = {name: value for name, value in vars(entry).items() if name not in ("sha256", "md5")}
        here = "model" if _is_made(model_folder(entry.name)) else "file" if _is_file(file_path(entry)) else ""
        rows.append(fields | {"here": here})
    return rows


def _is_made(folder: Path) -> bool:
    return _is_file(folder / "model.json")


def _is_file(path: Path) -> bool:
    """Whether it is one; no, too, where nobody may look."""
    try:
        return path.is_file()
    except PermissionError:
        return False


def _refuse_missing(entry: Published) -> None:
    """One line, before anything is fetched, where what the network needs is not installed."""
    missing = [(module, extra) for module, extra in NEEDED[entry.system] if find_spec(module) is None]
    if missing:
        modules, extras = (",".join(parts) for parts in zip(*missing, strict=True))
        raise ModuleNotFoundError(
            f"{entry.name} needs {modules}, which is not installed: pip install 'auricle[{extras}]'",
            name=missing[0][0],
        )


def _from_panns(entry: Published, file: Path, out: Path) -> None:
    from auricle.interop.panns import import_panns

    import_panns(file, out, name=entry.name, licence=entry.licence)


def _from_efficientat(entry: Published, file: Path, out: Path) -> None:
    from auricle.interop.efficientat import import_efficientat

    import_efficientat(file, out, name=entry.name, licence=entry.licence)


def _from_yamnet(entry: Published, file: Path, out: Path) -> None:
    from auricle.interop.yamnet import import_yamnet

    import_yamnet(file, out, name=entry.name, licence=entry.licence)


def _from_tflite(entry: Published, file: Path, out: Path) -> None:
    from auricle.interop.tflite import import_tflite

    embedding = "layer28/reduce_mean"
    import_tflite(file, out, embedding=embedding, name=entry.name, licence=entry.licence)


def _from_vggish(entry: Published, file: Path, out: Path) -> None:
    from auricle.interop.vggish import import_vggish

    import_vggish(str(file), out, name=entry.name, licence=entry.licence)


IMPORTERS: dict[str, Callable[[Published, Path, Path], None]] = {
    "PANNs": _from_panns,
    "EfficientAT": _from_efficientat,
    "YAMNet": _from_yamnet,
    "YAMNet int8": _from_tflite,
    "VGGish": _from_vggish,
}
