// State: what is filtered and chosen, kept in the fragment of the URL so that a view can be linked.

const JOINED_FROM = 24;
const state = { package: "", outcome: new Set(), python: new Set(), change: new Set(), q: "", group: -1, id: "", join: false };
let joinedByDefault = false;

function readState() {
  const given = new URLSearchParams(location.hash.slice(1));
  const list = (name) => new Set((given.get(name) || "").split(",").filter(Boolean));
  const group = given.get("group");
  Object.assign(state, {
    package: given.get("package") || "", q: given.get("q") || "", id: given.get("id") || "",
    outcome: list("outcome"), python: list("python"), change: list("change"),
    group: group !== null && /^\d+$/.test(group) && Number(group) < index.groups.length ? Number(group) : -1,
    join: given.has("join") ? given.get("join") === "1" : joinedByDefault,
  });
}

function writeState() {
  const out = new URLSearchParams();
  for (const name of ["package", "q", "id"]) if (state[name]) out.set(name, state[name]);
  for (const name of ["outcome", "python", "change"]) if (state[name].size) out.set(name, [...state[name]].join(","));
  if (state.group >= 0) out.set("group", state.group);
  if (state.join !== joinedByDefault) out.set("join", state.join ? "1" : "0");
  const text = out.toString();
  if (text !== location.hash.slice(1)) history.replaceState(null, "", text ? `#${text}` : location.pathname + location.search);
}

/** Return a function that says whether a cell passes all filters but the group. */
function matcher() {
  const words = state.q.toLowerCase().split(/\s+/).filter(Boolean);
  return (cell) =>
    (!state.package || packageOf(index.cells.row[cell]) === state.package) &&
    (!state.outcome.size || state.outcome.has(kindOf(cell).outcome)) &&
    (!state.python.size || state.python.has(labelOf(cell))) &&
    (!state.change.size || state.change.has(changes.kinds[changes.kind[cell]])) &&
    words.every((word) => textFor(cell).includes(word));
}

const isFiltered = () => Boolean(state.package || state.outcome.size || state.python.size || state.change.size || state.q);
