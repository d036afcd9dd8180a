// What componentize-js generates between the engine and the strategy, made cheaper for each decision.

/** What the bindings use of their own; without these they are of another version. */
const USED = ["const dataView =", "const TEXT_DECODER_UTF8 =", "function _utf8AllocateAndEncode(", "function toInt64(", "const _debugLog ="];

/**
 * Uses once what the bindings use in each decision: the engine makes a class, and all that belongs to it, when it is
 * first used, and what is there before the snapshot is there in every instance.
 */
const WARM = `
{
  const buffer = new ArrayBuffer(64), memory = { buffer };
  const view = dataView(memory);
  for (const [get, set] of [["getUint8", "setInt8"], ["getUint32", "setUint32"], ["getInt32", "setInt32"], ["getFloat64", "setFloat64"]]) {
    view[get](0, true);
    view[set](0, 0, true);
  }
  view.setBigInt64(0, toInt64(BigInt.asUintN(64, view.getBigInt64(0, true))), true);
  new Float64Array(buffer.slice(0, 8));
  TEXT_DECODER_UTF8.decode(new Uint8Array(buffer, 0, 1));
  _utf8AllocateAndEncode("a\\u00e9", () => 0, memory);
  _debugLog("", {});
}
`;

/** The bindings' text, and their first use. As it is where it is not what this knows. */
export function prepared(text) {
  const once = (part) => text.split(part).length === 2;
  return USED.every(once) ? text + WARM : text;
}
