"""docs/troubleshooting.md: every row is tried on the command line, and says what really happens."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny_model

from auricle.cli import main
from auricle.engine import pack as pack_corpus
from auricle.shards import Pack

PAGE = Path(__file__).parents[1] / "docs" / "troubleshooting.md"
ROW = re.compile(r"^\| (.+?) \| (`.+`) \| ([012]) \|$", re.MULTILINE)
PREFIX = re.compile(r"^(auricle: error: |auricle: warning: |Error: )(.*)$")

PACK = ["pack", "corpus.csv", "out", "--jobs", "1"]
EVALUATE = ["evaluate", "model", "pack"]
TRAIN = ["train", "--data", "pack", "--out", "run", "--recipe", "compact-esc50", "--device", "cpu"]
BANDS = ["--set", "features.bands=16"]
PATCH = pytest.MonkeyPatch()  # for what makes a library fail; undone after each row
CASES: dict[str, tuple[Callable[[], object], list[str]]] = {}


def case(what: str, arguments: list[str], *makers: Callable[[], object]) -> None:
    assert what not in CASES, what
    CASES[what] = (lambda: [make() for make in makers], arguments)


def sounds(seconds: float = 0.5) -> None:
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, int(seconds * tiny_model.RATE))
    for name in ("a.wav", "b.wav"):
        soundfile.write(name, noise, tiny_model.RATE)


def table(*lines: str, name: str = "corpus.csv", encoding: str = "utf-8") -> Callable[[], object]:
    """A manifest beside two recordings."""
    return lambda: (sounds(), Path(name).write_text("\n".join(lines) + "\n", encoding=encoding))


def packed(rate: int = tiny_model.RATE, labels: tuple[str, str] = ("dog", "rain")) -> Callable[[], object]:
    def make() -> None:
        table("path,labels,split,licence", f"a.wav,{labels[0]},train,CC0", f"b.wav,{labels[1]},test,CC-BY")()
        pack_corpus("corpus.csv", "pack", rate=rate, jobs=1, quiet=True)

    return make


def model() -> None:
    tiny_model.save(Path("model"))


def file(name: str, content: bytes = b"nothing of the kind") -> Callable[[], object]:
    def make() -> None:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_bytes(content)

    return make


def described(**fields: object) -> Callable[[], object]:
    """The model's description, edited by hand."""
    path = Path("model/model.json")
    return lambda: path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def flipped(pattern: str) -> Callable[[], object]:
    """One bit of the last byte of a file is another one."""

    def make() -> None:
        path = sorted(Path().glob(pattern))[0]
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))

    return make


def removed(pattern: str) -> Callable[[], object]:
    return lambda: sorted(Path().glob(pattern))[0].unlink()


def cut(pattern: str) -> Callable[[], object]:
    def make() -> None:
        path = sorted(Path().glob(pattern))[0]
        path.write_bytes(path.read_bytes()[:-100])

    return make


HEAD = "path,labels"
case("the source is not there", ["pack", "nowhere.csv", "out"])
case("a file of an unknown kind", ["pack", "corpus.xlsx", "out"], file("corpus.xlsx"))
case("a folder without recordings", ["pack", "folder", "out"], lambda: Path("folder").mkdir())
case(
    "a folder whose recordings are in no class folder",
    ["pack", "folder", "out"],
    lambda: (Path("folder").mkdir(), soundfile.write("folder/a.wav", np.zeros(800), 8000)),
)
case("an empty table", PACK, file("corpus.csv", b""))
case("a table without a needed column", PACK, table("path,split", "a.wav,test"))
case("labels without quotes between semicolons", PACK, table("path;labels", "a.wav;dog;rain"))
case("a table with a head and no rows", PACK, table(HEAD))
case("a column that is there twice", PACK, table("path,labels,labels", "a.wav,dog,rain"))
case("a table that is not UTF-8", PACK, table(HEAD, "a.wav,chien dû", encoding="latin-1"))
case("a row with more fields than columns", PACK, table(HEAD, "a.wav,dog,rain"))
case("a row without a path", PACK, table(HEAD, ",dog"))
case("a start that is no number", PACK, table(f"{HEAD},start,end", "a.wav,dog,soon,2"))
case("a start below 0", PACK, table(f"{HEAD},start,end", "a.wav,dog,-1,2"))
case("an end before the start", PACK, table(f"{HEAD},start,end", "a.wav,dog,2,1"))
case("a label twice in a row", PACK, table(HEAD, "a.wav,dog;dog"))
case("more scores than labels", PACK, table(f"{HEAD},scores", "a.wav,dog,0.5;0.5"))
case("a score above 1", PACK, table(f"{HEAD},scores", "a.wav,dog,7"))
case("one recording twice", PACK, table(HEAD, "a.wav,dog", "a.wav,rain"))
case("two clips of one id", PACK, table(f"{HEAD},id", "a.wav,dog,x", "b.wav,dog,x"))
case(
    "clips of one group in two splits",
    PACK,
    table(f"{HEAD},split,group", "a.wav,dog,train,g", "b.wav,dog,test,g"),
)
case("a table none of whose files exists", PACK, table(HEAD, "c.wav,dog"))
case("a table one of whose files does not exist", PACK, table(HEAD, "a.wav,dog", "c.wav,dog"))
case(
    "a table one of whose files is no media",
    PACK,
    table(HEAD, "a.wav,dog", "c.wav,dog"),
    file("c.wav"),
)
case(
    "a range after the end of its recording", PACK, table(f"{HEAD},start,end", "a.wav,dog,,", "b.wav,dog,7,8")
)
case(
    "a .parquet file that is none",
    ["pack", "corpus.parquet", "out"],
    table("not a table", name="corpus.parquet"),
)

case("the pack is not there", EVALUATE, model)
case("a folder that is no pack", EVALUATE, model, lambda: Path("pack").mkdir())
case("a pack that was not finished", EVALUATE, model, lambda: Path("pack/journal").mkdir(parents=True))
case("a pack whose manifest is damaged", EVALUATE, model, packed(), file("pack/manifest.json", b"{"))
case("a pack whose shard was cut off", EVALUATE, model, packed(), cut("pack/shards/*"))
case("a pack whose shard is missing", EVALUATE, model, packed(), removed("pack/shards/*"))
case(
    "a pack with one bit flipped, packed again with --verify",
    ["pack", "corpus.csv", "pack", "--rate", "8000", "--verify"],
    packed(),
    flipped("pack/shards/*"),
)
case(
    "a pack of something else in the folder",
    ["pack", "corpus.csv", "pack", "--jobs", "1"],
    packed(),
)
case("another folder where the pack should go", PACK, table(HEAD, "a.wav,dog"), file("out/thesis.txt"))
case("a file where the pack should go", PACK, table(HEAD, "a.wav,dog"), file("out"))
case("a sample rate that makes no sense", [*PACK, "--rate", "5"], table(HEAD, "a.wav,dog"))

case("no model of that name", ["check", "nonesuch"])
case("a model.json that is not JSON", ["check", "model"], model, file("model/model.json", b"{"))
case("a field that is wrong", ["check", "model"], model, described(window=0))
case("a field that is not known", ["check", "model"], model, described(colour="red"))
case("a model from a newer version", ["check", "model"], model, described(format=99))
case("a model whose graph is missing", ["check", "model"], model, lambda: Path("model/model.onnx").unlink())
case("a model with one bit flipped", ["check", "model"], model, flipped("model/model.onnx"))
case("labels changed by hand", ["check", "model"], model, described(labels=["rain", "dog", "clock"]))
case("a graph cut off", ["tag", "a.wav", "--model", "model"], sounds, model, cut("model/model.onnx"))
case("an .onnx file of another program", ["check", "x.onnx"], file("x.onnx", tiny_model.graph()))
case("an .onnx file that is none", ["check", "x.onnx"], file("x.onnx"))
case("a name that ends in neither .onnx nor .tflite", ["export", "model", "model.pt"], model)
case("a name for a TFLite graph", ["export", "model", "model.tflite"], model)
case("a folder of that name", ["export", "model", "x.onnx"], model, lambda: Path("x.onnx").mkdir())

case("a pack of a lower rate than the model's", EVALUATE, model, packed(rate=4000))
case("a pack without any of the model's labels", EVALUATE, model, packed(labels=("cat", "bird")))
case("a pack without any label", EVALUATE, model, packed(labels=("", "")))
case("a split that is not there", [*EVALUATE, "--split", "tset"], model, packed())
case("an attribute that is not there", [*EVALUATE, "--where", "license=CC0"], model, packed())
case("a value that no clip has", [*EVALUATE, "--where", "licence=GPL"], model, packed())
case(
    "a split and a value that leave no clip",
    [*EVALUATE, "--split", "test", "--where", "licence=CC0"],
    model,
    packed(),
)
case("a label set that is not there", [*EVALUATE, "--label-set", "coarse"], model, packed())


def trained_on_it() -> None:
    tiny_model.save(Path("model"), training={"data": Pack("pack").fingerprint})


case("clips that the model was trained on", EVALUATE, packed(), trained_on_it)

TRAIN_ON = [*TRAIN, "--set", "model=single_attention", "--recipe", "hershey"]
LABELS, SUBSET = ["labels", "pack"], ["subset", "pack", "--name", "x"]
SCENES = ["scenes", "pack", "scenes", "--jobs", "1"]
case("a share of no classes", [*EVALUATE, "--class-share", "0"], model, packed())
case("a file where an evaluation should go", [*EVALUATE, "--out", "x"], model, packed(), file("x"))

case("a label set of more labels than there are", [*LABELS, "--most-frequent", "9", "--name", "x"], packed())
case(
    "a label to keep that the pack does not have",
    [*LABELS, "--keep", "keep.txt", "--name", "x"],
    packed(),
    file("keep.txt", b"dog\nwolf\n"),
)
case("a label set without a name", [*LABELS, "--most-frequent", "1"], packed())
case("a name that is no name", [*LABELS, "--most-frequent", "1", "--name", "../x"], packed())
case("a view under the name of its own set", [*LABELS, "--most-frequent", "1", "--name", "labels"], packed())
case("a fraction above 1", [*SUBSET, "--fraction", "2"], packed())
case("a subset that is not there", [*SUBSET, "--within", "tenth"], packed())
case("a setting of scenes that is not known", [*SCENES, "--scenes", "5", "--set", "ordrs=3"], packed())
case("scenes of no split", [*SCENES, "--scenes", "fold9=5"], packed())
case("scenes into their own source", ["scenes", "pack", "pack", "--scenes", "5"], packed())

case("an unknown recipe", ["train", "--data", "pack", "--out", "run", "--recipe", "best"], packed())
case("an unknown setting", [*TRAIN, "--set", "sped=3"], packed())
case("a setting that does not fit", [*TRAIN, "--set", "batch=many"], packed())
case("a setting out of range", [*TRAIN, "--set", "batch=0"], packed())
case("a pack of another rate than the recipe's", TRAIN, packed())
case("a device that does not exist", [*TRAIN[:-1], "banana"], packed(rate=16000))
case("a split to train on that is not there", [*TRAIN, "--set", "train_splits=fold9"], packed(rate=16000))
case("a choice that leaves no clip to train on", [*TRAIN, "--set", "where.licence=GPL"], packed(rate=16000))


def kept_run() -> None:
    """What a run leaves once it has a checkpoint."""
    file("run/config.json", b'{"seed": 5}')()
    file("run/checkpoint.pt")()


case("a run's folder that holds a run", TRAIN, packed(rate=16000), kept_run)
case("a run's folder that holds something else", TRAIN, packed(rate=16000), file("run/thesis.txt"))
case(
    "--resume with another configuration",
    [*TRAIN, "--resume"],
    packed(rate=16000),
    kept_run,
)


def full_memory() -> None:
    """As torch says it of a GPU, in the first step."""
    import torch

    import auricle.training.loop as loop

    def update(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9.54 GiB.")

    PATCH.setattr(loop, "update", update)


WINDOW = ["--set", "window=4000", "--set", "hop=4000"]
case("a batch that does not fit into memory", [*TRAIN, *WINDOW], packed(rate=16000), full_memory)
case(
    "one clip that is to be mixed", [*TRAIN, "--set", "batch=1", "--set", "mixing=mixup"], packed(rate=16000)
)
case(
    "too little for batch norm",
    [*TRAIN, "--set", "batch=1", "--set", "mixing=none", "--set", "window=400", *BANDS, "--set", "steps=1"],
    packed(rate=16000),
)
case(
    "a model's argument of another kind",
    [*TRAIN, "--set", "model_arguments.stem=8.0"],
    packed(rate=16000),
)

case("a model that takes embeddings, and none named", TRAIN_ON, packed(rate=16000))
case("an embedding set that is not there", [*TRAIN_ON, "--set", "embeddings=yamnet"], packed(rate=16000))
case("--init-from a model without weights", [*TRAIN, "--init-from", "model"], packed(rate=16000), model)
case(
    "a figure to keep the best model by that validation does not give",
    [*TRAIN, "--set", "monitors=micro_auprc_fine"],
    packed(rate=16000),
)
STAGNATION = [*TRAIN, "--set", "schedule=stagnation"]
case("a rate that follows validation, and no clip to validate on", STAGNATION, packed(rate=16000))
case("a rate that is to be cut down to more than it is", [*STAGNATION, "--set", "lowest_rate=0.5"], packed())
case("a setting of another schedule", [*TRAIN, "--set", "patience=3"], packed())
case("a background that there is not", [*TRAIN, "--set", "noise=rain"], packed())
case("how loud a background is, without one", [*TRAIN, "--set", "noise_share=1.0"], packed())


def street() -> None:
    table("path,labels,split", "a.wav,wind,fold1", name="street.csv")()
    pack_corpus("street.csv", "street", rate=16000, jobs=1, quiet=True)


case(
    "recordings as backgrounds from a pack whose splits say nothing",
    [*TRAIN, "--set", "noise=recording", "--set", "noise_pack=street"],
    packed(rate=16000),
    street,
)
case("changes of sound with stored embeddings", [*TRAIN, "--set", "embeddings=yamnet"], packed())
case(
    "a network of two inputs, and nothing that makes embeddings",
    [*TRAIN, "--set", "model=urban_fusion"],
    packed(rate=16000),
)
case(
    "an embedder for a model that takes none",
    [*TRAIN, "--set", "embedder=model"],
    packed(rate=16000),
    model,
)
case("a family of models without a taxonomy", [*TRAIN, "--family", "coarse"], packed(rate=16000))
case("a family of another kind", [*TRAIN, "--family", "fine"], packed())
case("an unknown experiment", ["compare", "architecture", "--data", "pack", "--out", "x"], packed())

TREE = b"coarse:\n  1: engine\n  2: dog\nfine:\n  1: {1: small, X: unclear}\n  2: {1: bark}\n"
TAGS = "1-1_small,1-X_unclear,2-1_bark,1_engine,2_dog"
HEAD = "split,sensor_id,audio_filename,annotator_id," + ",".join(f"{tag}_presence" for tag in TAGS.split(","))
JUDGE = ["evaluate", "--protocol", "urban", "--predictions", "p.csv", "--annotations", "a.csv"]
JUDGE += ["--taxonomy", "t.yaml"]
tree = file("t.yaml", TREE)
annotated = table(HEAD, "validate,1,x.wav,0,1,0,0,1,0", "validate,2,y.wav,0,0,0,1,0,1", name="a.csv")


def predicted(*lines: str, head: str = f"audio_filename,{TAGS}") -> Callable[[], object]:
    return table(head, *lines, name="p.csv")


case("annotations that are none", ["annotations", "a.csv"], table("a,b", "1,2", name="a.csv"))
case("a vote that is none", ["annotations", "a.csv"], table(HEAD, "train,1,x.wav,3,2,0,0,1,0", name="a.csv"))
case("predictions of other clips", JUDGE, tree, annotated, predicted("x.wav,.9,0,0,.9,0", "z.wav,0,0,1,0,1"))
case("a clip twice", JUDGE, tree, annotated, predicted("x.wav,.9,0,0,.9,0", "x.wav,.9,0,0,.9,0"))
case("a score that is none", JUDGE, tree, annotated, predicted("x.wav,much,0,0,.9,0", "y.wav,0,0,1,0,1"))
case(
    "no score of the level that was asked for",
    [*JUDGE, "--level", "fine"],
    tree,
    annotated,
    predicted("x.wav,.9,0", "y.wav,0,1", head="audio_filename,1_engine,2_dog"),
)
case("a level that there is not", [*JUDGE, "--level", "middle"], tree, annotated)
case(
    "a taxonomy of other labels",
    JUDGE,
    file("t.yaml", TREE.replace(b"bark", b"miaow")),
    annotated,
    predicted("x.wav,.9,0,0,.9,0"),
)

case(
    "a picture of an unknown kind", ["timeline", "a.wav", "--model", "model", "--out", "x.gif"], sounds, model
)
case("a film over its recording", ["timeline", "a.mp4", "--out", "a.mp4"], file("a.mp4"))
case("a time-line of a pipe", ["timeline", "-", "--out", "x.png"])
case("a report of something else", ["report", "folder", "--out", "x"], file("folder/thesis.txt"))
case("embeddings without a file to write", ["embed", "a.wav", "--model", "model"], sounds, model)
case(
    "embeddings that are no .parquet", ["embed", "a.wav", "--model", "model", "--out", "x.csv"], sounds, model
)
case(
    "a Parquet file of other things",
    ["embed", "pack", "--from", "x.parquet", "--name", "x"],
    packed(),
    file("x.parquet"),
)

case("an unknown verb", ["listen"])
case("an unknown option", ["tag", "a.wav", "--loud"])
case("no recording", ["tag"])
case("a number out of range", ["tag", "a.wav", "--threshold", "2"])
case("an end that is not after the start", ["tag", "a.wav", "--start", "3", "--end", "2"])
case("a KEY=VALUE without =", [*EVALUATE, "--where", "licence"])
case("a key twice", [*TRAIN, "--set", "batch=2", "--set", "batch=3"])
case("--raw that cannot be read", ["tag", "a.wav", "--raw", "fast"])
case(
    "a result's folder that is not there",
    ["tag", "a.wav", "--model", "model", "--out", "no/tags.csv"],
    model,
    sounds,
)
case("a recording that is not there", ["tag", "nowhere.wav", "--model", "model"], model)
TAG = ["tag", "a.wav", "b.wav", "--model", "model"]
case("two recordings, and a format of one", [*TAG, "--format", "raven", "--out", "x.txt"], model, sounds)
case(
    "fewer scores than Parquet has",
    [*TAG, "--format", "parquet", "--top", "3", "--out", "x.parquet"],
    model,
    sounds,
)


def happened(what: str, capsys: pytest.CaptureFixture[str]) -> tuple[str, int]:
    """The first line of complaint, without what stands before each, and the exit status."""
    make, arguments = CASES[what]
    make()
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    lines = capsys.readouterr().err.splitlines()
    found = [match[2] for line in lines if (match := PREFIX.match(line))]
    return found[0] if found else "", int(ended.value.code or 0)


def rows() -> dict[str, tuple[str, int]]:
    return {
        what: (message.strip("`").strip().replace("\\|", "|"), int(status))
        for what, message, status in ROW.findall(PAGE.read_text())
    }


def test_every_row_is_tried_and_every_trial_has_a_row() -> None:
    assert list(rows()) == list(CASES)


@pytest.mark.parametrize("what", CASES)
def test_what_the_page_says_is_what_happens(
    what: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if "train" in CASES[what][1]:
        torch = pytest.importorskip("torch", reason="torch is not installed")
        torch.set_num_threads(1)
    monkeypatch.chdir(tmp_path)
    message, status = rows()[what]
    try:
        found, ended = happened(what, capsys)
    finally:
        PATCH.undo()
    pattern = ".*".join(re.escape(part) for part in message.split("..."))
    assert re.fullmatch(pattern, found), found
    assert ended == status
