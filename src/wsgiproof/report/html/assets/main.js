// The views, and what happens when the address changes or a key is pressed.

const VIEWS = { matrix: drawMatrix, cell: drawCell, compare: drawCompare, trends: drawTrends, about: drawAbout };

function drawHead() {
  const tabs = [["matrix", "Matrix"], ["compare", "Compare"], ["trends", "Trends"], ["about", "This run"]]
    .filter(([view]) => view === "matrix" || view === "about" || run[view]);
  byId("head").replaceChildren(
    h("a", { class: "brand", href: addressOf({ view: "matrix" }) }, "wsgiproof"),
    h("nav", { "aria-label": "Views" }, tabs.map(([view, title]) => h("a", {
      href: addressOf({ view }),
      "aria-current": state.view === view || (view === "matrix" && state.view === "cell") ? "page" : null,
    }, title))),
    themeButton());
}

/** Draw the view; `keep` leaves the focus and the scroll position unchanged. */
async function draw({ keep = false } = {}) {
  const wanted = state;
  const focused = keep && document.activeElement ? document.activeElement.id : "";
  const selection = focused && document.activeElement.selectionStart;
  forgetPlots();
  drawHead();
  const content = await VIEWS[state.view]();
  if (state !== wanted) return;
  byId("main").replaceChildren(...content.flat(Infinity).filter(Boolean));
  startPlots();
  watchScrolling();
  if (focused && byId(focused)) {
    byId(focused).focus({ preventScroll: true });
    if (typeof selection === "number" && byId(focused).type === "search") byId(focused).setSelectionRange(selection, selection);
  } else if (!keep) {
    beginReading();
  }
  document.body.dataset.drawn = state.view;
}

/** The matrix returns to the cell that was opened; any other view begins at its title. */
function beginReading() {
  const last = state.view === "matrix" && drawMatrix.last !== undefined
    && document.querySelector(`.chip[data-at="${drawMatrix.last}"]`);
  if (last) {
    last.focus();
    return;
  }
  scrollTo(0, 0);
  const title = document.querySelector("h1");
  if (title) {
    document.title = `${title.textContent} – wsgiproof`;
    if (beginReading.again) title.focus({ preventScroll: true });
  }
  beginReading.again = true;
}

function onKey(event) {
  const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
  if (typing || event.altKey || event.ctrlKey || event.metaKey) return;
  if (event.key === "Escape" && state.view !== "matrix") go({ view: "matrix" });
  if (state.view === "cell" && (event.key === "ArrowLeft" || event.key === "ArrowRight")) {
    const next = neighbour(event.key === "ArrowLeft" ? -1 : 1);
    if (next && !event.target.closest(".scroll, .plot")) go({ cell: next.id });
  }
}

byId("skip").addEventListener("click", (event) => {
  event.preventDefault();
  byId("main").focus();
});
addEventListener("hashchange", () => {
  state = readAddress();
  draw();
});
addEventListener("keydown", onKey);
addEventListener("beforeprint", () => {
  for (const one of document.querySelectorAll("details.print")) one.open = true;
  printInLight(true);
  drawAllPlots();
});
addEventListener("afterprint", () => printInLight(false));
startTheme();
draw();
