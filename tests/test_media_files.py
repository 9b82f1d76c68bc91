"""Paths become files: nothing that cannot be read stops the rest, and nothing is dropped without a word."""

import os
from pathlib import Path

import pytest

from auricle.datasets import folders
from auricle.media_files import find_media, walk_media


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@pytest.fixture
def locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A corpus in which the folder `locked` may not be read, by nobody, root included."""
    touch(tmp_path, "dog/a.wav", "locked/b.wav", "rain/c.wav")
    listing = os.scandir

    def scandir(path: str) -> object:
        if str(path).endswith("locked"):
            raise PermissionError(13, "Permission denied", str(path))
        return listing(path)

    monkeypatch.setattr(os, "scandir", scandir)
    return tmp_path


def test_folders_and_globs_are_expanded_in_order(tmp_path: Path) -> None:
    touch(tmp_path, "b/two.MP4", "b/deep/one.wav", "b/notes.txt", "b/._two.mp4", "b/.trash/x.wav")
    touch(tmp_path, "a.flac", "[x].wav", "c/readme.md")
    paths = [f"{tmp_path}/*.flac", f"{tmp_path}/b", f"{tmp_path}/a.flac", f"{tmp_path}/[x].wav", "-"]
    found = find_media(paths)
    assert [problem for _, problem in found] == [None] * 5
    names = [Path(path).name for path, _ in found]
    assert names == ["a.flac", "one.wav", "two.MP4", "[x].wav", "-"]
    problems = dict(find_media([f"{tmp_path}/c", f"{tmp_path}/*.ogg", f"{tmp_path}/gone.wav"]))
    assert [str(problem).partition(": ")[2][:14] for problem in problems.values()] == [
        "no media files", "no file matche", "no such file o",
    ]  # fmt: skip


def test_a_path_that_cannot_be_looked_at_is_one_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    touch(tmp_path, "a.wav", "secret.wav")
    looked_at = Path.stat

    def stat(self: Path, **options: bool) -> os.stat_result:
        if self.name == "secret.wav":
            raise PermissionError(13, "Permission denied", str(self))
        return looked_at(self, **options)

    monkeypatch.setattr(Path, "stat", stat)
    paths = [f"{tmp_path}/{name}" for name in ("a" * 300 + ".wav", "secret.wav", "x\0.wav", "a.wav/b.wav")]
    *problems, good = find_media([*paths, tmp_path / "a.wav"])
    assert good == (str(tmp_path / "a.wav"), None)
    causes = ["File name too long", "Permission denied", "embedded null byte", "no such file or folder"]
    assert problems == [(path, f"{path}: {cause}") for path, cause in zip(paths, causes, strict=True)]


def test_an_empty_path_is_not_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "a.wav")
    monkeypatch.chdir(tmp_path)
    [(path, problem)] = find_media([""])
    assert path == "" and "a path is empty" in str(problem)
    assert find_media(["."]) == [("a.wav", None)]


def test_a_folder_that_cannot_be_read_is_named(locked: Path) -> None:
    assert find_media([locked]) == [
        (str(locked / "dog/a.wav"), None),
        (str(locked / "rain/c.wav"), None),
        (str(locked / "locked"), f"{locked / 'locked'}: Permission denied"),
    ]


def test_a_corpus_with_a_folder_that_cannot_be_read_is_refused(locked: Path) -> None:
    with pytest.raises(ValueError, match=r"locked: Permission denied; a pack would lack what is in there"):
        folders(locked)


def test_links_are_followed_once_and_never_round(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/b.wav", "corpus/dog/a.wav")
    (tmp_path / "corpus/dog/up").symlink_to(tmp_path / "corpus")
    (tmp_path / "corpus/rain").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "corpus/rain again").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "corpus/dog/lost.wav").symlink_to(tmp_path / "gone.wav")
    os.mkfifo(tmp_path / "corpus/dog/pipe.wav")
    files, problems = walk_media(tmp_path / "corpus")
    names = [file.relative_to(tmp_path / "corpus").as_posix() for file in files]
    # A link that leads nowhere is tried, and named when it is opened; to open a pipe might wait for ever.
    assert names == ["dog/a.wav", "dog/lost.wav", "rain/b.wav"] and not problems
    assert [clip.id for clip in folders(tmp_path / "corpus")] == names
