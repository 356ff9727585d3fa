// Timeline: what each worker did when, and how the machine fared; drawn when it is opened.

const LANE = 16, GAP = 3, MARGIN = 84, CHART = 46;
const HUES = { run: "--passed", wait: "--line", compose: "--link", clear: "--crashed", report: "--only", import: "--passed", build: "--killed" };
let timeline = null;

async function drawTimeline() {
  const box = byId("lanes");
  timeline ||= await unpack("timeline");
  if (!timeline.workers.length) { box.replaceChildren(make("p", {}, "This run has no telemetry of workers.")); return; }
  const style = getComputedStyle(document.documentElement);
  const colour = (phase) => style.getPropertyValue(HUES[phase] || "--dim");
  const canvas = make("canvas", { role: "img", "aria-label": `Timeline of ${plural(timeline.workers.length, "worker")} over ${seconds(timeline.ms / 1000)}; the table below has the sums` });
  const note = make("p", { "aria-hidden": "true" });
  const keys = make("p", {}, ...timeline.phases.map((phase) => {
    const mark = make("i");
    mark.style.background = colour(phase);
    return make("span", { class: "key" }, mark, phase);
  }));
  box.replaceChildren(keys, canvas, note);
  const charts = chartsOf(timeline).filter(({ values }) => values.length > 1 && values.some(Boolean));
  const width = box.clientWidth, height = timeline.workers.length * (LANE + GAP) + charts.length * (CHART + GAP) + 22;
  const scale = devicePixelRatio || 1;
  canvas.width = width * scale;
  canvas.height = Math.min(height * scale, 16000);
  canvas.style.height = `${height}px`;
  const pen = canvas.getContext("2d");
  pen.scale(scale, canvas.height / height);
  pen.font = "12px system-ui, sans-serif";
  const x = (ms) => MARGIN + ((width - MARGIN) * ms) / Math.max(timeline.ms, 1);
  const ink = style.getPropertyValue("--dim");
  timeline.workers.forEach((name, lane) => {
    pen.fillStyle = style.getPropertyValue("--raised");
    pen.fillRect(MARGIN, lane * (LANE + GAP), width - MARGIN, LANE);
    pen.fillStyle = ink;
    pen.fillText(name, 0, lane * (LANE + GAP) + 12, MARGIN - 6);
  });
  const { worker, phase, at, ms } = timeline.spans;
  const colours = timeline.phases.map(colour);
  for (let span = 0; span < at.length; span++) {
    pen.fillStyle = colours[phase[span]];
    pen.fillRect(x(at[span]), worker[span] * (LANE + GAP), Math.max(x(at[span] + ms[span]) - x(at[span]), 0.5), LANE);
  }
  let top = timeline.workers.length * (LANE + GAP);
  for (const chart of charts) {
    drawChart(pen, chart, x, top, style, ink);
    top += CHART + GAP;
  }
  pen.fillStyle = ink;
  for (let part = 0; part <= 4; part++) {
    const text = part ? seconds((timeline.ms * part) / 4000) : "0";
    pen.textAlign = part === 4 ? "right" : part ? "center" : "left";
    pen.fillText(text, x((timeline.ms * part) / 4), top + 14);
  }
  canvas.addEventListener("pointermove", (event) => { note.textContent = spanAt(event.offsetX, event.offsetY, x); });
  canvas.addEventListener("click", (event) => {
    const span = foundAt(event.offsetX, event.offsetY, x);
    if (span >= 0 && timeline.spans.cell[span] >= 0) open([timeline.spans.cell[span]], 0);
  });
}

function chartsOf({ provisioning, host, ms }) {
  const even = provisioning.map((_, place) => (ms * (place + 0.5)) / provisioning.length);
  const most = Math.max(...host.available, ...host.room, 0);
  return [
    { name: "provisioned", at: even, values: provisioning, top: Math.max(...provisioning, 1), text: (value) => `${value.toFixed(0)} at once` },
    { name: "CPU", at: host.at, values: host.cpu, top: 1, text: () => "100 %", second: host.iowait },
    { name: "memory free", at: host.at, values: host.available, top: most, text: (value) => `${(value / 1024).toFixed(1)} GiB` },
    { name: "environments", at: host.at, values: host.room, top: Math.max(...host.room, 1), text: (value) => value >= 1024 ? `${(value / 1024).toFixed(1)} GiB` : `${value.toFixed(0)} MiB` },
  ];
}

function drawChart(pen, { name, at, values, top: most, text, second }, x, top, style, ink) {
  const y = (value) => top + CHART - (CHART * Math.min(value, most)) / (most || 1);
  const area = (series, colour) => {
    pen.beginPath();
    pen.moveTo(x(at[0]), top + CHART);
    series.forEach((value, place) => pen.lineTo(x(at[place]), y(value)));
    pen.lineTo(x(at.at(-1)), top + CHART);
    pen.fillStyle = style.getPropertyValue(colour);
    pen.globalAlpha = 0.45;
    pen.fill();
    pen.globalAlpha = 1;
  };
  area(values, "--link");
  if (second) area(second, "--failed");
  pen.fillStyle = ink;
  pen.textAlign = "left";
  pen.fillText(name, 0, top + 14, MARGIN - 6);
  pen.fillText(text(most), 0, top + 29, MARGIN - 6);
}

function foundAt(left, top, x) {
  const lane = Math.floor(top / (LANE + GAP));
  const { worker, at, ms } = timeline.spans;
  for (let span = at.length - 1; span >= 0; span--) {
    if (worker[span] === lane && x(at[span]) <= left + 1 && x(at[span] + ms[span]) >= left - 1) return span;
  }
  return -1;
}

function spanAt(left, top, x) {
  const span = foundAt(left, top, x);
  if (span < 0) return "";
  const { worker, phase, at, ms, cell } = timeline.spans;
  const what = cell[span] >= 0 ? ` ${idOf(cell[span])}` : "";
  return `${timeline.workers[worker[span]]}: ${timeline.phases[phase[span]]}${what}, ${seconds(ms[span] / 1000)} from ${seconds(at[span] / 1000)} on`;
}
