// SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
/** What `make lint-page` wants of the page's JavaScript and of its tests. */

import js from "@eslint/js";
import globals from "globals";

const rules = {
  ...js.configs.recommended.rules,
  "array-callback-return": "error",
  "consistent-return": "error",
  "default-case-last": "error",
  "dot-notation": "error",
  eqeqeq: "error",
  "no-constructor-return": "error",
  "no-else-return": "error",
  "no-eval": "error",
  "no-implicit-coercion": "error",
  "no-implied-eval": "error",
  "no-lonely-if": "error",
  "no-new-wrappers": "error",
  "no-param-reassign": ["error", { props: false }],
  "no-promise-executor-return": "error",
  "no-restricted-properties": [
    "error",
    ...["innerHTML", "outerHTML", "insertAdjacentHTML"].map((property) => ({
      property,
      message: "what came from outside is shown by textContent alone",
    })),
  ],
  "no-self-compare": "error",
  "no-shadow": "error",
  "no-template-curly-in-string": "error",
  "no-throw-literal": "error",
  "no-unmodified-loop-condition": "error",
  "no-unreachable-loop": "error",
  "no-unused-expressions": "error",
  "no-use-before-define": ["error", { functions: false, variables: false }],
  "no-useless-return": "error",
  "no-var": "error",
  "object-shorthand": "error",
  "prefer-const": "error",
  "prefer-promise-reject-errors": "error",
  "prefer-template": "error",
  "require-atomic-updates": "off", // the page has one thread of its own state, see `busy` in main.js
  strict: ["error", "never"],
  yoda: "error",
};

export default [
  { ignores: ["**/uPlot.esm.js", "**/preact.esm.js", ".venv/", ".cache/"] },
  { files: ["sockbpf/store/page/*.js"], languageOptions: { globals: globals.browser }, rules },
  { files: ["tests/page/*.js", "eslint.config.js"], languageOptions: { globals: globals.node }, rules },
  { linterOptions: { reportUnusedDisableDirectives: "error" } },
];
