"""Style sheet of the pages, and the one script: tables sort when a heading is pressed."""

STYLE = """
:root { color-scheme: light dark; --paper:#f5f2ec; --surface:#fffdf9; --ink:#1e2226; --muted:#5c6269; --line:#ded7c8; --accent:#0f6b5c;
  --c1:#0f6b5c; --c2:#b4501e; --c3:#4c4fa8; --c4:#8a6a12; }
@media (prefers-color-scheme: dark) { :root { --paper:#131618; --surface:#1b1f22; --ink:#ecebe6; --muted:#a3a9af; --line:#363d43;
  --accent:#6fd0bb;
  --c1:#6fd0bb; --c2:#f0a27a; --c3:#a9acf5; --c4:#e0b15a; } }
* { box-sizing: border-box; } html { scroll-behavior: smooth; } @media (prefers-reduced-motion: reduce) { html { scroll-behavior: auto; } }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main, header, footer { max-width: 1180px; margin: 0 auto; padding: 0 24px; }
h1, h2 { font-family: "Iowan Old Style", Palatino, "P052", Georgia, serif; font-weight: 500; line-height: 1.2; } h1 { margin: 28px 0 4px; }
h2 { margin: 0 0 8px; } section { background: var(--surface); border: 1px solid var(--line); border-radius: 12px; padding: 20px; margin:
  18px 0; }
nav ul { display: flex; flex-wrap: wrap; gap: 4px 18px; list-style: none; padding: 0; margin: 10px 0; } a { color: var(--accent); }
:focus-visible { outline: 3px solid var(--accent); outline-offset: 2px; } .skip { position: absolute; left: -9999px; } .skip:focus { left:
  12px; top: 8px; }
.quiet, caption, figcaption { color: var(--muted); font-size: .9rem; text-align: left; } figure { margin: 12px 0; overflow-x: auto; }
svg { max-width: 100%; height: auto; } .scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .9rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: 3px 10px; border-bottom: 1px solid var(--line); text-align: right; white-space: nowrap; } th:first-child, td.word {
  text-align: left; }
thead th { position: sticky; top: 0; background: var(--surface); } th button { all: unset; cursor: pointer; font-weight: 600; }
th button:focus-visible { outline: 3px solid var(--accent); } th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; } tr.mean { font-weight: 600; }
dl.facts { display: grid; grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); gap: 14px; margin: 0; } dt { color: var(--muted);
  font-size: .85rem; }
dd { margin: 0; font-size: 1.35rem; font-variant-numeric: tabular-nums; } dd small { font-size: .8rem; color: var(--muted); display: block; }
details { margin: 6px 0; } summary { cursor: pointer; } .tiles { display: flex; flex-wrap: wrap; gap: 10px; } .tiles figure { margin: 0;
  width: 112px; }
.tiles figcaption { overflow-wrap: anywhere; }
.tiles img { display: block; } pre { overflow-x: auto; font-size: .8rem; }
@media print { section { break-inside: avoid; } nav, .skip { display: none; } }
"""

SORT = """
for (const table of document.querySelectorAll("table.sortable")) {
  table.querySelectorAll("thead th").forEach((head, column) => head.querySelector("button")?.addEventListener("click", () => {
    const down = head.getAttribute("aria-sort") === "ascending";
    table.querySelectorAll("thead th").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const body = table.tBodies[0], key = (row) => row.cells[column].dataset.key ?? row.cells[column].textContent;
    const rows = [...body.rows].sort((a, b) => {
      const x = parseFloat(key(a)), y = parseFloat(key(b));
      if (isNaN(x) && isNaN(y)) return key(a).localeCompare(key(b));
      return isNaN(x) ? 1 : isNaN(y) ? -1 : x - y;
    });
    body.append(...(down ? rows.reverse() : rows));
  }));
}
"""
