"use strict";
// Which share of the jobs had started after how long, by how many nodes they asked for.

const WAIT_MARKS = [1, 10, 60, 600, 3600, 6 * 3600, 86400, 7 * 86400, 30 * 86400, 365 * 86400];

function showWaits(section, { runs, waits }) {
  if (!waits.classes.length) {
    section.append(element("p", { class: "note" }, "No measured job has started."));
    return;
  }
  section.append(element("p", { class: "note" },
    "The share of the measured jobs that had started so long after they were submitted; the scale begins at one second, and who did not wait at all is in its first point."));
  const frame = element("div", { class: runs.length > 1 ? "small-charts" : "" });
  section.append(frame);
  if (runs.length > 1) {
    section.insertBefore(legendOfRuns(runs), frame);
    for (const each of waits.classes)
      waitChart(frame, each.name, waits.scale_s, each.runs.flatMap((own, i) => (own ? [{ name: runs[i].name, ...lookOfRun(i), shares: own.shares }] : [])));
  } else {
    waitChart(frame, "", waits.scale_s, waits.classes.map((each, i) => ({ name: each.name, ...lookOfRun(i), shares: each.runs[0].shares })));
  }
  const several = runs.length > 1;
  const rows = waits.classes.flatMap((each) => each.runs.flatMap((own, i) => (own ? [[
    several ? `${each.name}, ${runs[i].name}` : each.name, number(own.jobs), number(Math.round(own.node_hours)), `${(100 * own.at_once).toFixed(1)} %`,
    span(own.median_wait_s), span(own.mean_wait_s), span(own.p90_wait_s), span(own.max_wait_s), number(own.mean_bounded_slowdown),
  ]] : [])));
  section.append(tableOf(["size", "jobs", "node-hours", "did not wait", "median wait", "mean wait", "90 % below", "longest", "mean bounded slowdown"], rows,
    { right: [1, 2, 3, 4, 5, 6, 7, 8], caption: "Waits by size" }));
}

const legendOfRuns = (runs) => element("p", { class: "legend" }, ...runs.map((run, i) => {
  const { colour, dashed } = lookOfRun(i);
  return element("span", {}, swatch(colour, dashed), ` ${run.name}`);
}));

function waitChart(frame, title, scale, lines) {
  const values = lines.map(() => element("b"));
  const legend = element("p", { class: "legend" }, ...lines.map((line, i) => element("span", {}, swatch(line.colour, line.dashed), ` ${line.name} `, values[i])));
  const at = element("b");
  const root = element("figure", { class: "panel" }, element("figcaption", {}, title ? element("h3", {}, title) : null, legend), at);
  frame.append(root);
  chart({
    padding: [8, 16, 0, 0],
    series: [{}, ...lines.map((line) => lineOf(line.name, line.colour, line.dashed))],
    scales: { x: { time: false, distr: 3, range: () => [1, scale[scale.length - 1]] }, y: { range: () => [0, 100] } },
    axes: [
      axisOf({ splits: (plot) => waitMarks(plot, scale[scale.length - 1]), filter: (_, splits) => splits, size: 30,
        values: (_, splits) => splits.map((mark) => waitLabel(mark)) }),
      axisOf({ size: 58, values: (_, splits) => splits.map((share) => `${share} %`) }),
    ],
    cursor: { y: false, drag: { x: false, y: false }, points: { show: false } },
    hooks: { setCursor: [(made) => {
      const i = made.cursor.idx;
      const inside = made.cursor.left >= 0 && i !== null && i !== undefined;
      at.textContent = inside ? `had started after ${span(Math.round(scale[i]))}` : "\u00a0";
      values.forEach((value, k) => { value.textContent = inside ? `${made.data[k + 1][i].toFixed(1)} %` : ""; });
    }] },
  }, [scale, ...lines.map((line) => line.shares.map((share) => 100 * share))], root, () => 240);
  at.textContent = "\u00a0";
  root.append(at);
}

/** Round waits up to the longest, as many as have room for their labels. */
function waitMarks(plot, longest) {
  const found = [];
  const place = (mark) => (Math.log(mark) / Math.log(longest)) * (plot.width - 74);
  for (const mark of WAIT_MARKS)
    if (mark <= longest && (!found.length || place(mark) - place(found[found.length - 1]) > 44)) found.push(mark);
  return found;
}

const waitLabel = (mark) => span(mark).replace(/ (0 h|00 min)$/, "");
