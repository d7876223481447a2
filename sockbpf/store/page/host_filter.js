// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** What hosts are asked for: the text of their field as parameters for the store, and a text with one more or one less. */

import { freeWords } from "./filter.js";

/** The parameters of `/hosts` that can be typed, and what each may be; any other name is that of a label. */
const OWN = { state: /^(heard|silent|stopped)$/, blind: /^(true|false)$/, version: /./s, host: /./s, label: /^[A-Za-z_]\w{0,31}=[\s\S]{1,64}$/ };
const MOST_LABELS = 16;

/** Return the words of a text, each as [name, value]; a plain word has the name "". */
function conditions(text) {
  return [...text.matchAll(/(?:[^\s"]|"[^"]*"?)+/g)].map(([token]) => {
    const named = /^([A-Za-z_]\w*)=(.*)$/s.exec(token);
    return [named ? named[1] : "", (named ? named[2] : token).replaceAll('"', "")];
  }).filter(([, value]) => value);
}

/** Return the parameters; what makes no sense, as half a word that is being typed, is left out. */
export function hostParameters(text) {
  const asked = new Map();
  const labels = new Set();
  const words = [];
  for (const [name, value] of conditions(text)) {
    const label = name === "label" ? value : `${name}=${value}`;
    if (!name) words.push(["q", value]);
    else if (name !== "label" && Object.hasOwn(OWN, name)) {
      if (OWN[name].test(value) && !asked.has(name)) asked.set(name, value);
    } else if (OWN.label.test(label) && labels.size < MOST_LABELS) labels.add(label);
  }
  const free = freeWords(words);
  return [...asked, ...[...labels].map((label) => ["label", label]), ...(free ? [["text", free]] : [])];
}

/** Return whether a text asks for this. */
export function hasHostCondition(text, name, value) {
  return conditions(text).some(([each, other]) => each === name && other === value);
}

/** Return the text with this condition in the place of another of its name; or without it, if it had that. */
export function toggled(text, name, value) {
  const had = hasHostCondition(text, name, value);
  const isIts = (each, other) => each === name && (name !== "label" || nameOf(other) === nameOf(value));
  const rest = conditions(text).filter(([each, other]) => !isIts(each, other));
  return [...rest, ...(had ? [] : [[name, value]])].map(written).join(" ");
}

/** Return how a label is asked for: by its own name, unless the store has a parameter of this name. */
export function labelCondition(name, value) {
  return Object.hasOwn(OWN, name) ? ["label", `${name}=${value}`] : [name, value];
}

function nameOf(label) {
  return label.slice(0, label.indexOf("="));
}

function written([name, value]) {
  const plain = value.replaceAll('"', "");
  const quoted = /\s/.test(plain) ? `"${plain}"` : plain;
  return name ? `${name}=${quoted}` : quoted;
}
