// What changed since another run, cell by cell.

const KINDS = { worse: "Worse", better: "Better", changed: "Otherwise changed" };

function drawCompare() {
  const compared = run.compare;
  if (!compared) return [h("h1", { tabindex: "-1" }, "No comparison"), h("p", { class: "empty" }, "Make one: ", h("code", null, "wsgiproof report NEW --compare OLD"))];
  const groups = groupedBy(compared.changed, kindOf);
  const counts = Object.keys(KINDS).map((kind) => [kind, (groups.get(kind) || []).length]);
  const shown = Object.keys(KINDS).filter((kind) => !state.only || state.only === kind);
  announce(`${plural(compared.changed.length, "cell")} changed of ${number(compared.compared)} compared`);
  return [
    h("h1", { tabindex: "-1" }, compared.worse ? "Something got worse" : compared.changed.length ? "Nothing got worse" : "Nothing changed"),
    h("p", { class: "soft facts" }, h("span", null, `old: ${when(compared.old_run.started)}`), h("span", null, `new: ${when(compared.new_run.started)}`),
      h("span", null, `${plural(compared.compared, "cell")} compared`), h("span", null, `${number(compared.same)} the same`)),
    compared.paired_without ? h("p", null, `No cell is in both runs, so cells that differ only in ${compared.paired_without} are paired.`) : null,
    compared.moved ? h("p", null, compared.moved) : null,
    compared.axes.map((axis) => h("p", { class: "axischange" }, h("b", null, axis.axis), " ", axis.old.join(", "), " → ", axis.new.join(", "))),
    h("div", { class: "verdicts", role: "group", "aria-label": "Filter changes" }, counts.filter(([, count]) => count).map(([kind, count]) => h("button", {
      type: "button", id: `only-${kind}`, class: `counter k-${kind}`, "aria-pressed": String(state.only === kind),
      onclick: () => adjust({ only: state.only === kind ? "" : kind }) }, h("b", null, number(count)), h("span", null, KINDS[kind].toLowerCase())))),
    shown.filter((kind) => groups.has(kind)).map((kind) => h("section", { class: "changes" }, h("h2", { tabindex: "-1" }, KINDS[kind]), groups.get(kind).map(changeOf))),
    !compared.changed.length ? h("p", { class: "empty" }, "Each cell that is in both runs has the same verdict in every check.") : null,
    rates(compared.rates),
    onlyIn("Only in the old run", compared.only_old), onlyIn("Only in the new run", compared.only_new), bothFigures(compared),
  ];
}

function kindOf(change) {
  if (change.worse) return "worse";
  return change.now === "pass" ? "better" : "changed";
}

function changeOf(change) {
  const name = change.new || change.old;
  const linked = cellById.has(name) ? h("a", { href: addressOf({ view: "cell", cell: name }) }, name) : name;
  return h("article", { class: `change k-${kindOf(change)}` },
    h("h3", null, linked, change.new && change.old !== change.new ? h("span", { class: "soft" }, ` was ${change.old}`) : null),
    change.was === change.now ? h("div", { class: "step" }, h("span", { class: "what" }, "cell"), badge(change.now), h("span", { class: "soft" }, "unchanged"))
      : step(change, "cell", !change.checks.length),
    change.checks.map((check) => step(check, check.check, true)));
}

function step(change, what, reasons) {
  return h("div", { class: "step" }, h("span", { class: "what" }, what), badge(change.was), h("span", { "aria-label": "became" }, "→"), badge(change.now),
    reasons && change.was_reason ? h("p", null, h("span", { class: "soft" }, "old: "), change.was_reason) : null,
    reasons && change.now_reason ? h("p", null, h("span", { class: "soft" }, "new: "), change.now_reason) : null);
}

function rates(changes) {
  if (!changes.length) return null;
  return h("section", { class: "changes" }, h("h2", { tabindex: "-1" }, "Ends of processes"),
    changes.map((one) => h("p", null, one.worse ? h("b", null, "Worse: ") : null, one.text)));
}

function onlyIn(title, ids) {
  if (!ids.length) return null;
  return folded(`${title} (${number(ids.length)})`, h("ul", { class: "ids" }, ids.map((id) => h("li", null, h("code", null, id)))), ids.length < 10);
}

function bothFigures(compared) {
  const names = run.figures.filter((figure) => compared.figures.some((pair) => figure.name in pair.was || figure.name in pair.now));
  if (!names.length) return null;
  return h("section", null, h("h2", { tabindex: "-1" }, "Key figures, old → new"), table(["cell", ...names.map((figure) => figure.title)], compared.figures.map((pair) =>
    [pair.new, ...names.map((figure) => `${pair.was[figure.name] ?? "–"} → ${pair.now[figure.name] ?? "–"}`)]), "Key figures of both runs"));
}
