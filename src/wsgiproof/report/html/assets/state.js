// What is looked at, and how. All of it is in the address, so a link shows a colleague the same.

const DEFAULTS = chooseAxes();
let state = readAddress();

/** Python by mod_wsgi, if either differs among the cells; else what differs most. */
function chooseAxes() {
  const varying = run.varying;
  const chosen = { rows: "python", cols: "mod_wsgi" };
  if (!varying.includes("python") && !varying.includes("mod_wsgi")) {
    const count = (name) => valuesOf(name, run.cells).length;
    const [rows, cols] = [...varying].sort((one, other) => count(other) - count(one));
    chosen.rows = rows || "python";
    chosen.cols = cols || (chosen.rows === "mod_wsgi" ? "python" : "mod_wsgi");
  }
  const taken = [chosen.rows, chosen.cols];
  chosen.split = ["mode", "topology"].filter((name) => varying.includes(name) && !taken.includes(name));
  return chosen;
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
  const told = query.toString();
  return `#${wanted.view}${told ? `?${told}` : ""}`;
}

/** Look at something else; the browser's own "back" leads back. */
function go(changes) {
  location.hash = addressOf(changes);
}

/** Change how it is looked at, without a step for "back". */
function adjust(changes) {
  history.replaceState(null, "", addressOf(changes));
  state = readAddress();
  draw({ keep: true });
}
