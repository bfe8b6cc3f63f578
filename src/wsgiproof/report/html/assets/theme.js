// Light or dark: the system's choice, unless the reader makes one.

const THEMES = ["auto", "light", "dark"];
const KEPT = "wsgiproof-theme";

function theme() {
  return document.documentElement.dataset.theme || "auto";
}

function setTheme(chosen) {
  if (chosen === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = chosen;
  try {
    localStorage.setItem(KEPT, chosen);
  } catch {
    // Some browsers store nothing for a page from disk.
  }
  redrawPlots();
}

function startTheme() {
  let kept = null;
  try {
    kept = localStorage.getItem(KEPT);
  } catch {
    // As above.
  }
  if (THEMES.includes(kept) && kept !== "auto") document.documentElement.dataset.theme = kept;
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redrawPlots);
}

function themeButton() {
  const label = () => [h("span", { class: "wide" }, "Theme: "), theme()];
  const button = h("button", { type: "button", class: "quiet", id: "theme", title: "Light or dark", onclick: () => {
    setTheme(THEMES[(THEMES.indexOf(theme()) + 1) % THEMES.length]);
    button.replaceChildren(...label());
  } }, ...label());
  return button;
}

/** Paper is white, whatever the screen is. */
function printInLight(printing) {
  if (printing) {
    printInLight.before = theme();
    document.documentElement.dataset.theme = "light";
  } else if (printInLight.before === "auto") {
    delete document.documentElement.dataset.theme;
  } else {
    document.documentElement.dataset.theme = printInLight.before;
  }
  if (matchMedia("(prefers-color-scheme: dark)").matches || printInLight.before === "dark") redrawPlots();
}

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}
