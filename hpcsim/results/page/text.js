"use strict";
// What the page says in words and tables: what ran, figures, scenarios, provenance, citations.

function showHead({ runs }) {
  const [{ what }] = runs;
  const title = runs.length > 1 ? `${runs.length} runs compared` : what.heading;
  document.querySelector("h1").textContent = title;
  document.getElementById("what").append(...(runs.length > 1 ? [runs.map((run) => run.what.heading).join(" · ")] : [sentenceOf(runs[0])]));
  const nav = document.querySelector("nav");
  for (const section of document.querySelectorAll("main > section"))
    nav.append(element("a", { href: `#${section.id}` }, section.dataset.title));
}

function sentenceOf({ what, timelines }) {
  const from = moment(what.t0_utc, timelines.begin_s, { seconds: false });
  const until = moment(what.t0_utc, timelines.end_s, { seconds: false });
  const said = [
    what.description ? `${what.description.replace(/[.\s]+$/, "")}.` : "",
    `${what.jobs}${what.submitted < what.in_workload ? ` of ${number(what.in_workload)}` : ""} from ${what.source},`,
    `on ${number(what.nodes)} nodes${what.machine ? ` of ${what.machine}` : ""}, seed ${what.seed};`,
    `${from} to ${until}${what.t0_utc ? " UTC" : ""} (${span(timelines.end_s - timelines.begin_s)}).`,
    what.until !== null && what.until !== undefined ? "The run was stopped early (until): jobs may be waiting or running still." : "",
  ];
  return said.filter(Boolean).join(" ");
}

function showSummary(section, { runs, tiles, warnings }) {
  for (const text of warnings) section.append(element("p", { class: "note trouble" }, text));
  if (runs.length > 1) {
    section.append(legendOfRuns(runs));
    section.append(comparison(tiles, runs, (row) => row.label, (value, row) => element("span", {}, ...tileOf(value, row.unit, row.key))));
    return;
  }
  section.append(element("dl", { class: "tiles" }, ...tiles.map(({ key, label, unit, values: [value] }) =>
    element("div", {}, element("dt", {}, label), element("dd", {}, ...tileOf(value, unit, key))))));
}

function tileOf(value, unit, key) {
  if (value === null) return ["–"];
  if (unit === "s") return [span(value)];
  if (key === "utilisation") return [(100 * value).toFixed(1), element("small", {}, " %")];
  return [number(value), unit && unit !== "count" && unit !== "jobs/h" ? element("small", {}, ` ${unit}`) : ""];
}

/** A column for each run, and how much more than the first the others have; better and worse where that is known. */
function comparison(rows, runs, labelOf, shown = exact) {
  const heads = ["", runs[0].name, ...runs.slice(1).flatMap((run) => [run.name, "against the first"])];
  const cells = rows.map((row) => [labelOf(row), shown(row.values[0], row),
    ...row.values.slice(1).flatMap((value) => [shown(value, row), changed(value, row)])]);
  return tableOf(heads, cells, { right: heads.map((_, i) => i).slice(1), caption: "Figures of the runs", titled: false });
}

function changed(value, { values: [first], better }) {
  const verdict = verdictOf(value, first, better);
  return element("span", { class: verdict || null }, change(value, first), verdict ? ` ${verdict}` : "");
}

/** A key, which may be broken after its joints. */
const nameOf = (key, title = null) => element("code", { title }, ...key.split(/(?<=[_.:])/).flatMap((part) => [part, element("wbr")]));

/** A figure to read, with all its digits for who points at it. */
const exact = (value, { unit, key }) => element("span", { title: typeof value === "number" ? String(value) : null }, figure(value, unit, key));

function showFigures(section, { runs, summary }) {
  section.append(element("p", { class: "note" }, "All of summary.json. J are the measured jobs that were not rejected."));
  for (const group of new Set(summary.map((row) => row.group))) {
    const rows = summary.filter((row) => row.group === group);
    const label = (row) => nameOf(row.key, row.formula);
    section.append(element("h3", {}, group));
    section.append(runs.length > 1 ? comparison(rows, runs, label)
      : tableOf(["figure", "value", "what it is"], rows.map((row) => [label(row), exact(row.values[0], row), row.formula]), { right: [1], caption: group, titled: false }));
  }
}

function showDifferences(section, { runs, differing, differences }) {
  if (!differing.length) section.append(element("p", { class: "note" }, "The scenarios are the same."));
  else section.append(tableOf(["key of the scenario", ...runs.map((run) => run.name)],
    differing.map((row) => [nameOf(row.key), ...row.values.map((value) => (value === null ? "–" : String(value)))]), { caption: "Keys that differ" }));
  differences.forEach((diff, i) => {
    if (diff) section.append(element("details", {}, element("summary", {}, `${runs[i + 1].name}: its scenario as a diff from that of ${runs[0].name}`), diffOf(diff)));
  });
}

const diffOf = (diff) => element("pre", { class: "diff", tabindex: "0" }, ...diff.split("\n").map((line) =>
  element(line[0] === "+" ? "ins" : line[0] === "-" ? "del" : "span", {}, `${line}\n`)));

function showScenario(section, { runs }) {
  section.append(element("p", { class: "note" }, runs.length > 1
    ? "What each run was made of, with every default written out. In a run directory, hpcsim run scenario.yaml repeats the run."
    : "What the run was made of, with every default written out. In the run directory,"));
  if (runs.length === 1) section.append(element("pre", { tabindex: "0" }, "hpcsim run scenario.yaml --out ../again"), element("p", { class: "note" },
    "repeats it to the same bytes, with the same versions, plug-ins and trace as under Provenance."));
  for (const run of runs) {
    const text = element("pre", { tabindex: "0" }, run.scenario_yaml);
    section.append(runs.length > 1 ? element("details", {}, element("summary", {}, run.name), text) : text);
  }
}

function showProvenance(section, { runs }) {
  for (const { name, manifest } of runs) {
    if (runs.length > 1) section.append(element("h3", {}, name));
    const { workload, versions = {}, plugins = [], twins = {} } = manifest;
    const facts = [
      ["hpcsim", manifest.hpcsim], ["libraries", Object.entries(versions).filter(([, version]) => version).map(([library, version]) => `${library} ${version}`).join(", ")],
      ["jobs from", workload.source], ["format of the trace", workload.format || "–"], ["SHA-256 of the trace", workload.sha256 || "no file: made by the generator from the seed"],
      ["jobs in the workload", number(workload.jobs)], ["found running at the start", number(manifest.warm_start_jobs ?? 0)],
      ["twins", Object.entries(twins).map(([question, twin]) => `${question}: ${twin}`).join(", ") || "none"],
      ["the scheduler needs", (manifest.needs || []).join(", ") || "nothing but a queue and nodes"], ["laws verified at the end", manifest.checked ? "yes" : "no"],
    ];
    section.append(tableOf(["what", "found"], facts, { caption: "Where the figures come from" }));
    const cleaning = Object.entries(workload.cleaning || {});
    if (cleaning.length) section.append(tableOf(["rule of cleaning", "rows"], cleaning.map(([rule, rows]) => [element("code", {}, rule), typeof rows === "number" ? number(rows) : JSON.stringify(rows)]), { right: [1], caption: "Rows of the trace that were dropped or mended" }));
    section.append(tableOf(["plug-ins of", "version", "offers", "hash or place"], plugins.map((plugin) => [plugin.name, plugin.version || "–", offersOf(plugin.offers), plugin.sha256 || plugin.distribution || "–"]), { caption: "Plug-ins that were found" }));
    section.append(element("details", {}, element("summary", {}, "manifest.json"), element("pre", { tabindex: "0" }, JSON.stringify(manifest, null, 2))));
  }
  document.querySelector("footer").textContent = `Made by hpcsim from what the run${runs.length > 1 ? "s" : ""} left behind. Charts by uPlot (MIT licence).`;
}

const offersOf = (offers) => Object.entries(offers || {}).map(([kind, names]) => `${kind}: ${(Array.isArray(names) ? names : Object.keys(names)).join(", ")}`).join("; ") || "–";

function showCitations(section, { runs }) {
  if (runs.length > 1) {
    section.append(element("p", { class: "note" }, "hpcsim cite RUN RUN prints the BibTeX of all that these runs used."));
    return;
  }
  const { entries, missing } = runs[0].cited;
  if (missing) section.append(element("p", { class: "note trouble" }, missing));
  if (entries.length) section.append(element("p", { class: "note" }, "What the run rests on, as hpcsim cite RUN prints it; above each entry stands what it is for."), element("pre", { tabindex: "0" }, entries.join("\n\n")));
}
