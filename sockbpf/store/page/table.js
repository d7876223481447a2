// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** The table: headings that sort, rows that are made once and then moved, arrow keys to go from row to row. */

/**
 * Make the table. `on.sort(sort)` when a heading is pressed, `on.choose(row)` when a row is pressed.
 *
 * Returns `show(columns, rows, { sort, keyOf, chosen })`.
 */
export function makeTable(head, body, on) {
  const made = new Map();
  let shown = [];
  let columnsShown = null;

  body.addEventListener("click", (event) => {
    const tr = event.target.closest("tr");
    if (tr && !getSelection().toString()) on.choose(tr.row);
  });
  body.addEventListener("keydown", (event) => {
    const tr = event.target.closest("tr");
    const to = tr && { ArrowDown: tr.nextSibling, ArrowUp: tr.previousSibling, Home: body.firstChild, End: body.lastChild }[event.key];
    if (!to) return;
    event.preventDefault();
    stop(to).focus();
  });
  // The Tab key stops at one row only: the one where the operator was last.
  body.addEventListener("focusin", (event) => {
    for (const each of body.querySelectorAll('button[tabindex="0"]')) each.tabIndex = -1;
    event.target.tabIndex = 0;
  });

  function show(columns, rows, { sort, keyOf, chosen }) {
    if (columns !== columnsShown) {
      columnsShown = columns;
      made.clear();
      body.replaceChildren();
      head.replaceChildren(...columns.map((column) => heading(column, on)));
    }
    markSort(head, columns, sort);
    shown = rows;
    const keys = new Set();
    let at = body.firstChild;
    for (const row of rows) {
      const key = keyOf(row);
      if (keys.has(key)) continue;
      keys.add(key);
      let tr = made.get(key);
      if (!tr) {
        tr = emptyRow(columns);
        made.set(key, tr);
      }
      if (tr.row !== row) fill(tr, columns, row);
      mark(tr, chosen(row));
      if (tr === at) at = at.nextSibling;
      else body.insertBefore(tr, at);
    }
    for (const [key, tr] of made) {
      if (keys.has(key)) continue;
      tr.remove();
      made.delete(key);
    }
    if (body.firstChild && !body.querySelector('button[tabindex="0"]')) stop(body.firstChild).tabIndex = 0;
  }
  return { show, count: () => shown.length };
}

function stop(tr) {
  return tr.querySelector("button");
}

function heading(column, on) {
  const th = document.createElement("th");
  const button = document.createElement("button");
  th.scope = "col";
  th.className = classes(column);
  th.dataset.key = column.key;
  button.type = "button";
  button.textContent = column.name;
  button.addEventListener("click", () => {
    const now = th.getAttribute("aria-sort");
    const first = column.numeric || column.key === "start" ? "-" : "";
    const turned = now === "descending" ? "" : "-";
    on.sort((now === "none" ? first : turned) + column.key);
  });
  th.append(button);
  return th;
}

function markSort(head, columns, sort) {
  const key = sort.replace(/^-/, "");
  const known = columns.some((column) => column.key === key) ? key : columns[0].key;
  for (const th of head.children) {
    const way = sort.startsWith("-") ? "descending" : "ascending";
    th.setAttribute("aria-sort", th.dataset.key === known ? way : "none");
  }
}

function classes(column) {
  return [`of-${column.key}`, column.numeric && "number", column.wide && "wide", column.grows && "grows"].filter(Boolean).join(" ");
}

function emptyRow(columns) {
  const tr = document.createElement("tr");
  for (const column of columns) {
    const td = document.createElement("td");
    td.className = classes(column);
    if (column.chooses) {
      const button = document.createElement("button");
      button.type = "button";
      button.tabIndex = -1;
      button.className = "choose";
      td.append(button);
    }
    if (column.below) {
      if (!column.chooses) td.append(document.createElement("span"));
      const second = document.createElement("span");
      second.className = "below";
      td.append(second);
    }
    tr.append(td);
  }
  return tr;
}

function fill(tr, columns, row) {
  tr.row = row;
  for (const [place, column] of columns.entries()) {
    const td = tr.children[place];
    const text = column.text(row);
    if (column.chooses) td.firstChild.textContent = text || "–";
    else if (column.below) td.firstChild.textContent = text;
    else td.textContent = text;
    td.title = column.title ? column.title(row) : "";
    if (column.below) {
      td.lastChild.textContent = column.below(row);
      td.lastChild.title = column.belowTitle(row);
    }
    if (column.look) td.dataset.look = column.look(row);
    const since = column.since?.(row) ?? null;
    if (since === null) delete td.dataset.since;
    else td.dataset.since = since;
  }
}

function mark(tr, chosen) {
  if (chosen) tr.setAttribute("aria-current", "true");
  else tr.removeAttribute("aria-current");
}
