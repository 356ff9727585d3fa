// Grid: shows the lines that are in sight, and the one that has the focus; the keyboard moves a single tab stop.

const ROW = 26, SPARE = 8, PRINTED = 1500, NAMED = 3;
const grid = { box: null, head: null, body: null, shown: new Map(), active: { row: 1, column: 0 }, printing: false };

function buildGrid() {
  grid.box = byId("grid");
  grid.head = make("div", { class: "row head", role: "row", "aria-rowindex": 1 });
  grid.body = make("div", { class: "body", role: "rowgroup" });
  grid.box.append(make("div", { role: "rowgroup", class: "headings" }, grid.head), grid.body);
  let waiting = false;
  grid.box.addEventListener("scroll", () => {
    hideTip();
    if (!waiting) requestAnimationFrame(() => { waiting = false; renderRows(); });
    waiting = true;
  }, { passive: true });
  grid.box.addEventListener("click", (event) => {
    const place = placeOf(event.target);
    if (!place) return;
    moveTo(place.row, place.column);
    choose(place);
  });
  grid.box.addEventListener("keydown", onKey);
  grid.body.addEventListener("pointerover", (event) => event.pointerType !== "touch" && showTip(event.target.closest(".cell")));
  grid.body.addEventListener("pointerout", hideTip);
  grid.body.addEventListener("focusin", (event) => {
    const place = placeOf(event.target);
    if (place) grid.active = place;
    if (event.target.matches(":focus-visible")) showTip(event.target.closest(".cell"));
  });
  grid.body.addEventListener("focusout", hideTip);
  addEventListener("beforeprint", () => print(true));
  addEventListener("afterprint", () => print(false));
  let width = 0;
  new ResizeObserver(() => {
    if (grid.box.clientWidth === width || !grid.head.childElementCount) return renderRows();
    width = grid.box.clientWidth;
    renderGrid();
  }).observe(grid.box);
}

function placeOf(target) {
  const cell = target.closest(".cell");
  return cell && cell.dataset.row ? { row: Number(cell.dataset.row), column: Number(cell.dataset.column) } : null;
}

/** Show the present lines from scratch. */
function renderGrid() {
  const names = view.rows.filter((entry) => !entry.package).map((entry) => nameOf(entry).join(" ").length);
  const longest = names.reduce((most, each) => Math.max(most, each), 8);
  const narrow = innerWidth < 600;
  const name = Math.min(Math.max(longest * 7.6 + 18, 110), narrow ? 150 : 330);
  const room = (grid.box.clientWidth - name) / Math.max(view.columns.length, 1);
  const wide = Math.floor(Math.min(Math.max(room, narrow ? 62 : 66), 110));
  const cell = grid.printing ? "1fr" : `${wide}px`;
  grid.box.style.setProperty("--wide", grid.printing ? "100%" : `${name + wide * view.columns.length}px`);
  grid.box.style.setProperty("--seen", `${grid.box.clientWidth}px`);
  grid.box.style.setProperty("--columns", `${name}px repeat(${view.columns.length}, ${cell})`);
  grid.box.setAttribute("aria-rowcount", view.rows.length + 1);
  grid.box.setAttribute("aria-colcount", view.columns.length + 1);
  grid.head.replaceChildren(
    make("div", { class: "name", role: "columnheader", "aria-colindex": 1 }, "Release"),
    ...view.columns.map((column, place) => make("div", { role: "columnheader", "aria-colindex": place + 2, title: `${index.pythons[column].name} ${index.pythons[column].path}`.trim() }, index.pythons[column].label)));
  grid.body.style.height = `${view.rows.length * ROW}px`;
  grid.body.replaceChildren();
  grid.shown.clear();
  const row = Math.min(grid.active.row, view.rows.length - 1);
  grid.active = { row: view.rows[row] && view.rows[row].package ? Math.min(row + 1, view.rows.length - 1) : Math.max(row, 0), column: Math.min(grid.active.column, view.columns.length - 1) };
  renderRows();
}

function renderRows() {
  if (!grid.body) return;
  const first = Math.max(Math.floor(grid.box.scrollTop / ROW) - SPARE, 0);
  const last = Math.min(Math.ceil((grid.box.scrollTop + grid.box.clientHeight) / ROW) + SPARE, view.rows.length);
  const wanted = (place) => grid.printing ? place < PRINTED : (place >= first && place < last) || place === grid.active.row;
  for (const [place, element] of grid.shown) if (!wanted(place)) { element.remove(); grid.shown.delete(place); }
  const add = (place) => {
    if (place < 0 || place >= view.rows.length || grid.shown.has(place)) return;
    const element = rowElement(view.rows[place], place);
    grid.shown.set(place, element);
    const after = [...grid.shown.keys()].filter((other) => other > place);
    grid.body.insertBefore(element, after.length ? grid.shown.get(Math.min(...after)) : null);
  };
  if (grid.printing) for (let place = 0; place < Math.min(view.rows.length, PRINTED); place++) add(place);
  else {
    for (let place = first; place < last; place++) add(place);
    add(grid.active.row);
  }
  setTabStop();
  nameHead();
}

/** Name the package at the upper edge, whose own line may be out of sight. */
function nameHead() {
  let top = Math.min(Math.floor(grid.box.scrollTop / ROW), view.rows.length - 1);
  while (top > 0 && !view.rows[top].package) top--;
  const inside = grid.box.scrollTop > 0 && !grid.printing && view.rows[top];
  grid.head.firstChild.textContent = inside ? view.rows[top].package : "Release";
}

function rowElement(entry, place) {
  const row = make("div", { class: entry.package ? "row package" : "row", role: "row", "aria-rowindex": place + 2 });
  row.style.top = `${place * ROW}px`;
  if (entry.package) {
    row.style.gridTemplateColumns = "1fr";
    row.append(make("div", { class: "name", role: "rowheader", "aria-colindex": 1, "aria-colspan": view.columns.length + 1 }, entry.package, " ", make("small", {}, sumsOf(entry))));
    return row;
  }
  const [name, ...notes] = nameOf(entry);
  row.append(make("div", { class: "name", role: "rowheader", "aria-colindex": 1, title: [name, ...notes].join(" ").trim() }, name, ...notes.filter(Boolean).map((note) => make("small", {}, ` ${note}`))));
  view.columns.forEach((column, at) => row.append(cellElement(members(entry, column), place, at)));
  return row;
}

function sumsOf(entry) {
  const counts = new Map();
  for (const row of entry.rows) for (const cell of cellsOfRow[row]) if (view.matching[cell]) counts.set(kindOf(cell).outcome, (counts.get(kindOf(cell).outcome) || 0) + 1);
  return ORDER.filter((outcome) => counts.has(outcome)).map((outcome) => `${number(counts.get(outcome))} ${NAMES[outcome]}`).join(", ");
}

function cellElement(cells, row, column) {
  const where = { role: "gridcell", "aria-colindex": column + 2, "data-row": row, "data-column": column, tabindex: -1 };
  if (!cells.length) return make("div", { ...where, class: "cell empty", "aria-label": "not planned" });
  const [cell] = cells, kind = kindOf(cell);
  const classes = ["cell", kind.outcome];
  if (!view.matching[cell] || (state.group >= 0 && !cells.some((each) => groupOf(each) === state.group))) classes.push("off");
  else if (state.group >= 0) classes.push("lit");
  if (cells.some((each) => idOf(each) === state.id)) classes.push("chosen");
  const broke = cells.some(hasRegressed);
  if (broke) classes.push("regressed");
  const count = textOf(index.cells.text[cell]);
  const word = count || (["passed", "none"].includes(kind.outcome) || kind.word === "-" ? "" : kind.word);
  const more = cells.length > 1 ? `, and ${cells.length - 1} more alike` : "";
  return make("div", { ...where, class: classes.join(" "), "aria-label": `${idOf(cell)}: ${NAMES[kind.outcome]}${kind.reason ? `, ${kind.reason}` : ""}${broke ? ", regressed" : ""}${more}` },
    `${SYMBOLS[kind.outcome]}${word ? ` ${word}` : ""}`);
}

function setTabStop() {
  for (const cell of grid.body.querySelectorAll('[tabindex="0"]')) cell.tabIndex = -1;
  const cell = activeCell();
  if (cell) cell.tabIndex = 0;
}

const activeCell = () => grid.shown.get(grid.active.row)?.querySelector(`[data-column="${grid.active.column}"]`);

/** Move the focus to a cell, and the grid so that it is in sight. */
function moveTo(row, column, { focus = true } = {}) {
  grid.active = { row, column };
  const top = row * ROW, height = grid.box.clientHeight - ROW;
  if (top < grid.box.scrollTop) grid.box.scrollTop = top - ROW;
  else if (top + ROW > grid.box.scrollTop + height) grid.box.scrollTop = top + ROW - height + ROW;
  renderRows();
  const cell = activeCell();
  if (cell && focus) cell.focus({ preventScroll: true });
  if (cell) cell.scrollIntoView({ block: "nearest", inline: "nearest", behavior: "instant" });
}

function onKey(event) {
  const place = placeOf(event.target);
  if (!place || event.altKey || event.metaKey) return;
  let { row, column } = place;
  const last = view.rows.length - 1, page = Math.max(Math.floor(grid.box.clientHeight / ROW) - 2, 1);
  let step = 1;
  switch (event.key) {
    case "ArrowUp": row -= 1; step = -1; break;
    case "ArrowDown": row += 1; break;
    case "ArrowLeft": column -= 1; break;
    case "ArrowRight": column += 1; break;
    case "PageUp": row -= page; step = -1; break;
    case "PageDown": row += page; break;
    case "Home": column = 0; if (event.ctrlKey) { row = 0; } break;
    case "End": column = view.columns.length - 1; if (event.ctrlKey) { row = last; step = -1; } break;
    case "Enter": case " ": event.preventDefault(); choose(place); byId("details").focus({ preventScroll: true }); return;
    default: return;
  }
  event.preventDefault();
  column = Math.min(Math.max(column, 0), view.columns.length - 1);
  row = Math.min(Math.max(row, 0), last);
  while (view.rows[row]?.package) row += step;  // a package's line has no cells
  if (row < 0 || row > last) return;
  moveTo(row, column);
}

function showTip(cell) {
  const place = cell && placeOf(cell);
  const cells = place ? members(view.rows[place.row], view.columns[place.column]) : [];
  if (!cells.length) return;
  const tip = byId("tip");
  const reasons = [...new Set(cells.map(reasonOf))];
  const left = reasons.length > NAMED ? [`… and ${reasons.length - NAMED} more`] : [];
  tip.textContent = [`${idOf(cells[0])}${cells.length > 1 ? ` and ${cells.length - 1} more` : ""}`, ...reasons.slice(0, NAMED), ...left].join("\n");
  tip.hidden = false;
  const box = cell.getBoundingClientRect(), own = tip.getBoundingClientRect();
  tip.style.left = `${Math.max(Math.min(box.left, innerWidth - own.width - 8), 8)}px`;
  tip.style.top = `${box.bottom + own.height + 8 > innerHeight ? box.top - own.height - 4 : box.bottom + 4}px`;
}

function hideTip() { byId("tip").hidden = true; }

/** Put all lines into the page, joined, for as long as it is printed. */
function print(on) {
  if (on === grid.printing) return;
  grid.printing = on;
  const kept = state.join;
  state.join = on || kept;
  computeRows();
  renderGrid();
  state.join = kept;
  if (!on) { computeRows(); renderGrid(); }
  const left = view.rows.length - PRINTED;
  byId("cut").hidden = !on || left <= 0;
  byId("cut").textContent = `… and ${number(Math.max(left, 0))} more rows`;
}
