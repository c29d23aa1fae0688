"use strict";
// Packed columns (pack.py) back into arrays: deflated little-endian bytes, all first bytes first.

async function inflated(base64) {
  if (typeof DecompressionStream === "undefined")
    throw new Error("This browser cannot unpack the data of this page (it has no DecompressionStream): use one from 2023 or later.");
  const text = atob(base64);
  const bytes = new Uint8Array(text.length);
  for (let i = 0; i < text.length; i++) bytes[i] = text.charCodeAt(i);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** A column of numbers (NaN is unknown), of texts, or of {names, codes} where texts repeat (code -1 is unknown). */
async function unpack(packed) {
  if (packed.kind === "named") {
    const [names, codes] = await Promise.all([unpack(packed.names), unpack(packed.codes)]);
    return { names, codes: Int32Array.from(codes, (code) => (Number.isNaN(code) ? -1 : code)) };
  }
  if (packed.kind === "numbered") return { before: packed.before, after: packed.after, numbers: await unpack(packed.numbers) };
  const bytes = await inflated(packed.data);
  if (packed.kind === "texts") return JSON.parse(new TextDecoder().decode(bytes));
  return packed.kind === "real" ? reals(bytes, packed.count) : wholes(bytes, packed);
}

function reals(bytes, count) {
  const view = new DataView(new ArrayBuffer(4 * count));
  for (let plane = 0; plane < 4; plane++)
    for (let i = 0; i < count; i++) view.setUint8(4 * i + plane, bytes[plane * count + i]);
  return Float64Array.from({ length: count }, (_, i) => view.getFloat32(4 * i, true));
}

function wholes(bytes, { count, base, width, nulls, changes }) {
  const values = new Float64Array(count);
  for (let plane = 0, weight = 1; plane < width; plane++, weight *= 256)
    for (let i = 0; i < count; i++) values[i] += weight * bytes[plane * count + i];
  for (let i = 0, sum = 0; i < count; i++) {
    if (nulls && values[i] === 0) values[i] = NaN;
    else values[i] += base - (nulls ? 1 : 0);
    if (changes) values[i] = sum += values[i];
  }
  return values;
}
