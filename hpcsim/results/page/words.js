"use strict";
// Elements and words. All that comes from a run becomes an element's text here, never HTML.

/** An element with attributes (functions are listeners) and children, which are elements or texts. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") made.addEventListener(key, value);
    else if (value === true) made.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** A table in a frame that scrolls sideways; heads and cells are texts or elements; numbers mark columns to the right. */
function tableOf(heads, rows, { right = [], caption = null, titled = true } = {}) {
  const side = (column) => (right.includes(column) ? "number" : null);
  const head = element("tr", {}, ...heads.map((text, i) => element("th", { scope: "col", class: side(i) }, text)));
  const body = rows.map((cells) =>
    element("tr", {}, ...cells.map((cell, i) =>
      i === 0 ? element("th", { scope: "row" }, cell) : element("td", { class: side(i) }, cell))));
  return element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": caption || "table" },
    element("table", {}, caption && titled ? element("caption", {}, caption) : null,
      element("thead", {}, head), element("tbody", {}, ...body)));
}

const exactly = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });

/** A number to read: whole ones in full, others to at least four digits. */
function number(value) {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (Number.isInteger(value)) return exactly.format(value);
  const size = Math.abs(value);
  if (size >= 1000) return exactly.format(value);
  if (size > 0 && size < 1e-3) return value.toExponential(2);
  return new Intl.NumberFormat("en", { maximumSignificantDigits: 4 }).format(value);
}

/** A span of time in its two largest units. */
function span(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "–";
  if (seconds < 0) return `-${span(-seconds)}`;
  const whole = Math.round(seconds);
  if (whole < 60) return `${seconds < 10 && !Number.isInteger(seconds) ? seconds.toFixed(1) : whole} s`;
  const [days, hours, minutes] = [Math.floor(whole / 86400), Math.floor((whole % 86400) / 3600), Math.floor((whole % 3600) / 60)];
  if (days) return `${exactly.format(days)} d ${hours} h`;
  return hours ? `${hours} h ${String(minutes).padStart(2, "0")} min` : `${minutes} min`;
}

/** A figure of the summary with its unit. */
function figure(value, unit, key = "") {
  if (value === null || value === undefined) return "–";
  if (typeof value !== "number") return String(value);
  if (key === "utilisation") return `${(100 * value).toFixed(2)} %`;
  if (unit === "s") return value >= 60 ? `${number(Math.round(value))} s (${span(value)})` : `${number(value)} s`;
  return unit && unit !== "count" ? `${number(value)} ${unit}` : number(value);
}

/** A second of a run as a date in UTC, or as days and hours where the trace has no dates. */
function moment(t0, second, { seconds = true } = {}) {
  if (Number.isNaN(second)) return "–";
  const iso = new Date((t0 + second) * 1000).toISOString();
  const clock = iso.slice(11, seconds ? 19 : 16);
  return t0 ? `${iso.slice(0, 10)} ${clock}` : `day ${Math.floor(second / 86400)}, ${clock}`;
}

/** How much more a figure is than the first run's, in percent. */
function change(value, first) {
  if (typeof value !== "number" || typeof first !== "number" || first === 0) return "";
  const percent = (100 * (value - first)) / Math.abs(first);
  if (percent === 0) return "same";
  const size = new Intl.NumberFormat("en", Math.abs(percent) < 10 ? { maximumSignificantDigits: 2 } : { maximumFractionDigits: 0 }).format(Math.abs(percent));
  return `${percent > 0 ? "+" : "−"}${size} %`;
}

/** Whether a figure is better or worse than the first run's, by which direction is better; "" for none, and for less than 0.1 %. */
function verdictOf(value, first, better) {
  if (!better || typeof value !== "number" || typeof first !== "number") return "";
  if (value === first || Math.abs(value - first) < 0.001 * Math.abs(first)) return "";
  return value < first === (better === "lower") ? "better" : "worse";
}

/** A colour of the page by the name of its variable. */
const colourOf = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

/** A short line in the colour of a curve, for legends; the colour is a variable, so that it follows the scheme. */
const swatch = (colour, dashed = false) => element("span", { class: `swatch c${colour}${dashed ? " dashed" : ""}`, "aria-hidden": "true" });
