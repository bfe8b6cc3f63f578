// The matrix: a table for each value of the axes that tables are made by.

function drawMatrix() {
  const cells = shownCells();
  const told = `${plural(cells.length, "cell")} of ${number(run.cells.length)} shown`;
  announce(told);
  return [
    h("h1", { tabindex: "-1" }, run.title),
    runLine(),
    h("section", { class: "summary", "aria-label": "Summary" }, verdictButtons(), checkButtons()),
    neverCame(),
    run.cells.length ? arrangement() : h("p", { class: "empty" }, "No cell of this run has ended."),
    run.cells.length ? h("p", { class: "soft hint" }, told, ". Arrow keys move between cells, Enter opens one, "
      + "Esc comes back.", isFiltered() ? h("button", { type: "button", class: "quiet", id: "show-all", onclick: () =>
      adjust({ check: "", verdicts: [], text: "", axes: {} }) }, "show all") : null) : null,
    cells.length ? tables(cells)
      : run.cells.length ? h("p", { class: "empty" }, "No cell fits these filters.") : null,
    whatWasFound(),
  ];
}

/** Each kind of finding once, as far as it is in a cell that is shown. */
function whatWasFound() {
  const kinds = run.kinds.filter((kind) => !state.check || kind.check === state.check)
    .map((kind) => ({ ...kind, cells: kind.cells.map((id) => cellById.get(id)).filter(isShown) })).filter((kind) => kind.cells.length);
  if (!kinds.length) return null;
  return h("section", { class: "kinds" }, h("h2", { tabindex: "-1" }, "What was found"), kinds.map((kind) => h("article", { class: "finding" },
    h("h3", null, h("span", { class: "name" }, kind.check), h("span", { class: "seen" }, kind.seen)),
    h("p", null, kind.meaning), cellLinks(kind.cells))));
}

function cellLinks(cells) {
  const link = (cell) => h("li", null, h("a", { href: addressOf({ view: "cell", cell: cell.id }) }, cell.id));
  if (cells.length === 1) return h("ul", { class: "ids" }, cells.map(link));
  return h("details", null, h("summary", null, plural(cells.length, "cell")), h("ul", { class: "ids" }, cells.map(link)));
}

function runLine() {
  const words = [when(run.started), `wsgiproof ${run.wsgiproof}`, ...Object.entries(run.host).map(([name, value]) =>
    (name === "system" ? value : `${name} ${value}`))];
  return h("p", { class: "soft facts" }, words.map((word) => h("span", null, word)),
    run.complete ? null : h("strong", null, "The run is not complete."));
}

function neverCame() {
  if (!run.missing.length) return null;
  return folded([badge("missing"), ` ${plural(run.missing.length, "cell")} planned, and never came`],
    h("ul", { class: "ids" }, run.missing.map((id) => h("li", null, h("code", null, id)))), run.missing.length < 5);
}

function arrangement() {
  if (run.cells.length < 2) return null;
  return h("details", { class: "arrange", id: "arrange", open: arrangement.open || null,
    ontoggle: (event) => { arrangement.open = event.target.open; } },
  h("summary", null, "Arrange and filter"), controls());
}
arrangement.open = innerWidth > 700 && run.cells.length > 12;

function tables(cells) {
  const split = state.split.filter((name) => name !== state.rows && name !== state.cols);
  const groups = groupedBy(cells, (cell) => split.map((name) => axisValue(cell, name)).join("\n"));
  const keys = [...groups.keys()].sort((one, other) => one.localeCompare(other, "en", { numeric: true }));
  const shown = h("div", { class: "matrix", id: "matrix", onkeydown: moveInMatrix },
    keys.map((key) => oneTable(groups.get(key), split)));
  const first = shown.querySelector(`[data-at="${drawMatrix.last}"]`) || shown.querySelector(".chip");
  if (first) first.tabIndex = 0;
  return shown;
}

function groupedBy(items, keyOf) {
  const groups = new Map();
  for (const item of items) {
    const key = keyOf(item);
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(item);
  }
  return groups;
}

function oneTable(cells, split) {
  const rows = valuesOf(state.rows, cells);
  const cols = state.cols === state.rows ? [""] : valuesOf(state.cols, cells);
  const used = new Set([state.rows, state.cols, ...split]);
  const rest = run.varying.filter((name) => !used.has(name));
  const places = groupedBy(cells, (cell) => placeOf(cell));
  const caption = split.map((name) => axisValue(cells[0], name)).filter(Boolean).join(", ");
  const counts = countVerdicts(cells);
  return h("section", { class: "grid", "aria-label": caption || "All cells" },
    h("p", { class: "caption" }, h("b", null, caption || "All cells"), " ", h("span", { class: "soft" },
      VERDICTS.filter((one) => counts[one]).map((one) => `${number(counts[one])} ${NAMES[one]}`).join(", "))),
    h("div", { class: "scroll" }, h("table", { "aria-label": caption || "All cells" },
      h("thead", null, h("tr", null,
        h("th", { scope: "col", class: "corner" }, axisTitle(state.rows)),
        cols.map((value) => h("th", { scope: "col" }, state.cols === state.rows ? "verdict"
          : [h("span", { class: "axis" }, axisTitle(state.cols)), value || "(none)"])))),
      h("tbody", null, rows.map((row) => h("tr", null, h("th", { scope: "row" }, row || "(none)"),
        cols.map((col) => h("td", null, (places.get(`${row}\n${col}`) || [])
          .map((cell) => chip(cell, rest))))))))));
}

function placeOf(cell) {
  const col = state.cols === state.rows ? "" : axisValue(cell, state.cols);
  return `${axisValue(cell, state.rows)}\n${col}`;
}

/** A cell of the matrix: its verdict, and how many findings each check has. */
function chip(cell, rest) {
  const why = Object.entries(cell.findings).map(([check, count]) => (count > 1 ? `${check} ${count}` : check));
  const undecided = Object.entries(cell.checks).filter(([, verdict]) => verdict === "inconclusive").map(([check]) => check);
  const told = (why.length ? why : undecided).join(", ");
  const where = rest.map((name) => axisValue(cell, name)).filter(Boolean).join(", ");
  return h("a", {
    class: `chip v-${cell.verdict}`,
    href: addressOf({ view: "cell", cell: cell.id }),
    tabindex: "-1",
    "data-at": cell.at,
    "aria-label": `${NAMES[cell.verdict]}${told ? `: ${told}` : ""}; ${cell.id}`,
    title: cell.id,
    onfocus: (event) => keepPlace(event.currentTarget),
  }, h("span", { class: "verdict" }, h("span", { class: "mark", "aria-hidden": "true" }, MARKS[cell.verdict]), NAMES[cell.verdict]),
  told ? h("span", { class: "why" }, told) : null, where ? h("span", { class: "where" }, where) : null);
}

function keepPlace(chosen) {
  for (const other of document.querySelectorAll('.chip[tabindex="0"]')) other.tabIndex = -1;
  chosen.tabIndex = 0;
  drawMatrix.last = chosen.dataset.at;
}

const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** To the nearest cell in the direction of the key; first of all straight ahead. */
function moveInMatrix(event) {
  const from = event.target.closest(".chip");
  if (!from || event.altKey || event.ctrlKey || event.metaKey) return;
  const chips = [...document.querySelectorAll(".chip")];
  let to = null;
  if (event.key === "Home") to = chips[0];
  else if (event.key === "End") to = chips[chips.length - 1];
  else if (Object.hasOwn(DIRECTIONS, event.key)) to = nearest(from, chips, DIRECTIONS[event.key]);
  else return;
  event.preventDefault();
  if (to) to.focus();
}

function nearest(from, chips, [x, y]) {
  const middle = (chip) => {
    const box = chip.getBoundingClientRect();
    return [box.left + box.width / 2, box.top + box.height / 2];
  };
  const [left, top] = middle(from);
  let best = null;
  let least = Infinity;
  for (const chip of chips) {
    const [otherLeft, otherTop] = middle(chip);
    const ahead = (otherLeft - left) * x + (otherTop - top) * y;
    const aside = Math.abs((otherLeft - left) * y) + Math.abs((otherTop - top) * x);
    const distance = ahead + 4 * aside;
    if (ahead > 2 && distance < least) [best, least] = [chip, distance];
  }
  return best;
}
