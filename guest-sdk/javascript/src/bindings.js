// What componentize-js generates between the engine and the strategy, made cheaper for each decision. The engine only
// interprets: a call costs as much as ten properties that are read.

const EXPORT = "async function export_decide(";
/** Declared once in the bindings, and used by what is put in here. */
const DECLARED = ["const dataView =", "const TEXT_DECODER_UTF8 =", "const TEXT_ENCODER_UTF8 =", "function toInt64("];

/** The engine's own encoder, in place of a loop over a text's characters that only measures it. */
const ENCODE = `function _utf8AllocateAndEncode(s, realloc, memory) {
  if (typeof s !== 'string') throw new TypeError('expected a string, received [' + typeof s + ']');
  const bytes = TEXT_ENCODER_UTF8.encode(s);
  const len = bytes.length;
  if (len === 0) return { ptr: 1, len };
  const ptr = realloc(0, 0, 1, len);
  new Uint8Array(memory.buffer, ptr, len).set(bytes);
  return { ptr, len };
}
`;

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
  DECIDED.then(() => {});
}
`;

/** The bindings' text, made cheaper. As it is where it is not what this knows. */
export function prepared(text) {
  const exported = functionAt(text, text.indexOf(EXPORT));
  const encode = functionAt(text, text.indexOf("function _utf8AllocateAndEncode("));
  const isOnce = (part) => text.split(part).length === 2;
  if (exported === undefined || encode === undefined || ![EXPORT, encode, ...DECLARED].every(isOnce)) return text;
  const decided = decidedAtOnce(exported);
  if (decided === undefined) return text;
  const quiet = text.replace(exported, () => oneView(decided)).replace(encode, () => ENCODE);
  // It would ask for a variable of the environment, which a strategy has none of.
  return quiet.replace(/^ *_debugLog\((?:'[^']*'|"[^"]*")(?:, \{[^{}]*\})?\);\n/gm, "") + WARM;
}

/** The text of the function that begins there: to the first line that closes it. */
function functionAt(text, start) {
  const end = text.indexOf("\n}\n", start);
  return start < 0 || end < 0 ? undefined : text.slice(start, end + "\n}\n".length);
}

/**
 * Without a promise of its own. The engine waits for the one that an export gives: a single one, which was fulfilled
 * before the snapshot, stands for them all, since no strategy waits.
 */
function decidedAtOnce(exported) {
  const [call, end] = ["await decide(", "\n  return;\n}\n"];
  if (exported.split("await ").length !== 2 || exported.split(call).length !== 2) return undefined;
  if (!exported.endsWith(end) || exported.split("return").length !== 2) return undefined;
  const body = exported.slice(EXPORT.length, -end.length).replace(call, "decide(");
  return `const DECIDED = Promise.resolve();\nfunction export_decide(${body}\n  return DECIDED;\n}\n`;
}

/**
 * Asks for the memory's buffer anew only after the memory may have grown by what is written next: after an allocation,
 * and after the strategy ran. An older view still shows all that was there before.
 */
function oneView(exported) {
  return exported
    .replaceAll("dataView($memory)", "view")
    .replaceAll("$memory.buffer", "view.buffer")
    .replace(/= (?:\$realloc|_utf8AllocateAndEncode)\(.*\);/g, (allocation) => `${allocation} view = dataView($memory);`)
    .replace(/ = decide\(\{[^{}]*\}\);| catch \(e\) \{/g, (decided) => `${decided} view = dataView($memory);`)
    .replace(") {\n", () => ") {\n  let view = dataView($memory);\n");
}
