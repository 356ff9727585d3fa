// Data: unpacks what lies in the page, and makes elements whose contents are texts and never markup.

const byId = (id) => document.getElementById(id);

/** Return the data of a block: base64 of compressed JSON. */
async function unpack(id) {
  const text = byId(id).textContent;
  const letters = atob(text);
  const bytes = new Uint8Array(letters.length);
  for (let place = 0; place < letters.length; place++) bytes[place] = letters.charCodeAt(place);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

/** Return an element with attributes and children; a child that is no element is shown as text. */
function make(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes || {})) {
    if (name === "class") element.className = value;
    else if (name === "click") element.addEventListener("click", value);
    else if (value !== null && value !== false) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

const SYMBOLS = { passed: "✓", only: "○", failed: "✗", killed: "■", crashed: "▲", error: "!", skipped: "–", none: "·" };
const NAMES = { passed: "passed", only: "import only", failed: "failed", killed: "killed", crashed: "crashed", error: "error", skipped: "skipped", none: "not run" };
const ORDER = ["passed", "only", "failed", "killed", "crashed", "error", "skipped", "none"];
const number = (value) => value.toLocaleString("en").replaceAll(",", "\u202f");
const plural = (count, noun) => `${number(count)} ${noun}${count === 1 ? "" : "s"}`;

let index, cellAt, cellsOfRow, haystack, changes = null;
const textOf = (place) => (place < 0 ? "" : index.strings[place]);
const packageOf = (row) => textOf(index.rows.package[row]);
const versionsOf = (row) => index.rows.versions[row].map((place) => textOf(place) || "unlisted");
const kindOf = (cell) => index.kinds[index.cells.kind[cell]];
const labelOf = (cell) => index.pythons[index.cells.python[cell]].label;
const groupOf = (cell) => index.cells.group[cell];

/** Return a combination's id, as pytest shows it. */
function idOf(cell) {
  const row = index.cells.row[cell];
  const resolution = textOf(index.rows.resolution[row]);
  return `${packageOf(row)}[${versionsOf(row).join("-")}-${labelOf(cell)}${resolution ? `-${resolution}` : ""}]`;
}

/** Return reason and detail in a line or two. */
function reasonOf(cell) {
  const kind = kindOf(cell);
  return [kind.reason || kind.meaning, textOf(index.cells.detail[cell])].filter(Boolean).join(": ");
}

const hasRegressed = (cell) => Boolean(changes) && changes.kinds[changes.kind[cell]] === "regressed";

async function load() {
  index = await unpack("index");
  changes = index.comparison || null;
  const rows = index.rows.package.length, width = index.pythons.length;
  cellAt = new Int32Array(rows * width).fill(-1);
  cellsOfRow = Array.from({ length: rows }, () => []);
  for (let cell = 0; cell < index.cells.row.length; cell++) {
    cellAt[index.cells.row[cell] * width + index.cells.python[cell]] = cell;
    cellsOfRow[index.cells.row[cell]].push(cell);
  }
}

/** Return the lower-case text of a cell that is searched; made at the first search. */
function textFor(cell) {
  haystack ||= new Array(index.cells.row.length);
  return (haystack[cell] ??= [idOf(cell), kindOf(cell).word, kindOf(cell).outcome, reasonOf(cell),
    groupOf(cell) < 0 ? "" : index.groups[groupOf(cell)].signature].join("\n").toLowerCase());
}

const opened = new Map();
/** Return what is known of a combination. */
async function detailOf(cell) {
  const block = Math.floor(cell / index.chunk);
  if (!opened.has(block)) opened.set(block, unpack(`details-${block}`));
  const { details, strings } = await opened.get(block);
  const text = (place) => (place < 0 ? "" : strings[place]);
  const it = details[cell % index.chunk];
  if (!it.length) return null;
  return {
    detail: text(it[0]), phase: text(it[1]), seconds: it[2], cpu: it[3], memory: it[4], attempts: it[5], reruns: it[6],
    runner: text(it[7]), worker: text(it[8]), host: text(it[9]), fingerprint: text(it[10]),
    locked: it[11].map(([name, version]) => [text(name), text(version)]), lock: text(it[12]), reproduce: text(it[13]),
    output: text(it[14]), warnings: it[15].map(text), phases: it[16].map(([phase, seconds]) => [text(phase), seconds]),
    tests: it[17].map(([id, outcome, seconds, detail, reruns]) => ({ id: text(id), outcome: text(outcome), seconds, detail: text(detail), reruns })),
    counts: text(it[18]), reused: it[19],
  };
}
