// What else there is to read about a cell: stacks, its error log, the files next to its record.

function evidence(detail) {
  return [
    detail.stacks && detail.stacks.length ? section("stacks", "Stacks", detail.stacks.map((text, at) => h("details", { class: "print", open: at === 0 || null },
      h("summary", null, text.split("\n").find((line) => line.trim()) || `stack ${at + 1}`), h("pre", { class: "evidence" }, text)))) : null,
    logSection(detail.log),
    detail.more.map(([name, text], at) => section(`more-${at}`, name, h("pre", { class: "evidence" }, text))),
    detail.texts.length ? section("config", "Configuration and output", detail.texts.map((one) => folded(one.title, h("pre", { class: "file" }, one.text)))) : null,
  ];
}

function logSection(lines) {
  if (!lines.length) return null;
  const known = lines.filter((line) => line.known).length;
  const list = h("ol", { class: "log", id: "loglines", tabindex: "0", "aria-label": "Error log" }, lines.map(logLine));
  const only = h("label", { class: "only" }, h("input", { type: "checkbox", id: "only-known", onchange: (event) =>
    list.classList.toggle("marked", event.target.checked) }), "only known lines");
  return section("log", "Error log", h("details", { class: "print", open: known > 0 || null },
    h("summary", null, `${plural(lines.filter((line) => line.number).length, "line")}, ${known ? `${number(known)} of them known` : "none of them known"}`),
    known ? only : null, list));
}

function logLine(line) {
  if (!line.number) return h("li", { class: "gap" }, line.text);
  return h("li", { class: line.known ? "known" : null, "data-number": line.number },
    h("span", { class: "phase" }, line.phase), h("span", { class: "text" }, line.text),
    line.known ? h("span", { class: "meaning" }, `▲ ${line.known}`) : null);
}

function madeOf(detail) {
  const rows = Object.entries(detail.made_of);
  const seconds = Object.entries(detail.timings);
  return section("made", "Made of", folded("Axes", table(["axis", "value"], detail.axes.map((axis) => [axis.title, axis.value]), "Axes")), rows.length ? folded("Toolchain and packages", table(["what", "which"], rows, "Toolchain and packages")) : null,
    seconds.length ? folded("Seconds by step", table(["step", "seconds"], seconds, "Seconds by step")) : null);
}
