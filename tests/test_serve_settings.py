"""What a service may be told, and `auricle serve` before it serves."""

import importlib
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from auricle.cli import app, main
from auricle.serve.settings import Settings


@pytest.mark.parametrize(
    "given, said",
    [
        ({"port": 70000}, "port is 70000; expected 0 to 65535"),
        ({"queue": 1.5}, "queue is 1.5; expected a whole number, 1 to 1000000"),
        ({"queue": True}, "queue is True; expected a whole number"),
        ({"jobs_at_once": 0}, "jobs_at_once is 0; expected 1 to 1024"),
        ({"keep_hours": float("nan")}, "keep_hours is nan; expected 0.001"),
        ({"max_audio_seconds": float("inf")}, "expected 1 to 31622400 (--max-hours takes 8784 at most)"),
        ({"max_upload_bytes": float("inf")}, "(--max-upload takes 1048576 at most)"),
        ({"upload_seconds": None}, "upload_seconds is None"),
        ({"threads": 0}, "threads is 0; expected 1"),
        ({"host": ""}, "host is empty; expected an address"),
        ({"token": "short"}, "the token is too short or holds blanks"),
        ({"token": "0123456789 abcdef"}, "the token is too short or holds blanks"),
        ({"allowed_hosts": ("https://a.example",)}, "expected a name without scheme and port"),
        ({"root": "no/such/folder"}, "is no folder; name one that holds recordings"),
    ],
)
def test_a_wrong_setting_is_one_clear_line(given: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=".") as error:
        Settings(**given)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_data_below_the_root_could_be_asked_for_by_path(tmp_path: Path) -> None:
    root, link = tmp_path / "root", tmp_path / "link"
    (root / "inside").mkdir(parents=True)
    link.symlink_to(root)
    for data in (root, root / "inside", link / "new"):
        with pytest.raises(ValueError, match="uploads could be asked for by path"):
            Settings(root=root, data=data)
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="is no folder"):
        Settings(data=tmp_path / "file")
    assert Settings(root=root, data=tmp_path / "rooted").data == tmp_path / "rooted"


def test_a_token_never_stands_in_a_log() -> None:
    assert "0123456789abcdef" not in repr(Settings(token="0123456789abcdef"))


@pytest.mark.parametrize(
    "host, loopback", [("127.0.0.7", True), ("::1", True), ("0.0.0.0", False), ("::", False)]
)
def test_loopback_is_known(host: str, loopback: bool) -> None:
    assert Settings(host=host).is_loopback is loopback


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """The settings that `auricle serve` would serve with."""
    found: list[Settings] = []
    monkeypatch.setattr(importlib.import_module("auricle.cli.serve"), "run", found.append)
    return found


def test_every_option_reaches_the_settings(asked: list[Settings], tmp_path: Path) -> None:
    (tmp_path / "token").write_text("0123456789abcdef\n")
    words = f"""serve --model m --host 0.0.0.0 --port 1 --root {tmp_path} --data {tmp_path}/../d --queue 3
        --jobs 4
        --token-file {tmp_path}/token --allowed-host a.example --allowed-host b.example --max-upload 0.5
        --max-hours 2 --max-data 7 --keep-hours 5 --live 6 --job-seconds 8 --grace 9 --threads 10"""
    assert CliRunner().invoke(app, words.split()).exit_code == 0
    gib = 1 << 30
    assert asked == [
        Settings(
            model="m",
            host="0.0.0.0",
            port=1,
            root=tmp_path,
            data=tmp_path / ".." / "d",
            token="0123456789abcdef",
            allowed_hosts=("a.example", "b.example"),
            max_upload_bytes=gib // 2,
            max_audio_seconds=7200,
            max_data_bytes=7 * gib,
            keep_hours=5,
            queue=3,
            jobs_at_once=4,
            live_sessions=6,
            job_seconds=8,
            grace_seconds=9,
            threads=10,
        )
    ]


@pytest.mark.parametrize("option", ["--max-upload", "--max-hours", "--max-data"])
def test_a_limit_without_end_is_told_by_its_option(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        main(["serve", option, "inf"])
    line = capsys.readouterr().err
    assert " is inf; expected " in line and f"({option} takes " in line and line.count("\n") == 1


def test_beyond_this_machine_a_token_is_needed_or_said_to_be_not(asked: list[Settings]) -> None:
    refused = CliRunner().invoke(app, ["serve", "--host", "0.0.0.0"])
    assert refused.exit_code == 2 and "--token-file FILE, or --open" in refused.output and not asked
    assert CliRunner().invoke(app, ["serve", "--host", "0.0.0.0", "--open"]).exit_code == 0 and asked


@pytest.mark.parametrize(
    "content, said", [(b"", "is empty"), (b"\xff\xfe", "holds no token"), (b"abc", "too short")]
)
def test_a_bad_token_file_is_one_clear_line(
    content: bytes, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "token").write_bytes(content)
    with pytest.raises(SystemExit, match="1"):
        main(["serve", "--token-file", str(tmp_path / "token")])
    line = capsys.readouterr().err
    assert said in line and line.count("\n") == 1


def test_without_the_extra_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(SystemExit, match="1"):
        main(["serve"])
    said = "auricle: error: this needs fastapi, which is not installed: pip install 'auricle[serve]'\n"
    assert capsys.readouterr().err == said


def test_a_model_that_is_not_there_is_one_clear_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="1"):
        main(["serve", "--model", "no-such-model", "--port", "0"])
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1 and "no-such-model" in lines[0]
