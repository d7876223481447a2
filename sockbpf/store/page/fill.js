// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** How full a queue is: a bar to its limit, with the threshold and the peak marked; said in words too. */

import { html } from "./preact.esm.js";
import { size } from "./words.js";

/** Parts of the bar are drawn in a picture of this width: so no style is set from outside. */
const WIDE = 1000;

export function Fill({ of }) {
  // The kernel compares memory with the limit, which is more than the payload: all are drawn as much longer as it counts more.
  const memory = of.fill && of.limit && of.size ? (of.fill * of.limit) / 100 / of.size : 1;
  const end = Math.max(of.limit || 1.15 * of.threshold, memory * Math.max(of.size, of.peak ?? 0), 1);
  const at = (value) => (WIDE * Math.min(memory * value, end)) / end;
  const isStalled = of.condition === "stalled";
  const words = [
    `${size(of.size, of.type)}${of.limit ? ` of ${size(of.limit, of.type)}` : ""}`,
    of.fill !== null && of.fill !== undefined ? `${of.fill} % full` : "",
    isStalled ? "stalled: nothing leaves it" : `threshold ${size(of.threshold, of.type)}`,
  ];
  return html`
    <div class="fill">
      <svg viewBox="0 0 ${WIDE} 20" preserveAspectRatio="none" aria-hidden="true">
        <rect class="room" width=${WIDE} height="20" />
        <rect class="peak" width=${at(of.peak ?? 0)} height="20" />
        <rect class="size" width=${at(of.size)} height="20" />
        ${!isStalled && html`<rect class="threshold" x=${at(of.threshold) - 3} width="6" height="20" />`}
      </svg>
      <p>${words.filter(Boolean).join(" · ")}</p>
    </div>`;
}
