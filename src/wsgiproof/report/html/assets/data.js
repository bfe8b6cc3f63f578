// The data inside the page: the run is parsed at once, each cell when it is first opened.

const run = JSON.parse(byId("run").textContent);
run.cells.forEach((cell, at) => { cell.at = at; });
const cellById = new Map(run.cells.map((cell) => [cell.id, cell]));
const axisPlace = new Map(run.axes.map((axis, at) => [axis.name, at]));
const axisTitle = (name) => (axisPlace.has(name) ? run.axes[axisPlace.get(name)].title : name);
const axisValue = (cell, name) => cell.axes[axisPlace.get(name)];
const details = new Map();

function decoded(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  return Uint8Array.from(atob(base64), (char) => char.charCodeAt(0)); // browsers before 2025
}

async function unpacked(id) {
  const plain = new Blob([decoded(byId(id).textContent)]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(plain).text();
}

function detailOf(cell) {
  if (!details.has(cell.at)) {
    details.set(cell.at, unpacked(`cell-${cell.at}`).then((text) => JSON.parse(text)));
  }
  return details.get(cell.at);
}

/** The values of an axis, in the order of versions and numbers. */
function valuesOf(name, cells) {
  const values = [...new Set(cells.map((cell) => axisValue(cell, name)))];
  return values.sort((one, other) => one.localeCompare(other, "en", { numeric: true }));
}
