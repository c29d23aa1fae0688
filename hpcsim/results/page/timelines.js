"use strict";
// The curves of a run, or of several, above one another on one axis of time.

const LEAST_SPAN = 20; // seconds that can be looked at, at least
const WIDE = 0.05; // share of the machine that a failure must take for its time to be shaded
const AXIS_WIDTH = 58;

/** What every chart shows: from when to when, in seconds of the axis, and the job that is marked. */
const view = { from: 0, to: 1, begin: 0, end: 1, t0: 0, panels: [], job: null };

async function showTimelines(section, data) {
  const runs = await Promise.all(data.runs.map(async (run) => ({
    name: run.name, t0: run.what.t0_utc, nodes: run.what.nodes, begin: run.timelines.begin_s, end: run.timelines.end_s,
    curves: await unpackCurves(run.timelines.curves), interrupts: await unpackInterrupts(run.timelines.interrupts),
  })));
  alignRuns(runs);
  section.append(controls(runs));
  for (const run of data.runs)
    for (const text of run.timelines.missing)
      section.append(element("p", { class: "note" }, data.runs.length > 1 ? `${run.name}: ${text}` : text));
  const frame = element("div", { id: "charts" });
  section.append(frame);
  for (const panel of data.panels) view.panels.push(makePanel(panel, runs, frame));
  setView(view.begin, view.end);
}

/** Runs of one period share its dates; others are laid upon each other from their first second on. */
function alignRuns(runs) {
  const latest = Math.max(...runs.map((run) => run.t0 + run.begin));
  const ends = Math.min(...runs.map((run) => run.t0 + run.end));
  view.shared = runs.length === 1 || (runs.every((run) => Boolean(run.t0) === Boolean(runs[0].t0)) && latest < ends);
  view.t0 = view.shared ? runs[0].t0 : 0;
  for (const run of runs) run.shift = view.shared ? run.t0 - view.t0 : -run.begin;
  view.begin = Math.min(...runs.map((run) => run.begin + run.shift));
  view.end = Math.max(...runs.map((run) => run.end + run.shift));
}

function controls(runs) {
  const button = (text, title, act) => element("button", { type: "button", title, "aria-label": title, click: act }, text);
  const bar = element("div", { class: "controls", role: "toolbar", "aria-label": "Part of the time that is shown" },
    button("−", "Show twice the time", () => zoom(2)), button("+", "Show half the time", () => zoom(0.5)),
    button("◀", "Earlier", () => pan(-0.5)), button("▶", "Later", () => pan(0.5)),
    button("Whole run", "Show the whole run", () => setView(view.begin, view.end)),
    element("output", { id: "shown" }), element("output", { id: "pointed" }));
  const legend = element("p", { class: "note" }, element("span", { class: "on-screen" }, "Drag over a chart to look closer, double-click to see all again; with the keyboard: Tab to a chart, then + − ← → and 0. "),
    "Lines are means of what a pixel spans, bands reach from the least to the most.");
  if (runs.some((run) => run.interrupts)) legend.append(" Behind the curves: ", element("span", { class: "shade planned" }), " maintenance, ",
    element("span", { class: "shade failure" }), ` failures of ${100 * WIDE} % of the nodes or more; `, runs.length > 1 ? "" : element("span", { class: "shade ticks" }), " at the top", runs.length > 1 ? " in the colour of the run" : "", ": failures that ended jobs.");
  if (!view.shared) legend.append(" The runs are of different times: the axis counts from the first second of each.");
  return element("div", {}, bar, legend);
}

async function unpackInterrupts(packed) {
  if (!packed) return null;
  const [from, until, nodes, jobs, cause] = await Promise.all(["time_s", "until_s", "nodes", "jobs", "cause"].map((name) => unpack(packed[name])));
  return { from, until, nodes, jobs, cause, planned: new Set(packed.planned) };
}

function makePanel(panel, runs, frame) {
  const several = runs.length > 1;
  const lines = panel.lines.map((line) => {
    const run = runs[line.run];
    const look = several ? lookOfRun(line.run) : { colour: line.colour, dashed: Boolean(line.dashed) };
    const factor = line.factor === "nodes" ? 100 / run.nodes : line.factor;
    return { ...look, name: several ? run.name : line.name, curve: run.curves[line.curve], run, factor, value: element("b") };
  }).filter((line) => line.curve);
  const legend = element("p", { class: "legend" }, ...lines.map((line) => element("span", {}, swatch(line.colour, line.dashed), ` ${line.name} `, line.value)));
  const extra = element("p", { class: "note extra" });
  const root = element("figure", { class: "panel", id: `panel-${panel.id}`, tabindex: "0", keydown: byKey,
    "aria-label": `${panel.title} over time; keys + and − change the time shown, arrows move it, 0 shows all` },
    element("figcaption", {}, element("h3", {}, panel.title, element("small", {}, ` ${panel.unit}`)), legend));
  frame.append(root);
  const series = [{}];
  const bands = [];
  for (const line of lines) {
    series.push(lineOf(line.name, line.colour, line.dashed, { paths: uPlot.paths.stepped({ align: 1 }) }));
    for (const which of ["most", "least"])
      series.push({ label: `${line.name}, ${which}`, stroke: "transparent", width: 0, points: { show: false }, paths: uPlot.paths.stepped({ align: 1 }) });
    bands.push({ series: [series.length - 2, series.length - 1], fill: () => faint(colourOf(`--c${line.colour}`), several ? 0.12 : 0.22) });
  }
  const made = { panel, lines, root, extra, runs };
  made.plot = chart({
    series, bands, padding: [6, 10, 0, 0],
    scales: { x: { time: true, range: () => [view.from, view.to] }, y: { distr: panel.steep ? 4 : 1, range: (_, low, high) => rangeOf(panel, low, high) } },
    axes: [axisOf({ values: timeLabels, splits: timeSplits, size: 40, space: 70 }), axisOf({ values: valueLabels, size: AXIS_WIDTH, space: 28, ...(panel.steep ? { splits: powers, filter: (_, splits) => splits } : {}) })],
    cursor: {
      y: false, drag: { x: true, y: false, setScale: false }, points: { show: false },
      sync: { key: "time", filters: { pub: (what) => what === "mousemove" || what === "mouseleave" } },
      bind: { dblclick: () => () => setView(view.begin, view.end) },
    },
    hooks: {
      drawClear: [(plot) => shade(plot, runs)], draw: [markJob, (plot) => { [root.dataset.from, root.dataset.to] = [plot.scales.x.min, plot.scales.x.max]; }], setCursor: [() => readOut(made)],
      setSelect: [(plot) => { if (plot.select.width > 2) zoomInto(plot); }],
    },
  }, [[], ...series.slice(1).map(() => [])], root, (width) => (width < 600 ? 150 : 170), () => draw(made));
  root.append(extra);
  return made;
}

function rangeOf(panel, low, high) {
  if (low === null || high === null) return [0, 1];
  if (panel.top) return [0, Math.max(panel.top, high) * 1.06];
  if (panel.steep) return [0, Math.max(1, high) * 1.5];
  const room = (high - low || Math.abs(high) || 1) * 0.06;
  return [panel.floor === 0 ? Math.min(0, low) : low - room, high + room];
}

/** Marks of a scale on which one node and a thousand are both seen. */
const powers = (_, _axis, _low, high) => [0, 1, 10, 100, 1000, 10000, 100000].filter((value) => value <= high);

function zoomInto(plot) {
  const [from, to] = [plot.select.left, plot.select.left + plot.select.width].map((pixel) => plot.posToVal(pixel, "x"));
  plot.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
  setView(from, to);
}

/** Show this part of the time in all charts. */
function setView(from, to) {
  const length = Math.min(Math.max(to - from, LEAST_SPAN), view.end - view.begin);
  view.from = Math.min(Math.max(from, view.begin), view.end - length);
  view.to = view.from + length;
  for (const made of view.panels) draw(made);
  const seconds = length < 7200;
  document.getElementById("shown").textContent =
    `${moment(view.t0, view.from, { seconds })} to ${moment(view.t0, view.to, { seconds })}${view.t0 ? " UTC" : ""} (${span(length)})`;
}

function draw({ plot, lines, panel }) {
  const columns = Math.max(50, Math.round(plot.width - AXIS_WIDTH - 10));
  const edges = Float64Array.from({ length: columns + 1 }, (_, i) => view.from + ((view.to - view.from) * i) / columns);
  const data = [Array.from(edges)];
  for (const line of lines) {
    const made = drawn(line.curve, edges.map((edge) => edge - line.run.shift), line.factor, panel.joined);
    for (const which of ["mean", "most", "least"]) data.push([...made[which], made[which][columns - 1]]);
  }
  plot.setData(data, true);
}

function zoom(factor) {
  const [middle, half] = [(view.from + view.to) / 2, ((view.to - view.from) * factor) / 2];
  setView(middle - half, middle + half);
}

function pan(share) {
  const by = share * (view.to - view.from);
  setView(view.from + by, view.to + by);
}

function byKey(event) {
  const act = { "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), ArrowLeft: () => pan(-0.25), ArrowRight: () => pan(0.25),
    0: () => setView(view.begin, view.end), Escape: () => setView(view.begin, view.end) }[event.key];
  if (!act || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  act();
}

/** Values under the pointer, beside the names of the curves. */
function readOut({ plot, lines, panel, extra, runs }) {
  const at = plot.cursor.idx;
  const inside = plot.cursor.left >= 0 && at !== null && at !== undefined;
  lines.forEach((line, i) => {
    const [mean, most, least] = [1, 2, 3].map((k) => (inside ? plot.data[3 * i + k][at] : null));
    line.value.textContent = mean === null || mean === undefined ? "" : most - least > 0.01 * Math.abs(most) ? `${shortNumber(mean)} (${shortNumber(least)} to ${shortNumber(most)})` : shortNumber(mean);
  });
  const pointed = document.getElementById("pointed");
  const from = inside ? plot.data[0][at] : null;
  pointed.textContent = inside ? `at ${moment(view.t0, from, { seconds: view.to - view.from < 90000 })}` : "";
  if (panel.id === "away") extra.textContent = inside ? outOfService(runs, from, plot.data[0][at + 1] ?? from) : "";
}

const shortNumber = (value) => number(Number(value.toPrecision(value >= 1000 ? 6 : 4)));

function outOfService(runs, from, until) {
  const said = [];
  for (const run of runs) {
    if (!run.interrupts) continue;
    const { from: begins, until: ends, nodes, cause } = run.interrupts;
    for (let i = 0; i < begins.length && said.length < 5; i++)
      if (begins[i] + run.shift < until && ends[i] + run.shift > from)
        said.push(`${runs.length > 1 ? `${run.name}: ` : ""}${cause.names[cause.codes[i]]}, ${number(nodes[i])} nodes until ${moment(run.t0, ends[i], { seconds: false })}`);
  }
  return said.join("; ");
}

/** Maintenance and failures behind the curves. */
function shade(plot, runs) {
  const { ctx, bbox } = plot;
  ctx.save();
  for (const [number, run] of runs.entries()) {
    if (!run.interrupts) continue;
    const { from, until, nodes, jobs, cause, planned } = run.interrupts;
    for (let i = 0; i < from.length; i++) {
      const [left, right] = [from[i], until[i]].map((second) => Math.min(Math.max(plot.valToPos(second + run.shift, "x", true), bbox.left), bbox.left + bbox.width));
      if (right <= bbox.left || left >= bbox.left + bbox.width) continue;
      const maintenance = planned.has(cause.names[cause.codes[i]]);
      if (maintenance || nodes[i] >= WIDE * run.nodes) {
        ctx.fillStyle = colourOf(maintenance ? "--planned" : "--failure");
        ctx.fillRect(left, bbox.top, Math.max(right - left, devicePixelRatio), bbox.height);
      }
      if (!maintenance && jobs[i] > 0 && left > bbox.left) {
        ctx.fillStyle = colourOf(runs.length > 1 ? `--c${lookOfRun(number).colour}` : "--tick");
        ctx.fillRect(left, bbox.top, 2 * devicePixelRatio, 6 * devicePixelRatio);
      }
    }
  }
  ctx.restore();
}

/** The submission, start and end of the job that was chosen in the table. */
function markJob(plot) {
  if (!view.job) return;
  const { ctx, bbox } = plot;
  ctx.save();
  ctx.strokeStyle = colourOf("--ink");
  ctx.lineWidth = devicePixelRatio;
  for (const [second, dash] of [[view.job.submit, [2, 3]], [view.job.start, []], [view.job.end, [6, 4]]]) {
    if (Number.isNaN(second)) continue;
    const x = Math.round(plot.valToPos(second, "x", true)) + 0.5;
    if (x < bbox.left || x > bbox.left + bbox.width) continue;
    ctx.setLineDash(dash.map((length) => length * devicePixelRatio));
    ctx.beginPath();
    ctx.moveTo(x, bbox.top);
    ctx.lineTo(x, bbox.top + bbox.height);
    ctx.stroke();
  }
  ctx.restore();
}

function lookAtJob(submit, start, end) {
  view.job = { submit, start, end };
  const [first, last] = [submit, Number.isNaN(end) ? (Number.isNaN(start) ? submit : start) : end];
  const room = Math.max(600, (last - first) * 0.25);
  setView(first - room, last + room);
}

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 345600, 604800, 1209600];

/** Where the axis of time has marks: at round seconds, hours and days in UTC, or at firsts of months. */
function timeSplits(plot, _axis, low, high) {
  const most = Math.max(2, plot.width / 85);
  const step = STEPS.find((each) => (high - low) / each <= most);
  if (!step) return months(low, high, most);
  const zero = view.t0 % step; // marks are at round times of the clock, not of the run
  const first = Math.ceil((low + zero) / step) * step - zero;
  return Array.from({ length: Math.max(0, Math.floor((high - first) / step) + 1) }, (_, i) => first + i * step);
}

function months(low, high, most) {
  const begin = new Date((view.t0 + low) * 1000);
  const step = [1, 2, 3, 6, 12, 24, 60, 120].find((each) => (high - low) / (each * 2.63e6) <= most) ?? 240;
  const found = [];
  for (let k = 0; ; k += step) {
    const second = Date.UTC(begin.getUTCFullYear(), k, 1) / 1000 - view.t0;
    if (second > high) return found;
    if (second >= low) found.push(second);
  }
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/** The time of day, or the day; below it, where it is another, the day or the year. */
function timeLabels(_, splits) {
  const step = splits.length > 1 ? splits[1] - splits[0] : 0;
  let before = "";
  return splits.map((second) => {
    const date = new Date((view.t0 + second) * 1000);
    const day = view.t0 ? `${date.getUTCDate()} ${MONTHS[date.getUTCMonth()]}` : `day ${Math.floor(second / 86400)}`;
    const clock = date.toISOString().slice(11, step < 60 ? 19 : 16);
    const [above, below] = step < 86400 ? [clock, day] : [day, view.t0 ? String(date.getUTCFullYear()) : ""];
    const label = below === before ? above : `${above}\n${below}`;
    before = below;
    return label;
  });
}
