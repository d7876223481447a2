// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** The bearer token: asked for in a dialog, kept for this tab. */

const KEPT = "sockbpf.token";
let asking = null;

export function token() {
  return sessionStorage.getItem(KEPT) ?? "";
}

/** Ask the operator for the token, since the store refused `refused`; requests at the same time share one dialog. */
export function askForToken(refused) {
  if (token() !== refused) return Promise.resolve(); // another request has asked for it meanwhile
  asking ??= ask(refused).finally(() => {
    asking = null;
  });
  return asking;
}

function ask(refused) {
  const dialog = document.getElementById("token-dialog");
  const form = document.getElementById("token-form");
  const input = document.getElementById("token");
  const fault = document.getElementById("token-fault");
  fault.textContent = refused ? "The store did not take this token." : "";
  fault.hidden = !refused;
  input.value = "";
  dialog.showModal();
  input.focus();
  return new Promise((resolve) => {
    // Without a token there is nothing to see: Escape does not close the dialog.
    const stay = (event) => event.preventDefault();
    const taken = (event) => {
      event.preventDefault();
      sessionStorage.setItem(KEPT, input.value.trim());
      input.value = "";
      form.removeEventListener("submit", taken);
      dialog.removeEventListener("cancel", stay);
      dialog.close();
      resolve();
    };
    dialog.addEventListener("cancel", stay);
    form.addEventListener("submit", taken);
  });
}
