"""What a table says of the code that made it."""

from pathlib import Path

import pytest

from auricle.experiments import provenance


def test_without_git_the_sources_tell_versions_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Two copies of the package are alike until a byte of a module differs, or its place."""

    def of_copy(**files: str) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir()))) / "auricle" / "experiments"
        folder.mkdir(parents=True)
        for name, text in files.items():
            (folder / f"{name}.py").write_text(text)
        monkeypatch.setattr(provenance, "__file__", str(folder / "provenance.py"))
        provenance.sources.cache_clear()
        return provenance.commit()

    one, again = of_copy(a="x = 1\n"), of_copy(a="x = 1\n")
    assert one == again and one.startswith("sources-")
    assert len({one, of_copy(a="x = 2\n"), of_copy(b="x = 1\n"), of_copy(a="x = 1\n", b="")}) == 4
    provenance.sources.cache_clear()
