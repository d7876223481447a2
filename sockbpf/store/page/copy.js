// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** Copying a text that is shown. */

/** Copy it, and say so on the button; where the browser does not allow that, as by plain HTTP from elsewhere, select it. */
export async function copy(code, button) {
  getSelection().selectAllChildren(code);
  try {
    await navigator.clipboard.writeText(code.textContent);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Selected";
  }
}
