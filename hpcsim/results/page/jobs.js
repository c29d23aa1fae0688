"use strict";
// The table of jobs: searched, sorted, page by page. Columns are arrays; rows are their numbers, so that it stays fast.

const PAGE_SIZES = [25, 50, 100, 500];

// Of each column: what it is called, how it is searched, and how one of its cells reads. `hidden` ones are in the details only.
const COLUMNS = [
  { key: "job", title: "job", from: "job_id", kind: "text" },
  { key: "user", title: "user", from: "user", kind: "text" },
  { key: "queue", title: "queue", from: "queue", kind: "text" },
  { key: "state", title: "state", from: "state", kind: "text" },
  { key: "nodes", title: "nodes", from: "nodes", kind: "count" },
  { key: "submit", title: "submitted", from: "submit_s", kind: "moment" },
  { key: "start", title: "started", from: "start_s", kind: "moment" },
  { key: "wait", title: "wait", from: "wait_s", kind: "span" },
  { key: "runtime", title: "ran", from: "runtime_s", kind: "span" },
  { key: "walltime", title: "walltime", from: "walltime_s", kind: "span" },
  { key: "slowdown", title: "bounded slowdown", from: "bounded_slowdown", kind: "count" },
  { key: "energy", title: "energy [kWh]", from: "energy_kwh", kind: "count" },
  { key: "why", title: "why it started", from: "why", kind: "text" },
  { key: "project", title: "project", from: "project", kind: "text", hidden: true },
  { key: "end", title: "ended", from: "end_s", kind: "moment", hidden: true },
  { key: "attempts", title: "times on the machine", from: "attempts", kind: "count", hidden: true },
  { key: "held", title: "held back for", from: "eligible_s", kind: "span", hidden: true },
  { key: "heldby", title: "held back by the limit", from: "held_by", kind: "text", hidden: true },
  { key: "routed", title: "routed to queue", from: "routed_to", kind: "text", hidden: true },
  { key: "rejected", title: "rejected by the rule", from: "rejected_by", kind: "text", hidden: true },
  { key: "after", title: "ran after", from: "after", kind: "text", hidden: true },
  { key: "cores", title: "cores of a shared node", from: "cores", kind: "count", hidden: true },
  { key: "gpus", title: "GPUs of a shared node", from: "gpus", kind: "count", hidden: true },
  { key: "memory", title: "memory [GiB] of a shared node", from: "memory_gib", kind: "count", hidden: true },
];
const FREE = ["job", "user", "project", "queue", "state", "why"]; // what a word without a column is looked for in
const UNITS_S = { s: 1, min: 60, m: 60, h: 3600, d: 86400 };

async function showJobs(section, { jobs, what }) {
  if (!jobs.count) {
    section.append(element("p", { class: "note" }, "No job was submitted."));
    return;
  }
  const arrays = await columnsOf(jobs);
  const table = { count: jobs.count, t0: what.t0_utc, columns: COLUMNS.filter((column) => arrays[column.from]).map((column) => ({ ...column, values: arrays[column.from] })) };
  const state = { rows: Uint32Array.from({ length: jobs.count }, (_, i) => i), page: 0, size: 50, sort: null, falling: false, query: "", open: null };
  section.append(...notesOf(jobs));
  const parts = skeleton(section, table, state);
  const show = () => render(table, state, parts);
  parts.search.addEventListener("input", later(() => { state.query = parts.search.value; select(table, state, parts); show(); }, 150));
  show();
}

/** The packed columns, and those that follow from them. */
async function columnsOf({ columns, count }) {
  const found = {};
  await Promise.all(Object.entries(columns).map(async ([name, packed]) => { found[name] = await unpack(packed); }));
  const made = (value) => Float64Array.from({ length: count }, (_, i) => value(i));
  const unknown = made(() => NaN);
  const { submit_s: submit, wait_s: wait = unknown, runtime_s: runtime = unknown } = found;
  found.start_s = made((i) => submit[i] + wait[i]);
  found.end_s = made((i) => submit[i] + wait[i] + runtime[i]);
  found.bounded_slowdown = made((i) => Math.max(1, (wait[i] + runtime[i]) / Math.max(runtime[i], 10)));
  if (found.energy_j) found.energy_kwh = found.energy_j.map((joules) => joules / 3.6e6);
  return found;
}

function notesOf({ dropped, left_out: leftOut, count }) {
  const notes = [];
  if (dropped.length) notes.push(`To keep this page small these columns are left out: ${dropped.join(", ")}. jobs.parquet and attempts.parquet have them.`);
  if (leftOut) notes.push(`To keep this page small it has the first ${number(count)} jobs by submission; ${number(leftOut)} later ones are in jobs.parquet only.`);
  return notes.map((text) => element("p", { class: "note trouble" }, text));
}

function skeleton(section, table, state) {
  const search = element("input", { type: "search", id: "search", placeholder: "e.g. user0012 state:failed nodes>=64 wait>2h", autocomplete: "off", spellcheck: "false", "aria-describedby": "search-help" });
  const found = element("output", { id: "found", "aria-live": "polite" });
  const parts = { search, found, head: element("tr"), body: element("tbody"), pager: element("div", { class: "pager" }) };
  parts.table = element("table", { id: "job-table" }, element("thead", {}, parts.head), parts.body);
  for (const column of table.columns.filter((each) => !each.hidden)) {
    const button = element("button", { type: "button", click: () => { sortBy(table, state, column); render(table, state, parts); } }, column.title);
    parts.head.append(element("th", { scope: "col", "data-key": column.key, class: column.kind === "text" ? null : "number" }, button));
  }
  section.append(
    element("div", { class: "search" }, element("label", { for: "search" }, "Search "), search, found),
    element("p", { class: "note", id: "search-help" },
      `All words must fit. A word is looked for in ${FREE.filter((key) => table.columns.some((column) => column.key === key)).join(", ")}; `,
      `with a column in that one (queue:large). Numbers, spans of time and dates compare: ${[...table.columns.filter((column) => column.kind !== "text").map((column) => column.key)].join(", ")}. A click on a job tells all about it.`),
    element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Jobs" }, parts.table), parts.pager);
  return parts;
}

/** Which rows fit the query, in the order that was asked for. */
function select(table, state, { found, search }) {
  search.setCustomValidity("");
  const tests = [];
  for (const word of state.query.match(/(?:[^\s"]|"[^"]*")+/g) || []) {
    const test = testOf(table, word.replaceAll('"', ""));
    if (typeof test === "string") { // what is wrong with it
      search.setCustomValidity(test);
      state.complaint = test;
      state.rows = new Uint32Array(0);
      return;
    }
    tests.push(test);
  }
  state.complaint = "";
  const rows = new Uint32Array(table.count);
  let n = 0;
  for (let i = 0; i < table.count; i++) if (tests.every((test) => test(i))) rows[n++] = i;
  state.rows = rows.slice(0, n);
  state.page = 0;
  if (state.sort) order(state);
}

/** A test of a row number for one word of the query, or a sentence that says what is wrong with it. */
function testOf(table, word) {
  const [, key, sign, wanted] = word.match(/^([a-z]+)(<=|>=|<|>|=|:)(.+)$/i) || [];
  const column = key && table.columns.find((each) => each.key === key.toLowerCase());
  if (!column) {
    const tests = table.columns.filter((each) => FREE.includes(each.key)).map((each) => textTest(each, word.toLowerCase(), false));
    return (i) => tests.some((test) => test(i));
  }
  if (column.kind === "text") {
    if (sign !== ":" && sign !== "=") return `${column.key} is text: search for ${column.key}:${wanted}`;
    return textTest(column, wanted.toLowerCase(), sign === "=");
  }
  const limit = column.kind === "moment" ? secondOf(wanted, table.t0) : amountOf(wanted, column.kind);
  if (Number.isNaN(limit)) return `${column.key}: found ${wanted}, expected ${{ count: "a number", span: "a span such as 90min, 2h or 1d", moment: "a date such as 2024-01-31" }[column.kind]}`;
  const { values } = column;
  return { "<": (i) => values[i] < limit, ">": (i) => values[i] > limit, "<=": (i) => values[i] <= limit, ">=": (i) => values[i] >= limit,
    "=": (i) => values[i] === limit, ":": (i) => values[i] === limit }[sign];
}

function textTest({ values }, wanted, whole) {
  const fits = (text) => text !== null && text !== undefined && (whole ? text.toLowerCase() === wanted : text.toLowerCase().includes(wanted));
  if (values.codes) {
    const fitting = values.names.map(fits);
    return (i) => values.codes[i] >= 0 && fitting[values.codes[i]];
  }
  return (i) => fits(textAt(values, i));
}

function amountOf(text, kind) {
  const [, digits, unit] = text.match(/^(\d+(?:\.\d+)?)([a-z]*)$/i) || [];
  if (digits === undefined || (unit && (kind !== "span" || !(unit in UNITS_S)))) return NaN;
  return Number(digits) * (unit ? UNITS_S[unit] : 1);
}

/** A date (UTC) or a number of seconds as a second of the run. */
function secondOf(text, t0) {
  if (/^\d+$/.test(text)) return Number(text);
  const [, day, time = "00:00"] = text.match(/^(\d{4}-\d\d-\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)Z?)?$/i) || []; // anything else is read as local time
  return t0 && day ? Date.parse(`${day}T${time}Z`) / 1000 - t0 : NaN;
}

function textAt(values, i) {
  if (values.codes) return values.codes[i] < 0 ? "" : values.names[values.codes[i]];
  return values.numbers ? `${values.before}${values.numbers[i]}${values.after}` : values[i] ?? "";
}

/** Sort by a column: first rising, then falling, then as the jobs were submitted. */
function sortBy(table, state, column) {
  if (state.sort !== column) [state.sort, state.falling] = [column, false];
  else if (!state.falling) state.falling = true;
  else state.sort = null;
  state.page = 0;
  order(state);
}

function order(state) {
  if (!state.sort) {
    state.rows.sort();
    return;
  }
  const ranks = ranksOf(state.sort);
  const sign = state.falling ? -1 : 1;
  state.rows.sort((a, b) => {
    const [x, y] = [ranks[a], ranks[b]];
    if (x !== x || y !== y) return (x !== x) - (y !== y) || a - b; // what is unknown comes last
    return sign * (x - y) || a - b;
  });
}

/** Numbers that order the rows of a column. */
function ranksOf(column) {
  const { values } = column;
  if (values.numbers) return values.numbers;
  if (values instanceof Float64Array) return values;
  if (column.ranks) return column.ranks;
  const names = values.codes ? values.names : values;
  const sorted = [...new Set(names)].sort((a, b) => ((a ?? "") < (b ?? "") ? -1 : 1));
  const rank = new Map(sorted.map((text, i) => [text, i]));
  column.ranks = values.codes
    ? Float64Array.from(values.codes, (code) => (code < 0 || names[code] === "" ? NaN : rank.get(names[code])))
    : Float64Array.from(names, (text) => rank.get(text));
  return column.ranks;
}

/** A cell in words: a moment to the minute, so that a row has room; the details of a job tell its seconds. */
function cell(column, i, t0, { seconds = false } = {}) {
  if (column.kind === "text") return textAt(column.values, i);
  const value = column.values[i];
  return column.kind === "moment" ? moment(t0, value, { seconds }) : column.kind === "span" ? span(value) : number(value);
}

function render(table, state, parts) {
  const shown = table.columns.filter((column) => !column.hidden);
  for (const head of parts.head.children) {
    const sorted = state.sort && state.sort.key === head.dataset.key;
    head.setAttribute("aria-sort", sorted ? (state.falling ? "descending" : "ascending") : "none");
  }
  parts.found.textContent = state.complaint || (state.rows.length === table.count ? `${number(table.count)} jobs` : `${number(state.rows.length)} of ${number(table.count)} jobs`);
  parts.found.classList.toggle("trouble", Boolean(state.complaint));
  const rows = state.rows.subarray(state.page * state.size, (state.page + 1) * state.size);
  parts.body.replaceChildren(...Array.from(rows).flatMap((i) => rowOf(table, shown, i, state, parts)));
  pager(table, state, parts);
}

function rowOf(table, shown, i, state, parts) {
  const open = state.open === i;
  const toggle = () => { state.open = open ? null : i; render(table, state, parts); parts.body.querySelector(`[data-row="${i}"] button`).focus(); };
  const [first, ...others] = shown.map((column) => ({ text: cell(column, i, table.t0), side: column.kind === "text" ? null : "number", key: column.key }));
  const row = element("tr", { "data-row": i },
    element("th", { scope: "row" }, element("button", { type: "button", "aria-expanded": String(open), click: toggle }, first.text)),
    ...others.map(({ text, side, key }) => element("td", { class: [side, key].filter(Boolean).join(" ") }, text)));
  if (!open) return [row];
  return [row, element("tr", { class: "details" }, element("td", { colspan: shown.length }, details(table, i)))];
}

function details(table, i) {
  const known = Object.fromEntries(table.columns.map((column) => [column.from, column.values]));
  const list = element("dl");
  for (const column of table.columns) {
    const text = cell(column, i, table.t0, { seconds: true });
    if (text && text !== "–") list.append(element("div", {}, element("dt", {}, column.title), element("dd", {}, text)));
  }
  const name = textAt(known.job_id, i);
  const quoted = /^[\w.+-]+$/.test(name) ? name : `'${name.replaceAll("'", "'\\''")}'`;
  return element("div", {}, list, element("p", {},
    element("button", { type: "button", click: () => {
      lookAtJob(known.submit_s[i], known.start_s[i], known.end_s[i]);
      document.getElementById("timelines").scrollIntoView();
    } }, "Show in the timelines"), " Why did it wait? ", element("code", {}, `hpcsim explain RUN ${quoted}`)));
}

function pager(table, state, parts) {
  const pages = Math.max(1, Math.ceil(state.rows.length / state.size));
  state.page = Math.min(state.page, pages - 1);
  const button = (text, title, page) => element("button", { type: "button", title, "aria-label": title, disabled: page < 0 || page >= pages || page === state.page,
    click: () => { state.page = page; render(table, state, parts); } }, text);
  const sizes = element("select", { "aria-label": "Jobs a page", change: (event) => { state.size = Number(event.target.value); state.page = 0; render(table, state, parts); } },
    ...PAGE_SIZES.map((size) => element("option", { value: size, selected: size === state.size }, String(size))));
  parts.pager.replaceChildren(button("«", "First page", 0), button("‹", "Page before", state.page - 1),
    element("span", {}, ` page ${number(state.page + 1)} of ${number(pages)} `),
    button("›", "Next page", state.page + 1), button("»", "Last page", pages - 1), element("label", {}, " ", sizes, " a page"));
}

/** Call `act` once the calls have stopped for so many milliseconds. */
function later(act, milliseconds) {
  let timer = 0;
  return () => { clearTimeout(timer); timer = setTimeout(act, milliseconds); };
}
