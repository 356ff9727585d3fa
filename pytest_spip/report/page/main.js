// Main: joins filters, groups, grid and details.

function say(text) { byId("status").textContent = text; }

/** Return buttons that can be pressed, one for each value of a set in the state. */
function toggles(box, name, values) {
  box.replaceChildren(...values.map(({ value, text, colour }) => make("button", { type: "button", class: colour || "", "data-value": value, "aria-pressed": "false" }, text)));
  box.addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (!button) return;
    const chosen = state[name];
    if (!chosen.delete(button.dataset.value)) chosen.add(button.dataset.value);
    update();
  });
}

function buildFilters() {
  const counts = new Map();
  for (let cell = 0; cell < index.cells.row.length; cell++) counts.set(kindOf(cell).outcome, (counts.get(kindOf(cell).outcome) || 0) + 1);
  const there = ORDER.filter((outcome) => counts.has(outcome));
  toggles(byId("outcomes"), "outcome", there.map((outcome) => ({ value: outcome, text: `${SYMBOLS[outcome]} ${number(counts.get(outcome))} ${NAMES[outcome]}`, colour: outcome })));
  toggles(byId("pythons"), "python", index.pythons.map(({ label }) => ({ value: label, text: label })));
  byId("bar").replaceChildren(...there.map((outcome) => {
    const part = make("i", { class: outcome });
    part.style.flexGrow = counts.get(outcome);
    return part;
  }));
  const packages = [...new Set(index.rows.package.map(textOf))];
  byId("package").append(...packages.map((name) => make("option", { value: name }, name)));
  byId("package").hidden = packages.length < 2;
  byId("package").addEventListener("change", (event) => { state.package = event.target.value; update(); });
  let timer = 0;
  byId("q").addEventListener("input", (event) => {
    clearTimeout(timer);
    timer = setTimeout(() => { state.q = event.target.value.trim(); update(); }, 120);
  });
  byId("join").addEventListener("change", (event) => { state.join = event.target.checked; update(); });
  byId("filters").addEventListener("submit", (event) => event.preventDefault());
  byId("clear").addEventListener("click", () => {
    Object.assign(state, { package: "", q: "", group: -1, outcome: new Set(), python: new Set(), change: new Set() });
    update();
  });
  if (changes) {
    const kinds = changes.kinds.filter((_, kind) => changes.kind.includes(kind));
    const box = make("div", { role: "group", "aria-label": "Kinds of change" });
    byId("comparison").append(make("h2", {}, `Compared with ${changes.base}`), box);
    toggles(box, "change", kinds.map((kind) => ({ value: kind, text: `${changes.kind.filter((each) => changes.kinds[each] === kind).length} ${kind}`, colour: { regressed: "failed", fixed: "passed", flaky: "only" }[kind] })));
    if (changes.removed.length) {
      byId("comparison").append(make("details", {}, make("summary", {}, `${plural(changes.removed.length, "combination")} removed`), make("p", {}, changes.removed.slice(0, 200).map(textOf).join(", "))));
    }
    byId("comparison").hidden = false;
  }
}

function buildLegend() {
  const seen = new Map(index.kinds.map((kind) => [`${SYMBOLS[kind.outcome]} ${kind.word}`, kind]));
  byId("legend").append(...[...seen.values()].sort((one, other) => ORDER.indexOf(one.outcome) - ORDER.indexOf(other.outcome)).map((kind) => {
    const word = ["passed", "none"].includes(kind.outcome) || kind.word === "-" ? "" : ` ${kind.word}`;
    return make("span", {}, make("b", { class: kind.outcome }, `${SYMBOLS[kind.outcome]}${word}`), kind.meaning);
  }));
  if (index.cells.kind.some((_, cell) => hasRegressed(cell))) byId("legend").append(make("span", {}, make("i", { class: "corner" }), "regressed"));
}

/** Show the state everywhere. */
function update() {
  writeState();
  computeRows();
  renderGrid();
  byId("q").value = document.activeElement === byId("q") ? byId("q").value : state.q;
  byId("package").value = state.package;
  byId("join").checked = state.join;
  for (const [box, name] of [["outcomes", "outcome"], ["pythons", "python"], ["comparison", "change"]]) {
    for (const button of byId(box).querySelectorAll("button")) button.setAttribute("aria-pressed", String(state[name].has(button.dataset.value)));
  }
  for (const button of byId("groups").querySelectorAll("button")) button.setAttribute("aria-pressed", String(Number(button.dataset.group) === state.group));
  byId("clear").hidden = !isFiltered() && state.group < 0;
  const all = index.cells.row.length;
  say(isFiltered() ? `${number(view.count)} of ${plural(all, "combination")}` : plural(all, "combination"));
}

function restoreChoice() {
  const cell = state.id ? index.cells.row.findIndex((_, each) => idOf(each) === state.id) : -1;
  if (cell < 0) return;
  const wanted = (each) => each === cell;
  showFirst(wanted);
  const entry = view.rows.find((each) => !each.package && each.rows.includes(index.cells.row[cell]));
  const cells = entry ? members(entry, index.cells.python[cell]) : [cell];
  open(cells, cells.indexOf(cell));
}

async function main() {
  await load();
  joinedByDefault = index.rows.package.length > JOINED_FROM;
  readState();
  buildGrid();
  buildFilters();
  buildLegend();
  renderGroups();
  update();
  restoreChoice();
  byId("groups").addEventListener("click", (event) => {
    const button = event.target.closest("button");
    if (button) pressGroup(Number(button.dataset.group));
  });
  byId("more-groups").addEventListener("click", () => { listed += LISTED; renderGroups(); });
  addEventListener("hashchange", () => { readState(); update(); restoreChoice(); });
  addEventListener("keydown", (event) => { if (event.key === "Escape" && byId("details").classList.contains("open")) closeDetails(); });
  byId("time").addEventListener("toggle", () => { if (byId("time").open) drawTimeline(); });
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (byId("time").open) drawTimeline(); });
  requestAnimationFrame(() => setTimeout(() => {  // painted
    performance.mark("shown");
    document.documentElement.dataset.ready = "yes";
  }));
}

main();
