// Elements. Everything that is not an element becomes text, so no data is ever markup.

const NAMES = { pass: "pass", known: "known", fail: "fail", inconclusive: "inconclusive", error: "error",
  skipped: "skipped", missing: "never ran" };
const MARKS = { pass: "✓", known: "≈", fail: "✗", inconclusive: "?", error: "!", skipped: "–", missing: "∅" };
const VERDICTS = Object.keys(NAMES);

function h(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties || {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else element.setAttribute(name, value === true ? "" : String(value));
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined));
  return element;
}

function byId(id) {
  return document.getElementById(id);
}

/** A verdict as a colour, a mark and a word: each alone is enough. */
function badge(verdict) {
  const known = Object.hasOwn(NAMES, verdict) ? verdict : verdict === "never ran" ? "missing" : "skipped";
  return h("span", { class: `badge v-${known}` },
    h("span", { class: "mark", "aria-hidden": "true" }, MARKS[known]), " ", Object.hasOwn(NAMES, verdict) ? NAMES[verdict] : verdict);
}

function number(value) {
  return value.toLocaleString("en-US", { maximumFractionDigits: 3 });
}

function plural(count, singular, many) {
  return `${number(count)} ${count === 1 ? singular : many || `${singular}s`}`;
}

/** A table that scrolls sideways where it is too wide. */
function table(head, rows, caption) {
  const value = (one) => (typeof one === "number" ? number(one) : one);
  const side = (at) => (rows.length && typeof rows[0][at] === "number" ? "number" : null);
  return h("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption },
    h("table", { class: "plain" },
      h("thead", null, h("tr", null, head.map((one, at) => h("th", { scope: "col", class: side(at) }, one)))),
      h("tbody", null, rows.map((row) => h("tr", null, row.map((one) =>
        h("td", { class: typeof one === "number" ? "number" : null }, value(one))))))));
}

function folded(summary, content, open) {
  return h("details", { open: open || null }, h("summary", null, summary), content);
}

function announce(text) {
  byId("live").textContent = text;
}

/** The day and the minute of an ISO 8601 time, which is in UTC. */
function when(iso) {
  const found = /^(\d{4}-\d\d-\d\d)T(\d\d:\d\d)/.exec(iso || "");
  const which = (iso || "").match(/ \(\d+\)$/);
  return found ? `${found[1]} ${found[2]} UTC${which ? which[0] : ""}` : iso || "";
}

function copyable(text) {
  const button = h("button", { type: "button", class: "quiet", onclick: async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "copied";
    } catch {
      button.textContent = "select it to copy";
    }
  } }, "copy");
  return h("div", { class: "command" }, h("code", null, text), button);
}
