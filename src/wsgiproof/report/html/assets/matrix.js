// The matrix: a table for each value of the axes that tables are made by.

function drawMatrix() {
  const cells = shownCells();
  const shown = `${plural(cells.length, "cell")} of ${number(run.cells.length)} shown`;
  announce(shown);
  return [
    h("h1", { tabindex: "-1" }, run.title),
    runLine(),
    h("section", { class: "summary", "aria-label": "Summary" }, run.cells.length > 1 ? verdictButtons() : null),
    neverRan(),
    run.known.length ? notes(run.known) : null,
    whatWasFound(),
    checkButtons(),
    run.cells.length ? arrangement() : h("p", { class: "empty" }, "No cell of this run has ended."),
    run.cells.length > 1 ? h("p", { class: "soft hint" }, `${shown}.`, h("span", { class: "keys" }, "Arrow keys move between cells, Enter opens one, "
      + "Esc returns."), isFiltered() ? h("button", { type: "button", class: "quiet", id: "show-all", onclick: () =>
      adjust({ check: "", verdicts: [], text: "", axes: {} }) }, "show all") : null) : null,
    cells.length ? tables(cells)
      : run.cells.length ? h("p", { class: "empty" }, "No cell matches these filters.") : null,
  ];
}

const FIRST_CAUSES = 5;

/** Each cause once, if it is in a cell that is shown; only the first is open, so that the matrix is near. */
function whatWasFound() {
  const causes = run.causes.filter((cause) => !state.check || [cause.check, ...cause.consequences].includes(state.check))
    .map((cause) => ({ ...cause, cells: cause.cells.map((id) => cellById.get(id)).filter(isShown) })).filter((cause) => cause.cells.length);
  if (!causes.length) return null;
  const rest = causes.slice(FIRST_CAUSES);
  return h("section", { class: "causes" }, h("h2", { tabindex: "-1" }, "What was found"), causes.slice(0, FIRST_CAUSES).map((cause, at) => overviewCard(cause, at === 0)),
    rest.length ? folded(plural(rest.length, "more cause"), rest.map((cause) => overviewCard(cause, false))) : null);
}

function overviewCard(cause, open) {
  return h("details", { class: cause.accepted ? "finding print accepted" : "finding print", open: open || null },
    h("summary", null, h("h3", null, h("span", { class: "name" }, cause.check), h("span", { class: "seen" }, cause.seen))),
    h("dl", null, cause.accepted ? [h("dt", null, "Accepted"), h("dd", null, cause.accepted)] : null, h("dt", null, "Why"), h("dd", null, cause.meaning),
      h("dt", null, "What to do"), h("dd", null, cause.action),
      cause.consequences.length ? [h("dt", null, "Likely consequences"), h("dd", null, cause.consequences.join(", "))] : null,
      h("dt", null, "Where"), h("dd", null, cellLinks(cause.cells))));
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
    run.complete ? null : h("strong", null, "The run is not complete."),
    run.same ? h("span", null, `${run.cells.length > 1 ? "all cells: " : ""}${run.same}`) : null,
    run.machines ? h("span", null, run.machines) : null);
}

function neverRan() {
  if (!run.missing.length) return null;
  return folded([badge("missing"), ` ${plural(run.missing.length, "planned cell")} never ran`],
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
  if (!run.varying.length) return h("section", { class: "grid", "aria-label": "All cells" }, cells.map((cell) => chip(cell, [])));
  const counts = countVerdicts(cells);
  return h("section", { class: "grid", "aria-label": caption || "All cells" },
    h("p", { class: "caption" }, h("b", null, caption || "All cells"), " ", h("span", { class: "soft" },
      VERDICTS.filter((one) => counts[one]).map((one) => `${number(counts[one])} ${NAMES[one]}`).join(", "))),
    h("p", { class: "sideways soft" }, "Scroll sideways for more →"),
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

/** A cell of the matrix: its verdict, and the number of findings of each check. */
function chip(cell, rest) {
  const why = Object.entries(cell.findings).map(([check, count]) => (count > 1 ? `${check} ${count}` : check));
  const undecided = Object.entries(cell.checks).filter(([, verdict]) => verdict === "inconclusive").map(([check]) => check);
  const reason = (why.length ? why : undecided).join(", ");
  const where = rest.map((name) => axisValue(cell, name)).filter(Boolean).join(", ");
  return h("a", {
    class: `chip v-${cell.verdict}`,
    href: addressOf({ view: "cell", cell: cell.id }),
    tabindex: "-1",
    "data-at": cell.at,
    "aria-label": `${NAMES[cell.verdict]}${reason ? `: ${reason}` : ""}; ${cell.id}`,
    title: cell.id,
    onfocus: (event) => keepPlace(event.currentTarget),
  }, h("span", { class: "verdict" }, h("span", { class: "mark", "aria-hidden": "true" }, MARKS[cell.verdict]), NAMES[cell.verdict]),
  reason ? h("span", { class: "why" }, reason) : null, where ? h("span", { class: "where" }, where) : null);
}

function keepPlace(chosen) {
  for (const other of document.querySelectorAll('.chip[tabindex="0"]')) other.tabIndex = -1;
  chosen.tabIndex = 0;
  drawMatrix.last = chosen.dataset.at;
}

const DIRECTIONS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

/** Move to the nearest cell in the direction of the key; straight ahead counts most. */
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

/** Mark each table of which a part is out of sight, and say so. */
function watchScrolling() {
  for (const box of document.querySelectorAll(".matrix .scroll")) {
    const mark = () => {
      const hidden = box.scrollWidth - box.clientWidth;
      box.classList.toggle("wider", hidden > 1);
      box.classList.toggle("more", hidden - box.scrollLeft > 1);
    };
    box.addEventListener("scroll", mark, { passive: true });
    new ResizeObserver(mark).observe(box);
  }
}
