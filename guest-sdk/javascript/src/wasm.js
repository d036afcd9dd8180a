// The host's side of a plugin's module, in the artifact. Not part of plugin.js on disk: the
// build puts it where the file has the doubles.

function hostScore(position, name, rows) {
  try {
    return Array.from(score(position, each(rows, (row) => each(row, modelValue))));
  } catch (error) {
    const why = error?.payload ?? error;
    if (typeof why?.tag !== "string") throw error;
    throw new ScoreError(name, why.tag, why.val);
  }
}

function hostLog(level, message) {
  hostLine(level, String(message));
}

/** What an error says, and its stack in the author's files. */
function told(error) {
  if (!(error instanceof Error)) return `thrown: ${shown(error)}`;
  return [`${error.name}: ${error.message}`, ...places(String(error.stack ?? ""))].join("\n");
}

/** A stack's lines that lie in the author's files. The build leaves where each piece of the bundle comes from. */
function places(stack) {
  const { files, lines } = globalThis[Symbol.for("serin.places")] ?? { files: [], lines: {} };
  return stack.split("\n").flatMap((frame) => {
    const [, name, line, column] = /^([^@]*)@.*strategy\.js:(\d+):(\d+)$/.exec(frame) ?? [];
    const piece = lines[line]?.findLast(([start]) => start < Number(column));
    if (piece === undefined) return [];
    return [`    at ${name === "" ? "" : `${name} `}(${files[piece[1]]}:${piece[2]}:${piece[3]})`];
  });
}

function line(level) {
  return (...parts) => hostLog(level, parts.map((part) => (typeof part === "object" ? JSON.stringify(part) : String(part))).join(" "));
}

const CONSOLE = { debug: line("debug"), log: line("info"), info: line("info"), warn: line("warn"), error: line("warn") };

function strategy(decide, options) {
  const onError = options?.onError ?? ((text) => hostLog("warn", text));
  // What the boundary calls: the raw context in, the raw answer out.
  const boundary = (context) => {
    // Not before: while the component is built, there is no host to write to.
    globalThis.console = CONSOLE;
    try {
      return { tag: "ok", val: { candidates: each(candidates(decide(new Input(context))), raw) } };
    } catch (error) {
      if (error instanceof Refusal) return { tag: "err", val: { code: REASONS[error.reason], message: error.message } };
      onError(told(error));
      return fault(error);
    }
  };
  return Object.assign(boundary, { isStrategy: true });
}

/**
 * An answer that can't be read, so that the run ends in a trap. An error that is thrown here would
 * become a refusal: the bindings take any object with a message for one.
 */
function fault(error) {
  const throws = () => {
    throw error;
  };
  return { tag: "ok", val: Object.defineProperty({}, "candidates", { get: throws }) };
}

const NOTHING = Object.freeze([]);

/** `map`, without its price. */
function each(array, change) {
  const changed = [];
  for (let at = 0; at < array.length; at++) changed.push(change(array[at]));
  return changed;
}

function coded(reason) {
  return { code: REASONS[reason.code], weight: reason.weight };
}

function raw(candidate) {
  const { position, encode } = ACTIONS[candidate.action];
  return {
    action: position,
    probability: candidate.probability,
    parameters: encode(candidate.parameters),
    reasons: each(candidate.reasons, coded),
    extra: NOTHING,
  };
}
