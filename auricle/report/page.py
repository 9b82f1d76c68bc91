"""HTML pages that need nothing but themselves: style, script and data inside, and no request to anywhere."""

import base64
import html
import json
import math
import re
from pathlib import Path
from typing import Any

ASSETS = Path(__file__).with_name("assets")
# The browser is told to fetch nothing either. file: is for a recording that a page plays from beside itself.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data:; media-src data: file: 'self'"
)
# What a page goes by is its text: no character of a label may end the script that carries it.
ESCAPES = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
UNSAFE = re.compile("[<>&\u2028\u2029]")


def page(title: str, body: str, *, script: str = "", data: Any = None) -> str:
    """A whole page.

    Args:
        title: text, for the tab and the heading.
        body: HTML under the heading.
        script: file in assets/ that is put inside.
        data: what the script finds as JSON in the element "data"; NaN and infinity become null.

    >>> "<title>Dogs &amp; cats</title>" in page("Dogs & cats", "<p>None.</p>")
    True
    """
    style = (ASSETS / "page.css").read_text(encoding="utf-8")
    parts = [
        "<!doctype html>",
        '<html lang="en">',
        "<head>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="color-scheme" content="light dark">',
        f"<title>{text(title)}</title>",
        f"<style>\n{style}</style>",
        "</head>",
        "<body>",
        f"<h1>{text(title)}</h1>",
        body,
    ]
    if data is not None:
        parts.append(f'<script type="application/json" id="data">{as_json(data)}</script>')
    if script:
        parts.append(f"<script>\n{(ASSETS / script).read_text(encoding='utf-8')}</script>")
    return "\n".join([*parts, "</body>", "</html>", ""])


def text(value: object) -> str:
    """Text as HTML, also inside an attribute.

    >>> text('"R&B" <live>')
    '&quot;R&amp;B&quot; &lt;live&gt;'
    """
    # A name of bytes that are no UTF-8 cannot be written as such.
    return html.escape(str(value).encode("utf-8", "backslashreplace").decode("utf-8"))


def as_json(value: Any) -> str:
    r"""JSON that may stand in a script element; what JSON has no number for is null.

    >>> as_json({"a": [1.5, float("nan")], "b": "</script>"})
    '{"a":[1.5,null],"b":"\\u003c/script\\u003e"}'
    """
    written = json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    written = UNSAFE.sub(lambda found: ESCAPES[found[0]], written)
    return written.encode("utf-8", "backslashreplace").decode("utf-8")


def data_uri(content: bytes, kind: str) -> str:
    """Bytes as an address that holds them.

    >>> data_uri(b"abc", "audio/wav")
    'data:audio/wav;base64,YWJj'
    """
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value
