"""The page that asks for the token, by itself: nothing else is shown without one. And who may try again."""

import ipaddress
from collections import OrderedDict

FREE = 5  # wrong tokens from one address before it has to wait
LONGEST_SECONDS = 60.0
FORGOTTEN_SECONDS = 900.0
ADDRESSES = 10_000  # that are known; whose last wrong token is longest ago is forgotten first

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>auricle: token</title>
<link rel="stylesheet" href="login.css">
<script src="login.js" defer></script>
</head>
<body>
<main>
<h1>auricle</h1>
<form method="post" action="login">
<label for="token">Token</label>
<input id="token" name="token" type="password" autocomplete="current-password" required autofocus
 aria-describedby="hint said">
<p id="hint">The service was started with a token; whoever runs it has it.</p>
{said}
<button type="submit">Open</button>
</form>
</main>
</body>
</html>
"""

STYLE = """:root {
  color-scheme: light dark;
  --back: #fcfcfb; --text: #1b1e20; --line: #858b90; --act: #0a6470; --on: #ffffff;
}
@media (prefers-color-scheme: dark) {
  :root { --back: #15181a; --text: #e9ebeb; --line: #79828a; --act: #62c9d7; --on: #06262b; }
}
body { margin: 0; background: var(--back); color: var(--text); font: 1rem/1.5 system-ui, sans-serif; }
main { max-width: 22rem; margin: 15vh auto 0; padding: 0 1rem; }
h1 { font-size: 1.5rem; }
label { display: block; font-weight: 600; }
input, button { font: inherit; width: 100%; box-sizing: border-box; padding: 0.6rem; border-radius: 0.4rem; }
input { border: 1px solid var(--line); background: var(--back); color: var(--text); }
button { border: 0; background: var(--act); color: var(--on); font-weight: 600; cursor: pointer; }
input:focus-visible, button:focus-visible { outline: 3px solid var(--act); outline-offset: 2px; }
#said { font-weight: 600; }
"""


class Attempts:
    """Wrong tokens by address: after a few, an address must wait, each time twice as long.

    >>> attempts = Attempts()
    >>> for _ in range(7):
    ...     attempts.wrong("192.0.2.1", 100.0)
    >>> attempts.wait("192.0.2.1", 100.5), attempts.wait("192.0.2.2", 100.5)
    (1.5, 0.0)
    """

    def __init__(self) -> None:
        self._wrong: OrderedDict[str, tuple[int, float]] = OrderedDict()  # how many, and the last

    def wait(self, address: str, now: float) -> float:
        """Seconds that an address has to wait."""
        count, last = self._wrong.get(_network(address), (0, now))
        if count <= FREE:
            return 0.0
        return max(0.0, last + min(LONGEST_SECONDS, 2.0 ** min(count - FREE - 1, 60)) - now)

    def wrong(self, address: str, now: float) -> None:
        """A wrong token came."""
        network = _network(address)
        count, last = self._wrong.pop(network, (0, now))
        self._wrong[network] = (count + 1 if now - last < FORGOTTEN_SECONDS else 1, now)
        if len(self._wrong) > ADDRESSES:
            self._wrong.popitem(last=False)

    def right(self, address: str) -> None:
        """The token came."""
        self._wrong.pop(_network(address), None)


def _network(address: str) -> str:
    """An address, or the part of one that somebody has all of."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if found.version == 6 and found.ipv4_mapped is None:
        return str(ipaddress.ip_network((found, 64), strict=False))
    return str(getattr(found, "ipv4_mapped", None) or found)
