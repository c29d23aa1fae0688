"use strict";
// What all charts have in common: colours of the page's scheme, fonts, axes.

const FONT = "12px system-ui, sans-serif";

const ink = (name) => () => colourOf(name);

/** A colour with an opacity, as canvas takes it. */
const faint = (colour, opacity) => `color-mix(in srgb, ${colour} ${100 * opacity}%, transparent)`;

function axisOf(more) {
  return {
    stroke: ink("--quiet"), font: FONT, ticks: { stroke: ink("--line"), width: 1, size: 4 }, gap: 4,
    grid: { stroke: ink("--grid"), width: 1 }, ...more,
  };
}

const shortly = new Intl.NumberFormat("en", { notation: "compact", maximumFractionDigits: 3 });

/** Labels of a y axis: in full while they are short. */
const valueLabels = (_, splits) => splits.map((value) =>
  value === null ? "" : Math.abs(value) >= 1e5 ? shortly.format(value) : String(Number(value.toPrecision(6))).replace(/\B(?=(\d{3})+$)/g, ","));

/** A line of a chart in colour number `colour`; every eighth run and further are dashed. */
function lineOf(label, colour, dashed, more = {}) {
  return { label, stroke: () => colourOf(`--c${colour}`), width: 1.5, dash: dashed ? [6, 4] : undefined, points: { show: false }, ...more };
}

/** The colour of run number `i`, and whether it is dashed, where several are overlaid. */
const lookOfRun = (i) => ({ colour: (i % 7) + 1, dashed: i >= 7 });

const charts = []; // all on the page: {plot, fit}

/** A chart as wide as its frame. `changed` is called when that is another width. */
function chart(options, data, frame, heightOf, changed = () => {}) {
  const widthOf = () => Math.max(200, frame.clientWidth);
  const plot = new uPlot({ legend: { show: false }, width: widthOf(), height: heightOf(widthOf()), ...options }, data, frame);
  const fit = () => {
    const width = widthOf();
    if (plot.width === width) return;
    plot.setSize({ width, height: heightOf(width) });
    changed();
  };
  charts.push({ plot, fit });
  return plot;
}

function fitAll() {
  for (const { fit } of charts) fit();
}

function drawAllAnew() {
  for (const { plot } of charts) plot.redraw(false, true);
}
