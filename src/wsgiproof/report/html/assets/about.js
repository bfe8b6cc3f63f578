// How the run was made, and which combinations were left out.

function drawAbout() {
  const facts = [["command", h("code", null, run.command)], ["started", when(run.started)], ["finished", run.finished ? when(run.finished) : "the run was interrupted"],
    ["wsgiproof", run.wsgiproof], ...Object.entries(run.host)];
  return [
    h("h1", { tabindex: "-1" }, "This run"),
    h("dl", { class: "about" }, facts.map(([name, value]) => [h("dt", null, name), h("dd", null, value)])),
    allFigures(), excluded(),
  ];
}

function allFigures() {
  if (!run.figures.length) return null;
  return h("section", null, h("h2", { tabindex: "-1" }, "Key figures"),
    h("ul", { class: "soft" }, run.figures.map((one) => h("li", null, h("b", null, one.title), `: ${one.meaning}.`))),
    table(["cell", "verdict", ...run.figures.map((one) => one.title), "seconds"], run.cells.map((cell) => [
      h("a", { href: addressOf({ view: "cell", cell: cell.id }) }, cell.id), badge(cell.verdict), ...run.figures.map((one) => cell.figures[one.name] ?? "–"), cell.seconds]), "Key figures"));
}

function excluded() {
  if (!run.excluded.length) return null;
  return h("section", null, h("h2", { tabindex: "-1" }, "Left out"), run.excluded.map((one) => folded(`${plural(one.count, "combination")}: ${one.reason}`,
    h("ul", { class: "ids" }, one.some.map((text) => h("li", null, text)), one.count > one.some.length ? h("li", null, `and ${number(one.count - one.some.length)} more`) : null))));
}
