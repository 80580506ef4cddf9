"""The parts of the results page that are the same on every page: its style and its few lines of JavaScript."""

from __future__ import annotations

import base64
import hashlib

STYLE = """
:root { color-scheme: light dark; --paper: #f6f6f4; --card: #fff; --ink: #1b1b1b; --faint: #5c5c5c; --line: #d5d5d0;
  --link: #0b57b0; --alarm: #9a3400; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #161618; --card: #222226; --ink: #ececec; --faint: #a8a8ac; --line: #3c3c42; --link: #8ab8ff;
    --alarm: #ffb27d; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 110rem; padding: 1rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.45 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { font-size: 1.4rem; margin: 0 0 .5rem; }
h2 { font-size: 1rem; margin: 0 0 .5rem; }
a { color: var(--link); }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
dl { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 25rem), 1fr)); gap: .1rem 1.5rem;
  margin: .5rem 0; }
dl div { display: grid; grid-template-columns: 8rem 1fr; gap: .5rem; }
dt { color: var(--faint); }
dd { margin: 0; }
form { position: sticky; top: 0; z-index: 1; display: flex; flex-wrap: wrap; gap: .5rem 1rem; align-items: center;
  padding: .6rem 0; background: var(--paper); border-bottom: 1px solid var(--line); }
form[hidden], article[hidden] { display: none; }
input, select { font: inherit; padding: .25rem .4rem; max-width: 100%; color: inherit; background: var(--card);
  border: 1px solid var(--faint); border-radius: .3rem; }
#results { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 27rem), 1fr)); gap: 1rem;
  margin-top: 1rem; align-items: start; }
article { background: var(--card); border: 1px solid var(--line); border-radius: .5rem; padding: .8rem; min-width: 0;
  content-visibility: auto; contain-intrinsic-size: auto 24rem; }
.pictures { display: flex; flex-wrap: wrap; gap: .6rem; }
figure { flex: 1 1 11rem; max-width: 18rem; margin: 0; }
figure a { display: block; }
img { display: block; max-width: 100%; height: auto; border-radius: .25rem; }
figcaption { font-size: .9rem; padding-top: .2rem; }
.faint { color: var(--faint); }
.warning { color: var(--alarm); margin: .5rem 0 0; }
table { border-collapse: collapse; margin: .6rem 0 0; width: 100%; font-size: .9rem; }
th { text-align: left; font-weight: normal; }
td { padding-left: .6rem; white-space: nowrap; width: 1%; font-variant-numeric: tabular-nums; }
meter { width: 7rem; max-width: 25vw; }
details { margin-top: .5rem; font-size: .9rem; }
summary { cursor: pointer; color: var(--faint); }
"""

SCRIPT = """
const results = document.getElementById("results"), cards = Array.from(results.children);
const filter = document.getElementById("filter"), sort = document.getElementById("sort");
const shown = document.getElementById("shown");
const number = card => +card.dataset.number, score = card => +card.dataset.score;
const orders = {
  run: (a, b) => number(a) - number(b),
  high: (a, b) => score(b) - score(a) || number(a) - number(b),
  low: (a, b) => score(a) - score(b) || number(a) - number(b),
  warned: (a, b) => b.dataset.warnings - a.dataset.warnings || number(a) - number(b),
};
function select() {
  const words = filter.value.toLowerCase().split(/\\s+/);
  let count = 0;
  for (const card of cards) {
    card.hidden = !words.every(word => card.dataset.text.includes(word));
    count += !card.hidden;
  }
  shown.textContent = count + " of " + cards.length + " pictures";
}
function order() { results.append(...cards.sort(orders[sort.value])); }
filter.addEventListener("input", select);
sort.addEventListener("change", order);
document.forms[0].addEventListener("submit", event => event.preventDefault());
document.forms[0].hidden = false;
select();
order();
"""

CONTROLS = """<form hidden>
<label>Class or file <input type="search" id="filter" autocomplete="off" aria-controls="results"></label>
<label>Order <select id="sort" aria-controls="results"><option value="run">as explained</option>
<option value="high">highest score first</option><option value="low">lowest score first</option>
<option value="warned">warnings first</option></select></label>
<output id="shown" role="status"></output>
</form>
"""


def policy() -> str:
    """Return what the page may load and run: pictures within it, this style, this script; nothing of a network."""
    style, script = (base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in (STYLE, SCRIPT))
    return f"default-src 'none'; img-src data:; style-src 'sha256-{style}'; script-src 'sha256-{script}'"
