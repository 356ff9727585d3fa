// Rows: which lines the grid has. Neighbours that come to the same are joined, when that is wanted.

const view = { rows: [], columns: [], matching: null, count: 0 };

/** Compute the lines for the present filters. */
function computeRows() {
  const matches = matcher();
  view.matching = new Uint8Array(index.cells.row.length);
  view.count = 0;
  for (let cell = 0; cell < view.matching.length; cell++) if (matches(cell)) { view.matching[cell] = 1; view.count++; }
  view.columns = index.pythons.map((_, column) => column).filter((column) => !state.python.size || state.python.has(index.pythons[column].label));
  view.rows = [];
  const packages = new Map();
  for (let row = 0; row < index.rows.package.length; row++) {
    if (!cellsOfRow[row].some((cell) => view.matching[cell])) continue;
    const name = packageOf(row);
    if (!packages.has(name)) packages.set(name, []);
    packages.get(name).push(row);
  }
  for (const [name, rows] of packages) {
    view.rows.push({ package: name, rows });
    view.rows.push(...(state.join ? joined(rows) : rows.map((row) => line([row]))));
  }
}

function line(rows) {
  const versions = versionsOf(rows[0]);
  return { rows, parts: versions.map((version) => ({ first: version, last: version, count: 1 })), resolutions: [textOf(index.rows.resolution[rows[0]])] };
}

/** Join rows that are neighbours and equal: first the resolutions of a release, then releases that differ in one version. */
function joined(rows) {
  const lines = [];
  for (const row of rows) {
    const next = line([row]);
    const above = lines.at(-1);
    if (above && same(above.rows[0], row)) {
      const differing = next.parts.map((part, place) => part.last === above.parts[place].last ? -1 : place).filter((place) => place >= 0);
      const resolution = next.resolutions[0];
      if (!differing.length) {
        above.rows.push(row);
        above.resolutions.push(resolution);
        continue;
      }
      const place = differing[0];
      const alone = above.parts.every((part, other) => other === place || part.count === 1);
      if (differing.length === 1 && alone && above.resolutions.includes(resolution)) {
        above.rows.push(row);
        above.parts[place].last = next.parts[place].last;
        above.parts[place].count += 1;
        continue;
      }
    }
    lines.push(next);
  }
  return lines;
}

function same(one, other) {
  const width = index.pythons.length;
  return view.columns.every((column) => keyOf(cellAt[one * width + column]) === keyOf(cellAt[other * width + column]));
}

const keyOf = (cell) => (cell < 0 ? "" : `${index.cells.kind[cell]} ${view.matching[cell]} ${index.cells.text[cell]} ${changes ? changes.kind[cell] : ""}`);

/** Return the combinations that a cell of the grid stands for. */
function members(entry, column) {
  return entry.rows ? entry.rows.map((row) => cellAt[row * index.pythons.length + column]).filter((cell) => cell >= 0) : [];
}

/** Return what stands before a line. */
function nameOf(entry) {
  const text = entry.parts.map((part) => part.count === 1 ? part.first : `${part.first} … ${part.last}`).join(" + ");
  const several = index.resolutions.length > 1 && entry.resolutions.length < index.resolutions.length;
  const count = entry.parts.reduce((all, part) => Math.max(all, part.count), 1);
  return [text, count > 1 ? `(${count})` : "", several ? [...new Set(entry.resolutions.map((name) => name || "highest"))].join(", ") : ""];
}
