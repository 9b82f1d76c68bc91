"""docs/formats.md runs as it stands."""

import re
import shlex
import shutil
from pathlib import Path

import duckdb
import pytest

from auricle.cli import main
from auricle.formats import SUFFIXES

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "formats.md").read_text()


def test_the_examples_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "examples").mkdir()
    shutil.copy(ROOT / "examples" / "scene.ogg", tmp_path / "examples")
    monkeypatch.chdir(tmp_path)
    commands = [
        line for block in re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL) for line in block.splitlines()
    ]
    assert len(commands) >= 8
    for command in commands:
        name, *arguments = shlex.split(command)
        assert name == "auricle"
        with pytest.raises(SystemExit) as exit:
            main([*arguments, *(["--threads", "1"] if arguments[0] == "tag" else [])])
        assert not exit.value.code, capsys.readouterr().err
    assert {path.name.removeprefix("scene") for path in tmp_path.glob("scene*")} == set(SUFFIXES.values())
    assert (tmp_path / "labels" / "scene.ogg.labels.txt").read_text() == (
        tmp_path / "scene.labels.txt"
    ).read_text()
    events = (tmp_path / "scene.labels.txt").read_text().splitlines()
    assert events[0].startswith("0.000000\t4.000000\tclock_tick 0.")
    capsys.readouterr()
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    for block in blocks:
        exec(compile(block, "docs/formats.md", "exec"), {})  # noqa: S102
    printed = capsys.readouterr().out
    assert "[10. 12.]" in printed and "siren 0.9" in printed
    [query] = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
    with duckdb.connect() as base:
        found = base.execute(query).fetchall()
    assert [row[:3] for row in found] == [("examples/scene.ogg", t, t + 2) for t in (10.0, 12.0)]


def test_the_page_names_every_format_with_its_suffix() -> None:
    for name, suffix in SUFFIXES.items():
        assert re.search(rf"^\| `{name}` \|.*\| `{re.escape(suffix)}` \|", PAGE, re.MULTILINE)
