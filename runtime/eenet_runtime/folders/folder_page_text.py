"""What is the same in every page of a folder: its style and its few lines of script. Neither loads anything."""

from __future__ import annotations

from typing import Final

STAGE_COLOURS: Final = (
    "#56b4e9",
    "#e69f00",
    "#009e73",
    "#0072b2",
    "#cc79a7",
    "#d55e00",
    "#b0a000",
    "#8c8c8c",
    "#6a51a3",
    "#a6761d",
)
"""One for each stage, in order, over and over: the palette of Okabe and Ito, its yellow darker, and three more."""

STYLE: Final = """
:root { color-scheme: light dark; --ink: #1c2126; --dim: #5b6570; --paper: #fff; --card: #f4f6f8; --line: #d9dee3;
  --warn: #8a5300; --warn-paper: #fff4dc; --bad: #a4262c; --link: #0b61a4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --dim: #a0aab4; --paper: #14181c; --card: #1e242a;
  --line: #343c44; --warn: #ffc46b; --warn-paper: #33270f; --bad: #ff8f8f; --link: #7dbcf5; } }
* { box-sizing: border-box; }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 1.5rem auto;
  max-width: 86rem; padding: 0 1.2rem; }
a { color: var(--link); } a:focus-visible, button:focus-visible, input:focus-visible { outline: 2px solid var(--link); }
h1 { font-size: 1.6rem; margin: 0; } h2 { font-size: 1.15rem; margin: 2rem 0 0.6rem; }
header { display: flex; flex-wrap: wrap; gap: 0.4rem 1.2rem; align-items: center; justify-content: space-between; }
.badge { border: 2px solid #d08a00; color: var(--warn); background: var(--warn-paper); padding: 0.1rem 0.7rem;
  font-weight: 600; letter-spacing: 0.04em; }
dl.totals { display: flex; flex-wrap: wrap; gap: 0.7rem; margin: 1rem 0; }
dl.totals div { background: var(--card); border: 1px solid var(--line); border-radius: 6px; padding: 0.4rem 0.9rem; }
dl.totals dt { color: var(--dim); font-size: 0.8rem; } dl.totals dd { margin: 0; font-size: 1.25rem; font-weight: 600; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.88rem; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--dim); padding-bottom: 0.3rem; }
th, td { padding: 0.3rem 0.5rem; text-align: right; vertical-align: top; border-bottom: 1px solid var(--line); }
thead th { background: var(--card); white-space: nowrap; }
thead th button { font: inherit; color: inherit; background: none; border: 0; padding: 0; cursor: pointer; }
th[aria-sort] button::after { content: " \\2195"; color: var(--dim); }
th[aria-sort="ascending"] button::after { content: " \\2191"; color: inherit; }
th[aria-sort="descending"] button::after { content: " \\2193"; color: inherit; }
tbody th { font-weight: 600; }
.text { text-align: left; overflow-wrap: break-word; } .long { min-width: 9.5rem; overflow-wrap: anywhere; }
.files { display: block; font-weight: 400; margin-top: 0.2rem; }
.files a { margin-right: 0.6rem; white-space: nowrap; display: inline-block; }
#cases { width: 100%; } #cases img { display: block; width: 230px; height: auto; background: #000; }
ul.warnings { margin: 0; padding-left: 1.1rem; } .suspicion { color: var(--warn); } .notice { color: var(--dim); }
.notice strong { font-weight: 400; } .reason { color: var(--bad); }
.bar { display: flex; height: 0.8rem; width: 6.5rem; margin: 0.25rem 0 0 auto; background: var(--card); }
.bar span { display: block; height: 100%; min-width: 0; }
.key { display: inline-block; width: 0.8rem; height: 0.8rem; vertical-align: -0.05rem; margin-right: 0.4rem; }
#controls { display: flex; flex-wrap: wrap; gap: 0.5rem 1.2rem; align-items: center; margin: 0.6rem 0; }
#controls[hidden] { display: none; }
input[type=search] { font: inherit; color: inherit; background: var(--paper); border: 1px solid var(--line);
  padding: 0.25rem 0.5rem; width: 18rem; max-width: 100%; }
footer { margin: 2.5rem 0 1rem; color: var(--dim); font-size: 0.85rem; }
@media print { :root { color-scheme: light; --ink: #000; --dim: #444; --paper: #fff; --card: #f2f2f2; --line: #bbb;
  --warn: #6b4000; --warn-paper: #fff; --bad: #800; --link: #000; }
  body { margin: 0; max-width: none; font-size: 11px; } #controls { display: none; } #cases img { width: 170px; }
  tr, dl.totals div { break-inside: avoid; } thead { display: table-header-group; } .scroll { overflow: visible; }
  .bar, .bar span, .key, .badge { print-color-adjust: exact; -webkit-print-color-adjust: exact; } }
"""

SCRIPT: Final = """
"use strict";
(() => {
  const table = document.getElementById("cases");
  if (!table) return;
  const body = table.tBodies[0], rows = [...body.rows];
  const search = document.getElementById("search"), warned = document.getElementById("warned");
  const suspect = document.getElementById("suspect");
  const shown = document.getElementById("shown");
  const filter = () => {
    const text = search.value.trim().toLowerCase();
    let count = 0;
    for (const row of rows) {
      row.hidden = !row.textContent.toLowerCase().includes(text) || (warned.checked && !("warned" in row.dataset)) ||
        (suspect.checked && !("suspect" in row.dataset));
      count += !row.hidden;
    }
    shown.textContent = `${count} of ${rows.length} shown`;
  };
  const key = (row, column) => row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
  const compare = (a, b) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    const difference = Number(a) - Number(b);
    return Number.isNaN(difference) ? a.localeCompare(b, undefined, { numeric: true }) : difference;
  };
  const sort = (head, column) => {
    const down = head.getAttribute("aria-sort") === "ascending";
    for (const other of table.tHead.rows[0].cells)
      if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
    head.setAttribute("aria-sort", down ? "descending" : "ascending");
    const sorted = [...rows].sort((a, b) => (down ? -1 : 1) * compare(key(a, column), key(b, column)));
    body.append(...sorted);
  };
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    if (!("sort" in head.dataset)) return;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    head.setAttribute("aria-sort", "none");
    button.addEventListener("click", () => sort(head, column));
  });
  search.addEventListener("input", filter);
  warned.addEventListener("change", filter);
  suspect.addEventListener("change", filter);
  document.getElementById("controls").hidden = false;
  filter();
})();
"""
