// Groups: failures of one kind, the most frequent first; a click lights their cells.

const LISTED = 40;
let listed = LISTED, whereOf = null;

/** Return, for each group, the releases and Pythons that have it. */
function spreads() {
  const found = index.groups.map(() => ({ packages: new Map(), pythons: new Set() }));
  for (let cell = 0; cell < index.cells.row.length; cell++) {
    if (groupOf(cell) < 0) continue;
    const row = index.cells.row[cell], { packages, pythons } = found[groupOf(cell)];
    const name = packageOf(row);
    if (!packages.has(name)) packages.set(name, new Set());
    packages.get(name).add(versionsOf(row).join(" + "));
    pythons.add(index.cells.python[cell]);
  }
  return found.map(({ packages, pythons }) => {
    const [[name, versions]] = packages;
    const list = [...versions];
    const what = packages.size > 1 ? `${packages.size} packages` : list.length > 1 ? `${name} ${list.at(-1)} … ${list[0]} (${list.length})` : `${name} ${list[0]}`;
    const places = [...pythons].sort((one, other) => one - other);
    const across = places.length === index.pythons.length ? (places.length > 1 ? "all Pythons" : index.pythons[0].label) :
      places.length > 3 ? `${index.pythons[places[0]].label} … ${index.pythons[places.at(-1)].label} (${places.length})` : places.map((place) => index.pythons[place].label).join(", ");
    return `${what} on ${across}`;
  });
}

function renderGroups() {
  byId("no-failures").hidden = index.groups.length > 0;
  whereOf ||= spreads();
  byId("groups").replaceChildren(...index.groups.slice(0, listed).map((group, place) =>
    make("li", {}, make("button", { type: "button", "aria-pressed": String(place === state.group), "data-group": place, title: group.example || null },
      make("span", { class: "count" }, `${number(group.count)} x `), make("span", { class: "said" }, group.signature), make("span", { class: "where" }, whereOf[place])))));
  const left = index.groups.length - listed;
  byId("more-groups").hidden = left <= 0;
  byId("more-groups").textContent = `${number(Math.max(left, 0))} more`;
}

function pressGroup(place) {
  state.group = state.group === place ? -1 : place;
  update();
  if (state.group >= 0) showFirst((cell) => groupOf(cell) === state.group && view.matching[cell]);
}

/** Bring the first cell of which something is true into sight, without the focus. */
function showFirst(isWanted, { focus = false } = {}) {
  for (let row = 0; row < view.rows.length; row++) {
    const entry = view.rows[row];
    if (entry.package) continue;
    for (let at = 0; at < view.columns.length; at++) {
      if (members(entry, view.columns[at]).some(isWanted)) return moveTo(row, at, { focus });
    }
  }
}
