// Groups: failures of one kind, the most frequent first; a click lights their cells.

const LISTED = 40;
let listed = LISTED;

/** Return what is shown of a group: how many, what, where, and what is likely behind it. */
function groupParts(group) {
  const lines = [group.where, group.edges, group.likely && `likely: ${group.likely}`, group.environment && "no verdict, for reasons that are not the package's"];
  return [
    make("span", { class: "count" }, `${number(group.count)} x `), make("span", { class: "said" }, group.signature),
    ...lines.filter(Boolean).map((text) => make("span", { class: "where" }, text)),
  ];
}

function renderGroups() {
  byId("no-failures").hidden = index.groups.length > 0;
  byId("groups").replaceChildren(...index.groups.slice(0, listed).map((group, place) =>
    make("li", {}, make("button", { type: "button", "aria-pressed": String(place === state.group), "data-group": place, title: group.example || null }, ...groupParts(group)))));
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
