// The host's side of a plugin's module, in the artifact. Not part of plugin.js on disk: the
// build puts it where the file has the doubles.

function hostScore(position, name, rows) {
  try {
    return Array.from(score(position, rows.map((row) => row.map(modelValue))));
  } catch (error) {
    const why = error?.payload ?? error;
    if (typeof why?.tag !== "string") throw error;
    throw new ScoreError(name, why.tag, why.val);
  }
}

function hostLog(level, message) {
  hostLine(level, String(message));
}

function strategy(decide, options) {
  const onError = options?.onError;
  // What the boundary calls: the raw context in, the raw answer out.
  const boundary = (context) => {
    try {
      return { tag: "ok", val: { candidates: candidates(decide(new Input(context))).map(raw) } };
    } catch (error) {
      if (error instanceof Refusal) return { tag: "err", val: { code: REASONS[error.reason], message: error.message } };
      if (onError !== undefined) onError(`${error?.name ?? "thrown"}: ${error?.message ?? error}\n${error?.stack ?? ""}`);
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

function raw(candidate) {
  const { position, encode } = ACTIONS[candidate.action];
  return {
    action: position,
    probability: candidate.probability,
    parameters: encode(candidate.parameters),
    reasons: candidate.reasons.map((reason) => ({ code: REASONS[reason.code], weight: reason.weight })),
    extra: NOTHING,
  };
}
