// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** The operator's settings: read from the link, shown in the fields, written back to the link. */

import { NOTHING, fragment, fromFragment } from "./filter.js";
import { number } from "./words.js";

const TYPING_MS = 180;
const EVENTS = {
  episodes: [["", "any"], ["open", "still over"], ["ended", "ended"]],
  alerts: [["", "any"], ["exceeded", "exceeded"], ["ongoing", "ongoing"], ["cleared", "cleared"], ["heartbeat", "heartbeat"]],
};

const byId = (id) => document.getElementById(id);

/**
 * Make the controls.
 *
 * `on.typing()` is called at every key, `on.changed()` when the store must be asked again, `on.looked()` when only what is
 * shown changes, `on.hosted()` when hosts must. `get()` returns the settings, `set(change, how)` changes some, and calls the function of `on` named `how`.
 */
export function makeControls(on) {
  let held = fromFragment(location.hash.slice(1));
  let timer = 0;
  let hostsTimer = 0;
  let isTyped = false;

  /** What is typed and what is chosen are steps of the history, each key that is typed is not. */
  function set(change, how = "changed", typed = false) {
    held = { ...held, ...change };
    if ("view" in change) {
      held.event = "";
      held.sort = NOTHING.sort;
    }
    write(typed);
    show();
    clearTimeout(timer);
    on[how]();
  }

  function write(typed) {
    const link = `#${fragment(held)}`;
    if (link === (location.hash || "#")) return;
    if (typed && isTyped) history.replaceState(null, "", link);
    else history.pushState(null, "", link);
    isTyped = typed;
  }

  function show() {
    const events = byId("event");
    if (events.dataset.view !== held.view) {
      events.dataset.view = held.view;
      events.replaceChildren(...EVENTS[held.view].map(([value, name]) => new Option(name, value)));
      document.querySelector('label[for="event"]').textContent = held.view === "episodes" ? "State" : "Event";
    }
    if (byId("hosts-text").value !== held.hosts) byId("hosts-text").value = held.hosts;
    for (const name of ["text", "protocol", "type", "event", "span"]) if (byId(name).value !== held[name]) byId(name).value = held[name];
    byId("between").hidden = held.span !== "between";
    byId("zoom-out").hidden = held.span !== "between";
    for (const name of ["from", "to"]) byId(name).value = local(held[name]);
    byId("clear").hidden = ["text", "protocol", "type", "event", "span"].every((name) => held[name] === NOTHING[name]);
    for (const radio of document.getElementsByName("view")) radio.checked = radio.value === held.view;
  }

  byId("text").addEventListener("input", () => {
    held = { ...held, text: byId("text").value };
    on.typing();
    clearTimeout(timer);
    timer = setTimeout(() => set({}, "changed", true), TYPING_MS);
  });
  byId("hosts-text").addEventListener("input", () => {
    clearTimeout(hostsTimer);
    hostsTimer = setTimeout(() => set({ hosts: byId("hosts-text").value }, "hosted", true), TYPING_MS);
  });
  for (const name of ["protocol", "type", "event"]) byId(name).addEventListener("change", () => set({ [name]: byId(name).value }));
  byId("span").addEventListener("change", () => {
    const now = Math.floor(Date.now() / 1000);
    const between = byId("span").value === "between" ? { from: held.from ?? now - 3600, to: held.to ?? now } : { from: null, to: null };
    set({ span: byId("span").value, ...between });
  });
  for (const name of ["from", "to"]) byId(name).addEventListener("change", () => set({ [name]: unix(byId(name).value) }));
  for (const radio of document.getElementsByName("view")) radio.addEventListener("change", () => set({ view: radio.value }));
  byId("clear").addEventListener("click", () => set({ ...NOTHING, view: held.view, socket: held.socket, hosts: held.hosts }));
  byId("zoom-out").addEventListener("click", () => set({ span: NOTHING.span, from: null, to: null }));
  byId("filters").addEventListener("submit", (event) => {
    event.preventDefault();
    set({});
  });
  addEventListener("popstate", () => {
    const { socket, hosts } = held;
    held = fromFragment(location.hash.slice(1));
    isTyped = false;
    show();
    on.changed();
    if (String(held.socket) !== String(socket)) on.chose();
    if (held.hosts !== hosts) on.hosted();
  });
  // The fragment stays as it is, since it has the settings.
  byId("skip").addEventListener("click", (event) => {
    event.preventDefault();
    byId("table-title").focus();
  });
  show();
  return { get: () => held, set };
}

/** Unix seconds in the form of a datetime-local field. */
function local(seconds) {
  if (number(seconds) === null) return "";
  const at = new Date(Math.floor(seconds) * 1000);
  if (Number.isNaN(at.getTime())) return "";
  return new Date(at.getTime() - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 19);
}

function unix(text) {
  const at = new Date(text).getTime();
  return Number.isNaN(at) ? null : at / 1000;
}
