"""What docs/deploy.md, the Dockerfile and .dockerignore say, as far as it can be tried without an engine."""

import json
import re
import shlex
import shutil
import socket
import subprocess
import sys
from fnmatch import fnmatch
from pathlib import Path

import pytest
from serving import served

from auricle.cli import verbs
from auricle.serve.confine import CALLS

ROOT = Path(__file__).parents[1]
DOCKERFILE = (ROOT / "Dockerfile").read_text()
DEPLOY = (ROOT / "docs" / "deploy.md").read_text()
OPTIONS = {name for parameter in verbs()["serve"].params for name in parameter.opts}
# What the service itself does beside what its decoders may: starts them, listens, writes.
OWN_CALLS = (
    "prctl prlimit64 execve clone3 accept4 sendmsg recvmsg flock fdatasync rename unlink openat pwrite64"
)


def block(language: str) -> str:
    """The first block of a language in docs/deploy.md."""
    match = re.search(rf"^```{language}\n(.*?)^```", DEPLOY, re.DOTALL | re.MULTILINE)
    assert match
    return match[1]


def instruction(name: str) -> list[str]:
    """What stands after each instruction of a name in the last stage of the Dockerfile."""
    joined = DOCKERFILE.rpartition("\nFROM ")[2].replace("\\\n", " ")
    return [line.split(None, 1)[1] for line in joined.splitlines() if line.startswith(name + " ")]


def needs(name: str) -> str:
    found = shutil.which(name) or shutil.which(str(Path(sys.executable).with_name(name)))
    return found or pytest.skip(f"{name} is not here")


def test_the_linter_finds_nothing_in_the_dockerfile() -> None:
    done = subprocess.run([needs("hadolint"), "Dockerfile"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_the_image_starts_the_service_as_nobody_in_particular_with_options_that_there_are() -> None:
    entry = json.loads(instruction("ENTRYPOINT")[0])
    assert entry[:2] == ["auricle", "serve"]
    assert {word for word in entry if word.startswith("--")} <= OPTIONS
    assert entry[entry.index("--data") + 1] == instruction("VOLUME")[0]
    assert entry[entry.index("--port") + 1] == instruction("EXPOSE")[0]
    assert re.fullmatch(r"[1-9]\d+:[1-9]\d+", instruction("USER")[-1])
    assert "torch" not in re.sub(r"#.*", "", DOCKERFILE)


def test_what_is_copied_into_the_image_is_there_and_is_not_ignored() -> None:
    lines = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert lines[0] == "*"
    kept = [line[1:] for line in lines if line.startswith("!")]
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
    names = [name for line in copied for name in line.split()]
    assert len(names) >= 5
    for name in names:
        assert (ROOT / name).exists() and any(fnmatch(name, pattern) for pattern in kept), name


def test_the_health_check_tells_a_service_that_works_from_none() -> None:
    command = json.loads(re.search(r"\[.*\]", instruction("HEALTHCHECK")[0])[0])
    assert command[0] == "python"
    with socket.create_server(("127.0.0.1", 0)) as free:
        nobody = f"http://127.0.0.1:{free.getsockname()[1]}"
    with served() as (address, _):
        status = {
            at: subprocess.run(
                [sys.executable, *(word.replace("http://127.0.0.1:8765", at) for word in command[1:])],
                capture_output=True,
            ).returncode
            for at in (address, nobody)
        }
    assert status == {address: 0, nobody: 1}


def test_the_options_in_the_guide_are_those_of_the_command() -> None:
    unit = re.search(r"^ExecStart=(.+)$", block("ini"), re.MULTILINE)[1]
    told = {word for word in shlex.split(unit) if word.startswith("--")}
    told |= set(re.findall(r"^\| .+ \| `(--[a-z-]+)", DEPLOY, re.MULTILINE))
    assert len(told) > 8 and told <= OPTIONS


def test_the_defaults_in_the_guide_are_those_of_the_command() -> None:
    defaults = {name: parameter.default for parameter in verbs()["serve"].params for name in parameter.opts}
    told = re.findall(r"^\| .+ \| `(--[a-z-]+) [A-Z]+` \| (\d+) \|$", DEPLOY, re.MULTILINE)
    assert len(told) > 6
    assert {name: float(value) for name, value in told} == {name: defaults[name] for name, _ in told}


def test_the_unit_is_one_that_systemd_understands_and_calls_safe(tmp_path: Path) -> None:
    analyze = needs("systemd-analyze")
    unit = tmp_path / "auricle.service"
    unit.write_text(re.sub(r"^ExecStart=\S+", "ExecStart=/bin/true", block("ini"), flags=re.MULTILINE))
    done = subprocess.run([analyze, "verify", "--man=no", str(unit)], capture_output=True, text=True)
    said = [line for line in done.stderr.splitlines() if "auricle" in line]
    assert not said
    command = [analyze, "security", "--offline=yes", "--threshold=20", "--no-pager", str(unit)]
    done = subprocess.run(command, capture_output=True, text=True)
    if "offline" in done.stderr:
        pytest.skip("this systemd cannot judge a unit that it does not run")
    assert done.returncode == 0, done.stdout


def test_the_unit_allows_the_system_calls_of_the_service_and_its_decoders() -> None:
    analyze = needs("systemd-analyze")
    filters = re.findall(r"^SystemCallFilter=(~?)(\S+)$", block("ini"), re.MULTILINE)
    allowed: set[str] = set()
    for refused, name in filters:
        found = calls(analyze, name)
        allowed = allowed - found if refused else allowed | found
    needed = {*CALLS["x86_64"], *OWN_CALLS.split()}
    assert not needed - allowed


def calls(analyze: str, name: str) -> set[str]:
    """The system calls of a set, and of the sets in it."""
    done = subprocess.run([analyze, "syscall-filter", "--no-pager", name], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"systemd-analyze does not know {name}: {done.stderr}")
    words = {line.strip() for line in done.stdout.splitlines() if line.startswith(" ") and "#" not in line}
    for inner in [word for word in words if word.startswith("@")]:
        words |= calls(analyze, inner)
    return {word for word in words if not word.startswith("@")}
