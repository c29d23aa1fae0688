"use strict";
// Curves over time, drawn at the resolution of the screen: mean, least and most of what is under each column of it.

/** Curves of packed tables: {"power.it_w": {time, end, mean, least, most}}. Where all rows are there, least is mean. */
async function unpackCurves(tables) {
  const curves = {};
  for (const [table, packed] of Object.entries(tables)) {
    const time = packed.time_s ? await unpack(packed.time_s)
      : Float64Array.from({ length: packed.intervals }, (_, i) => packed.begin_s + (i * (packed.end_s - packed.begin_s)) / packed.intervals);
    for (const [column, parts] of Object.entries(packed.columns)) {
      const mean = await unpack(parts.mean);
      const [least, most] = parts.least ? [await unpack(parts.least), await unpack(parts.most)] : [mean, mean];
      curves[`${table}.${column}`] = { time, end: packed.end_s, mean, least, most };
    }
  }
  return curves;
}

/** What is to be drawn of a curve between each two of the rising `edges`: arrays with null for nothing. */
function drawn(curve, edges, factor, joined) {
  const columns = edges.length - 1;
  const made = { mean: new Array(columns).fill(null), least: new Array(columns).fill(null), most: new Array(columns).fill(null) };
  const { time, end } = curve;
  let row = lastBefore(time, edges[0]);
  for (let k = 0; k < columns; k++) {
    const [from, until] = [Math.max(edges[k], time[0]), Math.min(edges[k + 1], end)];
    if (until <= from) continue;
    while (row + 1 < time.length && time[row + 1] <= from) row++;
    if (joined) {
      const inside = samplesIn(curve, row, from, until);
      if (!inside.length) inside.push(between(curve, row, (from + until) / 2));
      [made.mean[k], made.least[k], made.most[k]] = [inside.reduce((sum, value) => sum + value) / inside.length, Math.min(...inside), Math.max(...inside)].map((value) => scaled(value, factor));
      continue;
    }
    let [area, known, least, most] = [0, 0, Infinity, -Infinity];
    for (let i = row; i < time.length && (time[i] < until || i === row); i++) {
      if (Number.isNaN(curve.mean[i])) continue;
      const lasts = Math.min(until, i + 1 < time.length ? time[i + 1] : end) - Math.max(from, time[i]);
      area += curve.mean[i] * lasts;
      known += lasts;
      least = Math.min(least, curve.least[i]);
      most = Math.max(most, curve.most[i]);
    }
    if (known > 0) [made.mean[k], made.least[k], made.most[k]] = [area / known, least, most].map((value) => scaled(value, factor));
  }
  return made;
}

const scaled = (value, factor) => (Number.isNaN(value) ? null : value * factor);

function samplesIn({ time, mean }, row, from, until) {
  const found = [];
  for (let i = row; i < time.length && time[i] < until; i++) if (time[i] >= from && !Number.isNaN(mean[i])) found.push(mean[i]);
  return found;
}

/** A value on the straight line between two samples; the last one holds. */
function between({ time, mean }, row, second) {
  if (row + 1 >= time.length) return mean[row];
  const share = Math.max(0, (second - time[row]) / (time[row + 1] - time[row]));
  return mean[row] + share * (mean[row + 1] - mean[row]);
}

/** The last row that is not after a second; the first one if all are. */
function lastBefore(time, second) {
  let [low, high] = [0, time.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if (time[middle] <= second) low = middle + 1;
    else high = middle;
  }
  return Math.max(0, low - 1);
}
