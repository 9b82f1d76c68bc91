"""The page that asks for the token, by itself: nothing else is shown without one."""

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
