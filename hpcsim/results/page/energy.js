"use strict";
// Where every kilowatt-hour of the facility went.

const PARTS = {
  jobs: ["jobs", 1], lost: ["lost: jobs that were ended from outside", 2], idle: ["idle nodes", 6], asleep: ["sleeping nodes", 7], waking: ["waking nodes", 4],
  repair: ["nodes under repair", 5], unshared: ["shared nodes, idle power of no job", 8], fixed: ["fixed loads", 9], cooling: ["cooling", 3],
};

function showEnergy(section, { runs }) {
  if (!runs.some((run) => run.split_kwh)) {
    section.append(element("p", { class: "note" }, "Nothing here models power: the scenario has no physics."));
    return;
  }
  const known = runs.filter((run) => run.split_kwh);
  const split = (run) => Object.entries(run.split_kwh).filter(([part, kwh]) => part !== "of_which_conversion" && kwh !== 0);
  const total = (run) => split(run).reduce((sum, [, kwh]) => sum + kwh, 0);
  const most = Math.max(...known.map(total)) || 1;
  for (const run of known) {
    const bar = element("div", { class: "bar", role: "img", "aria-label": `Energy of ${run.name}: the table below has the figures` });
    for (const [part, kwh] of split(run)) {
      const piece = element("span", { class: `fill${colourOfPart(part)}`, title: `${labelOf(part)}: ${number(kwh)} kWh` });
      piece.style.width = `${(100 * kwh) / most}%`;
      bar.append(piece);
    }
    section.append(element("div", { class: "bar-row" }, runs.length > 1 ? element("h3", {}, run.name) : null, bar));
  }
  const parts = [...new Set(known.flatMap((run) => split(run).map(([part]) => part)))];
  const heads = ["part"];
  for (const run of known) heads.push(runs.length > 1 ? `${run.name}, kWh` : "kWh", "share");
  const row = (label, kwhs) => [label, ...kwhs.flatMap((kwh, i) => [number(kwh), `${((100 * kwh) / (total(known[i]) || 1)).toFixed(1)} %`])];
  const rows = parts.map((part) => row(element("span", {}, element("span", { class: `key fill${colourOfPart(part)}` }), ` ${labelOf(part)}`), known.map((run) => run.split_kwh[part] ?? 0)));
  rows.push(row(element("b", {}, "facility"), known.map(total)));
  if (known.some((run) => run.split_kwh.of_which_conversion))
    rows.push(row("of which lost in the converters of nodes", known.map((run) => run.split_kwh.of_which_conversion ?? 0)));
  section.append(tableOf(heads, rows, { right: heads.map((_, i) => i).slice(1), caption: "Energy of the facility" }));
}

const labelOf = (part) => (PARTS[part] || [part])[0];
const colourOfPart = (part) => (PARTS[part] || [part, 8])[1];
