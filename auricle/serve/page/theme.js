/** Light, dark, or as the system is; kept in this browser. */

import { byId, kept } from "./dom.js";

const THEMES = ["system", "light", "dark"];
const KEY = "auricle.theme";

/**
 * Start the switch.
 * @param {() => void} changed called when colours are other ones
 */
export function startTheme(changed) {
  const button = byId("theme");
  let theme = kept(KEY) ?? "system";
  if (!THEMES.includes(theme)) theme = "system";
  const show = () => {
    if (theme === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = theme;
    button.textContent = `Theme: ${theme}`;
    changed();
  };
  button.addEventListener("click", () => {
    theme = THEMES[(THEMES.indexOf(theme) + 1) % THEMES.length];
    kept(KEY, theme);
    show();
  });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
  show();
}
