// Details: all that is known of one combination, unpacked when it is opened.

const TESTS = 100;
let choice = { cells: [], place: 0 };

/** Open what a cell of the grid stands for. */
function choose(place) {
  const cells = members(view.rows[place.row], view.columns[place.column]);
  const lit = cells.findIndex((cell) => state.group >= 0 && groupOf(cell) === state.group);
  if (cells.length) open(cells, Math.max(lit, 0));  // a joined cell is lit for one of its members: show that one
}

async function open(cells, place) {
  choice = { cells, place };
  const cell = cells[place];
  state.id = idOf(cell);
  writeState();
  for (const old of grid.body.querySelectorAll(".chosen")) old.classList.remove("chosen");
  for (const element of grid.body.querySelectorAll(".cell[data-row]")) {
    const at = placeOf(element);
    if (members(view.rows[at.row], view.columns[at.column]).includes(cell)) element.classList.add("chosen");
  }
  const detail = await detailOf(cell);
  if (choice.cells[choice.place] !== cell) return;  // another was chosen meanwhile
  byId("details").classList.add("open");
  byId("detail").replaceChildren(...detailElements(cell, detail));
  byId("details").scrollTop = 0;
}

function closeDetails() {
  byId("details").classList.remove("open");
  state.id = "";
  writeState();
  activeCell()?.classList.remove("chosen");
  activeCell()?.focus({ preventScroll: true });
}

function detailElements(cell, it) {
  const kind = kindOf(cell);
  const elements = [
    make("button", { id: "close", type: "button", click: closeDetails }, "Close"),
    make("h3", {}, idOf(cell)),
    make("p", { class: `verdict ${kind.outcome}` }, `${SYMBOLS[kind.outcome]} ${NAMES[kind.outcome]}${kind.reason ? `: ${kind.reason}` : ""}${it ? `, phase ${it.phase}` : ""}`),
    pager(),
  ];
  if (changes) elements.push(changeElement(cell));
  if (it && it.reused) elements.push(make("p", {}, "This verdict was taken from an earlier run."));
  if (!it) return [...elements.filter(Boolean), make("p", { class: "hint" }, "It has no verdict.")];
  if (it.detail) elements.push(make("pre", {}, it.detail));
  if (it.reruns) elements.push(make("p", {}, `It was run again ${it.reruns} times; this is the last.`));
  elements.push(...it.warnings.map((text) => make("p", { class: "only" }, `warning: ${text}`)));
  if (it.tests.length) elements.push(section(`Tests: ${it.counts}`), testsElement(it.tests));
  if (it.output) elements.push(section("Output", it.output), make("pre", { class: "output", tabindex: 0 }, it.output));
  if (it.reproduce) elements.push(section("Reproduce", it.reproduce), make("pre", { class: "reproduce" }, it.reproduce));
  if (it.phases.length) elements.push(section("Time"), ...phaseElements(it.phases));
  elements.push(section("Facts"), factsElement(cell, it));
  if (it.lock || it.locked.length) {
    elements.push(section("Lock", it.lock || it.locked.map(([name, version]) => `${name}==${version}`).join("\n")));
    elements.push(make("p", {}, it.locked.map(([name, version]) => `${name} ${version}`).join(", ")));
    if (it.lock) elements.push(make("details", {}, make("summary", {}, "pylock.toml"), make("pre", { class: "lock", tabindex: 0 }, it.lock)));
  }
  return elements.filter(Boolean);
}

function pager() {
  const { cells, place } = choice;
  if (cells.length < 2) return null;
  const step = (by) => open(cells, (place + by + cells.length) % cells.length);
  return make("div", { class: "pager" },
    make("button", { type: "button", "aria-label": "Previous release", click: () => step(-1) }, "‹"),
    `${place + 1} of ${cells.length} alike`,
    make("button", { type: "button", "aria-label": "Next release", click: () => step(1) }, "›"));
}

function changeElement(cell) {
  const kind = changes.kinds[changes.kind[cell]];
  const was = textOf(changes.was[cell]);
  return make("p", { class: "change" }, `compared with ${changes.base}: ${kind}${was ? ` (was ${was})` : ""}`,
    ...(changes.failing[cell] || []).map((test) => make("span", { class: "failed" }, ` newly fails: ${textOf(test)}`)));
}

/** Return a heading, with a button that copies a text if there is one. */
function section(title, text) {
  return make("h4", {}, make("span", {}, title), text ? make("button", { type: "button", "aria-label": `Copy: ${title}`, click: (event) => copy(text, event.currentTarget) }, "Copy") : null);
}

async function copy(text, button) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // a page that came over plain HTTP may not use it
    const area = make("textarea", { "aria-hidden": "true" });
    area.value = text;
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.textContent = "Copied";
  say("Copied");
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

function testsElement(tests) {
  const shown = (test) => {
    const symbol = { passed: "✓", failed: "✗", error: "!", skipped: "–", xfailed: "✓", xpassed: "○" }[test.outcome] || "·";
    const colour = { passed: "passed", failed: "failed", error: "failed", skipped: "skipped" }[test.outcome] || "";
    return make("li", {}, make("span", { class: "took" }, seconds(test.seconds)), make("span", { class: colour }, `${symbol} ${test.outcome} `), test.id,
      test.reruns ? ` (run again ${test.reruns} times)` : "", test.detail ? make("pre", {}, test.detail) : null);
  };
  const list = make("ol", { class: "tests" }, ...tests.slice(0, TESTS).map(shown));
  if (tests.length <= TESTS) return list;
  const more = make("button", { type: "button" }, `Show ${number(tests.length - TESTS)} more`);
  more.addEventListener("click", () => { list.append(...tests.slice(TESTS).map(shown)); more.remove(); });
  return make("div", {}, list, more);
}

const seconds = (value) => (value >= 10 ? `${value.toFixed(1)} s` : value >= 0.1 ? `${value.toFixed(2)} s` : `${(value * 1000).toFixed(1)} ms`);

function phaseElements(phases) {
  const longest = Math.max(...phases.map(([, each]) => each), 1e-6);
  return phases.map(([phase, each]) => {
    const bar = make("i");
    bar.style.width = `${(100 * Math.max(each, 0)) / longest}%`;
    return make("div", { class: "phase" }, make("span", {}, phase), bar, make("span", {}, seconds(each)));
  });
}

function factsElement(cell, it) {
  const python = index.pythons[index.cells.python[cell]];
  const pairs = [
    ["Python", `${python.name} ${python.path}`.trim()],
    ["took", `${seconds(it.seconds)}, CPU ${seconds(it.cpu)}${it.memory ? `, ${(it.memory / 1048576).toFixed(0)} MiB` : ""}`],
    ["run by", [it.worker, it.host && `on ${it.host}`, it.runner].filter(Boolean).join(" ")],
    ["attempts", it.attempts > 1 ? String(it.attempts) : ""],
    ["fingerprint", it.fingerprint],
  ];
  return make("dl", {}, ...pairs.filter(([, value]) => value).flatMap(([name, value]) => [make("dt", {}, name), make("dd", {}, value)]));
}
