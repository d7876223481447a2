// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** Keys of the page, and the list of them at `?`. In a field they are text. */

const byId = (id) => document.getElementById(id);

/** Where each leads: to what takes the focus. */
const PLACES = { n: "now-title", b: "before-title", t: "table-title", h: "hosts-title", "/": "text" };

/** Have them work; `pause()` and `close()` do what their buttons do. */
export function listenToKeys({ pause, close }) {
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, select, textarea, dialog")) return;
    if (event.key === "?") byId("keys-dialog").showModal();
    else if (event.key === "p") pause();
    else if (event.key === "Escape") close();
    else if (event.key in PLACES) byId(PLACES[event.key]).focus();
    else return;
    event.preventDefault();
  });
  byId("keys").addEventListener("click", () => byId("keys-dialog").showModal());
}
