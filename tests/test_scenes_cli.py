"""`auricle scenes`: what it prints, and what it says of wrong usage; the picture in the documentation."""

import re
import runpy
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from test_scenes import LABELS, corpus, make_pack
from tiny_model import save

from auricle.cli import main
from auricle.datasets.scene_recipe import SceneRecipe
from auricle.shards import Pack

ROOT = Path(__file__).parents[1]
SHORT = ["--seconds", "4", "--set", "longest=2", "--set", "shortest=0.5", "--jobs", "1"]


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as ended:
        main(["scenes", *map(str, arguments)])
    printed = capsys.readouterr()
    return int(ended.value.code or 0), printed.out, printed.err


@pytest.fixture(scope="module")
def singles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_pack(tmp_path_factory.mktemp("singles") / "pack", corpus())


def test_scenes_are_mixed_and_reported_by_split(
    singles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    mapping = ["--split", "train=fold1,fold2", "--split", "test=fold3", "--balanced", "test"]
    wanted = ["--scenes", "20", "--scenes", "train=30", "--seed", "7", "--set", "orders=1"]
    status, out, _ = run(capsys, singles, tmp_path / "out", *mapping, *wanted, *SHORT, "--verify")
    assert status == 0
    lines = out.splitlines()
    assert re.match(r".*out: 50 scenes, 3 min 20 s of sound, mixed in ", lines[0])
    assert lines[1].split() == ["split", *"scenes sounds labels most least orders recordings groups".split()]
    assert lines[2].split()[:4:3] == ["train", "6"] and lines[3].split()[:2] == ["test", "20"]
    assert lines[3].split()[6] == "0.0"
    assert lines[-1].endswith("every checksum is as written")
    scenes = Pack(tmp_path / "out")
    assert len(scenes.select(["train"])) == 30 and len(scenes.select(["test"])) == 20
    recipe = scenes.manifest["mixed_from"]["recipe"]
    assert (recipe["seed"], recipe["seconds"], recipe["orders"]) == (7, 4.0, 1.0)
    assert set(pq.read_table(tmp_path / "out" / "events.parquet")["id"].to_pylist()) <= set(scenes.ids)
    again = run(capsys, singles, tmp_path / "out", *mapping, *wanted, *SHORT)
    assert again[0] == 0 and "was mixed before" in again[1]


def test_without_a_mapping_each_split_is_mixed_from_itself(
    singles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, singles, tmp_path / "out", "--scenes", "10", *SHORT)[0] == 0
    assert set(Pack(tmp_path / "out").splits) == {"fold1", "fold2", "fold3"}


@pytest.mark.parametrize(
    "arguments, status, said",
    [
        (["--scenes", "many"], 2, "expected whole numbers"),
        (["--scenes", "3", "--scenes", "4"], 2, "one number for all splits"),
        (["--scenes", "test=3"], 2, "no split 'test'; there are: fold1, fold2, fold3"),
        (["--scenes", "3", "--balanced", "test"], 2, "no split 'test'; there are: fold1, fold2, fold3"),
        (
            ["--scenes", "a=3", "--split", "a=fold1", "--split", "b=fold2"],
            2,
            "split 'b' is asked for, but --scenes does not say how many; add --scenes b=N",
        ),
        (["--scenes", "3", "--set", "seed=4"], 2, "give it as --seed"),
        (["--scenes", "3", "--split", "a=fold9"], 1, "no split 'fold9' in the source; there are: 'fold1'"),
        (["--scenes", "3", "--set", "loudness=3"], 1, "no setting 'loudness'; there are: seed, seconds"),
        (["--scenes", "3", "--label-set", "coarse"], 1, "no label set 'coarse'; there are: labels"),
    ],
)
def test_wrong_usage_is_named(
    singles: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    said: str,
) -> None:
    found = run(capsys, singles, tmp_path / "out", *arguments)
    assert (found[0], found[1]) == (status, "")
    assert said in " ".join(found[2].split())
    assert not (tmp_path / "out").exists()


def test_every_setting_stands_in_the_documentation() -> None:
    page = (ROOT / "docs" / "scenes.md").read_text()
    for name in SceneRecipe().as_dict():
        assert f"`{name}`" in page or f"`--{name}`" in page, name


def test_the_picture_in_the_documentation_can_be_drawn_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["draw_mixed_scene.py", str(tmp_path / "scene.png")])
    runpy.run_path(str(ROOT / "examples" / "draw_mixed_scene.py"), run_name="__main__")
    assert (tmp_path / "scene.png").read_bytes().startswith(b"\x89PNG")
    assert (ROOT / "docs" / "img" / "mixed_scene.png").stat().st_size < 200_000


def test_figures_on_scenes_are_headed_as_mixed(
    singles: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(capsys, singles, tmp_path / "out", "--scenes", "10", *SHORT)[0] == 0
    model = save(tmp_path / "model", labels=LABELS[:3])
    headed = []
    for pack in (tmp_path / "out", singles):
        with pytest.raises(SystemExit):
            main(["evaluate", str(model.path), str(pack), "--draws", "0"])
        headed.append(capsys.readouterr().out.splitlines()[:2])
    assert headed[0][0].startswith("Scenes mixed from recordings of ")
    assert headed[0][1] == headed[1][0] and headed[1][0].startswith("figure ")
