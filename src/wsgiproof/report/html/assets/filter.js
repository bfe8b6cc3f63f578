// Which cells are shown, and the controls that choose them.

function isShown(cell) {
  const checks = !state.check || Object.hasOwn(cell.checks, state.check);
  const verdict = !state.verdicts.length || state.verdicts.includes(cell.verdict);
  const axes = Object.entries(state.axes).every(([name, value]) => axisValue(cell, name) === value);
  const text = !state.text || cell.id.toLowerCase().includes(state.text.toLowerCase());
  return checks && verdict && axes && text;
}

function shownCells() {
  return run.cells.filter(isShown);
}

function isFiltered() {
  return Boolean(state.check || state.verdicts.length || state.text || Object.keys(state.axes).length);
}

function countVerdicts(cells) {
  const counts = {};
  for (const cell of cells) counts[cell.verdict] = (counts[cell.verdict] || 0) + 1;
  return counts;
}

/** A button for each verdict, with the number of its cells. */
function verdictButtons() {
  const counts = countVerdicts(run.cells);
  return h("div", { class: "verdicts", role: "group", "aria-label": "Filter by verdict" },
    VERDICTS.filter((one) => counts[one]).map((verdict) => h("button", {
      type: "button",
      id: `verdict-${verdict}`,
      class: `counter v-${verdict}`,
      "aria-pressed": String(state.verdicts.includes(verdict)),
      onclick: () => adjust({ verdicts: toggled(state.verdicts, verdict) }),
    }, h("span", { class: "mark", "aria-hidden": "true" }, MARKS[verdict]),
    h("b", null, number(counts[verdict])), h("span", null, NAMES[verdict]))));
}

function toggled(list, one) {
  return list.includes(one) ? list.filter((other) => other !== one) : [...list, one];
}

/** A button for each check that did not pass in every cell, with its counts; then the other checks. */
function checkButtons() {
  const counts = new Map(run.checks.map((check) => [check, {}]));
  for (const cell of run.cells) {
    for (const [check, verdict] of Object.entries(cell.checks)) {
      const verdicts = counts.get(check);
      verdicts[verdict] = (verdicts[verdict] || 0) + 1;
    }
  }
  const failing = run.checks.filter((check) => Object.keys(counts.get(check)).length);
  const passing = run.checks.filter((check) => !failing.includes(check));
  return h("div", { class: "checks" },
    failing.length ? h("div", { role: "group", "aria-label": "Filter by check" },
      failing.map((check) => checkButton(check, counts.get(check)))) : null,
    passing.length ? h("p", { class: "soft" }, `${failing.length ? "Passed" : "Every check passed"} `
      + `in every cell: ${passing.join(", ")}.`) : null);
}

function checkButton(check, counts) {
  const verdicts = ["fail", "inconclusive", "known", "skipped"].filter((verdict) => counts[verdict]);
  return h("button", {
    type: "button",
    id: `check-${check}`,
    class: "check",
    "aria-pressed": String(state.check === check),
    onclick: () => adjust({ check: state.check === check ? "" : check }),
  }, check, verdicts.map((verdict) => h("span", { class: `count v-${verdict}` },
    h("span", { class: "mark", "aria-hidden": "true" }, MARKS[verdict]), number(counts[verdict]),
    h("span", { class: "unseen" }, ` ${NAMES[verdict]}`))));
}

/** Rows, columns and tables, and a choice of values; only for axes in which cells differ. */
function controls() {
  const axis = (name, label) => choice(`by-${name}`, label, run.axes.filter((one) => run.varying.includes(one.name) || one.name === state[name]).map((one) => [one.name, one.title]),
    state[name], (value) => adjust({ [name]: value }));
  const varying = run.varying;
  return h("div", { class: "controls" },
    h("fieldset", null, h("legend", null, "Arrange"),
      axis("rows", "Rows"), axis("cols", "Columns"),
      varying.length ? h("div", { class: "field" }, h("span", { class: "label" }, "Tables by"),
        h("div", { class: "boxes" }, varying.map(splitBox))) : null),
    h("fieldset", null, h("legend", null, "Show"),
      varying.map((name) => choice(`axis-${name}`, axisTitle(name),
        [["", "all"], ...valuesOf(name, run.cells).map((value) => [value, value || "(none)"])],
        state.axes[name] ?? "", (value) => adjust({ axes: withAxis(name, value) }))),
      h("div", { class: "field" }, h("label", { for: "text" }, "Cell's id contains"),
        h("input", { id: "text", type: "search", value: state.text, oninput: (event) =>
          adjust({ text: event.target.value }) }))));
}

function splitBox(name) {
  return h("label", null, h("input", {
    type: "checkbox",
    id: `split-${name}`,
    checked: state.split.includes(name),
    onchange: () => adjust({ split: toggled(state.split, name) }),
  }), axisTitle(name));
}

function withAxis(name, value) {
  const axes = { ...state.axes, [name]: value };
  if (value === "") delete axes[name];
  return axes;
}

function choice(id, label, options, chosen, onchange) {
  return h("div", { class: "field" }, h("label", { for: id }, label),
    h("select", { id, onchange: (event) => onchange(event.target.value) },
      options.map(([value, text]) => h("option", { value, selected: value === chosen }, text))));
}
