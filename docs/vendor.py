"""Fetch what the page of `auricle serve` brings along, or check that what lies there is that.

    python docs/vendor.py            # do the files have the checksums that vendor.json gives?
    python docs/vendor.py --fetch    # ask npm for the packages again, and write files and vendor.json

Nothing is built: the files are those of the packages, byte by byte.
"""

import base64
import hashlib
import json
import re
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "auricle" / "serve" / "page" / "vendor"
# package -> version, and its files: inside the package -> here.
PACKAGES: dict[str, tuple[str, dict[str, str]]] = {
    "wavesurfer.js": (
        "8.0.1",
        {"dist/wavesurfer.esm.js": "wavesurfer.esm.js", "LICENSE": "wavesurfer.LICENSE.txt"},
    ),
    "swagger-ui-dist": (
        "5.35.0",
        {
            "swagger-ui-bundle.js": "swagger-ui-bundle.js",
            "swagger-ui-bundle.js.LICENSE.txt": "swagger-ui-bundle.js.LICENSE.txt",
            "swagger-ui.css": "swagger-ui.css",
            "LICENSE": "swagger-ui.LICENSE.txt",
            "NOTICE": "swagger-ui.NOTICE.txt",
        },
    ),
}
OVERVIEW_HEIGHT = 48  # of wavesurfer's picture, in auricle/serve/page/player.js: its style element holds it


def digest(data: bytes) -> str:
    """SHA-256, in hexadecimal."""
    return hashlib.sha256(data).hexdigest()


def style_source(script: str) -> str:
    """The source, for a Content-Security-Policy, that allows wavesurfer's one style element and no other."""
    found = re.search(r"<style[^>]*>(.*?)</style>", script, re.DOTALL)
    if not found:
        raise SystemExit(
            "wavesurfer.esm.js has no style element that this script knows: look at its initHtml"
        )
    style = re.sub(r"\$\{[^}]*\}", str(OVERVIEW_HEIGHT), found[1]).replace("\\n", "\n")
    return f"'sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}'"


def fetch() -> None:
    """Write the files and vendor.json."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    about: dict[str, object] = {}
    for name, (version, files) in PACKAGES.items():
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run(
                ["npm", "pack", "--silent", f"{name}@{version}"], cwd=folder, check=True, capture_output=True
            )
            (archive,) = Path(folder).glob("*.tgz")
            with tarfile.open(archive) as tar:
                licence = json.loads(_member(tar, "package.json"))["license"]
                data = {here: _member(tar, there) for there, here in files.items()}
        for here, content in data.items():
            (FOLDER / here).write_bytes(content)
        about[name] = {
            "version": version,
            "licence": licence,
            "files": {here: {"sha256": digest(content)} for here, content in data.items()},
        }
    about["csp_style"] = style_source((FOLDER / "wavesurfer.esm.js").read_text())
    (FOLDER / "vendor.json").write_text(json.dumps(about, indent=2) + "\n")


def _member(tar: tarfile.TarFile, name: str) -> bytes:
    member = tar.extractfile(f"package/{name}")
    assert member is not None, f"package/{name} is no file"
    return member.read()


def differences() -> list[str]:
    """What is not as vendor.json says; nothing, if all is well."""
    about = json.loads((FOLDER / "vendor.json").read_text())
    found = []
    for name, (version, files) in PACKAGES.items():
        if about[name]["version"] != version:
            found.append(f"{name}: vendor.json says {about[name]['version']}, this script {version}")
        for here in files.values():
            if digest((FOLDER / here).read_bytes()) != about[name]["files"][here]["sha256"]:
                found.append(f"{here}: other bytes than vendor.json says")
    if about["csp_style"] != style_source((FOLDER / "wavesurfer.esm.js").read_text()):
        found.append("csp_style: not that of wavesurfer's style element")
    return found


if __name__ == "__main__":
    if "--fetch" in sys.argv[1:]:
        fetch()
    wrong = differences()
    print("\n".join(wrong) or "as vendor.json says")
    sys.exit(bool(wrong))
