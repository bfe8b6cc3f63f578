// What else there is to read of a cell: stacks, its log, the files beside its record.

function evidence(told) {
  return [
    told.stacks && told.stacks.length ? section("stacks", "Stacks", told.stacks.map((text, at) => h("details", { class: "print", open: at === 0 || null },
      h("summary", null, text.split("\n").find((line) => line.trim()) || `stack ${at + 1}`), h("pre", { class: "evidence" }, text)))) : null,
    logSection(told.log),
    told.more.map(([name, text], at) => section(`more-${at}`, name, h("pre", { class: "evidence" }, text))),
    told.texts.length ? section("config", "Configuration and output", told.texts.map((one) => folded(one.title, h("pre", { class: "file" }, one.text)))) : null,
  ];
}

function logSection(lines) {
  if (!lines.length) return null;
  const known = lines.filter((line) => line.known).length;
  const list = h("ol", { class: "log", id: "loglines", tabindex: "0", "aria-label": "Error log" }, lines.map(logLine));
  const only = h("label", { class: "only" }, h("input", { type: "checkbox", id: "only-known", onchange: (event) =>
    list.classList.toggle("marked", event.target.checked) }), "only the lines that are known to mean something");
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

function madeOf(told) {
  const rows = Object.entries(told.made_of);
  const seconds = Object.entries(told.timings).map(([step, value]) => [step, value]);
  if (!rows.length && !seconds.length) return null;
  return section("made", "Made of", rows.length ? folded("Toolchain and packages", table(["what", "which"], rows, "Toolchain and packages")) : null,
    seconds.length ? folded("Seconds by step", table(["step", "seconds"], seconds, "Seconds by step")) : null);
}
