"""The page around a table: readable on a phone, by day and by night, nothing fetched."""

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
<style>
:root {{ --ink: #1c2026; --paper: #fbfaf7; --line: #d8d5cc; --soft: #6b6f76; --good: #17683a; --bad: #a3262a;
  --open: #7a5a00; }}
@media (prefers-color-scheme: dark) {{
  :root {{ --ink: #e6e4de; --paper: #16181c; --line: #3a3d44; --soft: #9a9da5;
    --good: #6fcf97; --bad: #ff8a80; --open: #e5c463; }}
}}
body {{ margin: 0 auto; padding: 1rem; max-width: 110rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }}
h1 {{ font-size: 1.4rem; margin: .5rem 0 0; }}
h2 {{ font-size: 1.15rem; margin: 1.5rem 0 .5rem; }}
.scroll {{ overflow-x: auto; margin: 1rem 0; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; white-space: nowrap; }}
th, td {{ padding: .35rem .6rem; text-align: right; vertical-align: top;
  border-bottom: 1px solid var(--line); }}
thead th {{ font-weight: 600; color: var(--soft); font-size: .85rem; vertical-align: bottom;
  white-space: normal; }}
tbody th {{ position: sticky; left: 0; background: var(--paper); text-align: left; font-weight: 600;
  white-space: normal; min-width: 13rem; max-width: 18rem; }}
@media (max-width: 40rem) {{
  tbody th {{ min-width: 7rem; max-width: 8.5rem; font-size: .85rem; }}
  th, td {{ padding: .35rem .4rem; }}
}}
tr.p th, tr.p td {{ color: var(--soft); font-weight: 400; }}
small {{ display: block; color: var(--soft); font-size: .75rem; }}
ul {{ padding-left: 1.2rem; }}
li {{ overflow-wrap: anywhere; }}
details, ul {{ max-width: 70rem; }}
.about {{ color: var(--soft); font-size: .9rem; }}
details {{ border-top: 1px solid var(--line); padding: .5rem 0; }}
summary {{ cursor: pointer; }}
b.holds {{ color: var(--good); }} b.does-not-hold {{ color: var(--bad); }}
b.within-the-interval {{ color: var(--open); }}
</style>
<h1>{title}</h1>
<p class="about">After {source}.</p>
<div class="scroll"><table>
<thead><tr>{head}</tr></thead>
<tbody>
{body}
</tbody>
</table></div>
{verdicts}
<ul class="about">
{caption}
</ul>
</html>
"""
