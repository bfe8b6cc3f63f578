// What is shown, and how. All of it is in the address, so a link shows a colleague the same.

const DEFAULTS = chooseAxes();
let state = readAddress();

/** Python by mod_wsgi where they differ among the cells; else the axes with most values. */
function chooseAxes() {
  const preferred = ["python", "mod_wsgi"].filter((name) => run.varying.includes(name));
  const count = (name) => valuesOf(name, run.cells).length;
  const others = run.varying.filter((name) => !preferred.includes(name)).sort((one, other) => count(other) - count(one));
  const [rows = "python", cols = rows] = [...preferred, ...others];
  const split = ["mode", "topology"].filter((name) => run.varying.includes(name) && ![rows, cols].includes(name));
  return { rows, cols, split };
}

function readAddress() {
  const [view, query] = location.hash.slice(1).split("?");
  const given = new URLSearchParams(query || "");
  const axis = (name, usual) => (axisPlace.has(given.get(name)) ? given.get(name) : usual);
  const axes = {};
  for (const name of axisPlace.keys()) {
    if (given.has(`axis.${name}`)) axes[name] = given.get(`axis.${name}`);
  }
  return {
    view: ["cell", "compare", "trends", "about"].includes(view) ? view : "matrix",
    cell: given.get("cell") || "",
    rows: axis("rows", DEFAULTS.rows),
    cols: axis("cols", DEFAULTS.cols),
    split: given.has("split") ? given.get("split").split(",").filter((name) => axisPlace.has(name))
      : DEFAULTS.split,
    verdicts: (given.get("verdict") || "").split(",").filter((one) => Object.hasOwn(NAMES, one)),
    check: given.get("check") || "",
    text: given.get("text") || "",
    only: given.get("only") || "",
    figure: given.get("figure") || "",
    axes,
  };
}

function addressOf(changes) {
  const wanted = { ...state, ...changes };
  const query = new URLSearchParams();
  if (wanted.view === "cell") query.set("cell", wanted.cell);
  for (const name of ["rows", "cols"]) {
    if (wanted[name] !== DEFAULTS[name]) query.set(name, wanted[name]);
  }
  if (wanted.split.join() !== DEFAULTS.split.join()) query.set("split", wanted.split.join());
  if (wanted.verdicts.length) query.set("verdict", wanted.verdicts.join());
  for (const name of ["check", "text", "only", "figure"]) {
    if (wanted[name]) query.set(name, wanted[name]);
  }
  for (const [name, value] of Object.entries(wanted.axes)) query.set(`axis.${name}`, value);
  const text = query.toString();
  return `#${wanted.view}${text ? `?${text}` : ""}`;
}

/** Show another view; the browser's "back" returns. */
function go(changes) {
  location.hash = addressOf(changes);
}

/** Change how the view is shown, without a step for "back". */
function adjust(changes) {
  history.replaceState(null, "", addressOf(changes));
  state = readAddress();
  draw({ keep: true });
}
