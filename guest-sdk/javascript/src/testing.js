// Stands in for the host in unit tests. The generator copies it into plugin.js.

let fakeModels;
let keptLines;

function hostScore(position, name, rows) {
  rows.forEach((row) => row.forEach(modelValue));
  if (fakeModels === undefined) throw new Error(`model '${name}' was called, and no host is here; use withModels`);
  const scores = fakeModels(name, rows);
  if (!Array.isArray(scores) || scores.length !== rows.length) {
    throw new Error(`withModels: the answer for '${name}' is not one score for each of its ${rows.length} rows`);
  }
  return scores;
}

function hostLog(level, message) {
  keptLines?.push({ level, message: String(message) });
}

/**
 * Runs `test` with `models` in place of the host's callable models: a function of a model's name and
 * rows, or an array of { model, scores, rows }, one for each call, in which `rows` may be left out.
 * To let a call fail, throw a ScoreError in the function.
 */
export function withModels(models, test) {
  const outer = fakeModels;
  const calls = Array.isArray(models) ? [...models] : undefined;
  fakeModels = (name, rows) => {
    if (calls === undefined) return models(name, rows);
    const call = calls.shift();
    if (call?.model !== name) {
      throw new Error(`model '${name}' was called, expected: ${call === undefined ? "no more calls" : `'${call.model}'`}`);
    }
    const [wanted, got] = [call.rows, rows].map((r) => JSON.stringify(r, (_, v) => (typeof v === "bigint" ? String(v) : v)));
    if (wanted !== undefined && wanted !== got) throw new Error(`model '${name}' was called with ${got}, expected: ${wanted}`);
    return call.scores;
  };
  try {
    const result = test();
    if (calls?.length) throw new Error(`model '${calls[0].model}' was expected to be called`);
    return result;
  } finally {
    fakeModels = outer;
  }
}

/** Runs `test`, and returns its result and the lines that were logged: { result, lines: [{ level, message }] }. */
export function withLog(test) {
  const outer = keptLines;
  const lines = (keptLines = []);
  try {
    return { result: test(), lines };
  } finally {
    keptLines = outer;
  }
}

/** The author's function with the host's checks around it: it takes an Input, and returns an array of candidates. */
function strategy(decide, options) {
  return (input) => {
    if (!(input instanceof Input)) throw new TypeError("decide takes an Input; make one with example({ … })");
    const restore = forbid();
    try {
      return checked(candidates(decide(input)));
    } catch (error) {
      if (!(error instanceof Refusal)) options?.onError?.(`${error?.name}: ${error?.message}`);
      throw error;
    } finally {
      restore();
    }
  };
}

/** What the host would refuse, is refused here. */
function checked(array) {
  if (array.length === 0) throw new RangeError("the strategy returned no candidate");
  const total = array.reduce((sum, candidate) => sum + candidate.probability, 0);
  if (!(Math.abs(total - 1) <= 1e-6)) throw new RangeError(`the probabilities sum to ${total}, not 1; normalized([[weight, candidate], …]) makes them`);
  const seen = new Set();
  for (const { action, parameters } of array) {
    const key = JSON.stringify([action, parameters]);
    if (seen.has(key)) throw new RangeError(`action '${action}' twice with equal parameters`);
    seen.add(key);
  }
  return array;
}

/**
 * An input for a test: the manifest's defaults, zeros and empty texts where it has none, and `changes`
 * in place of them. A name that plugin.toml does not declare, or a value of another type, is an error.
 */
export function example(changes = {}) {
  const input = Object.create(Input.prototype);
  Object.assign(input, { decision_point: DECISION_POINT, time_ms: 0, utc_offset_minutes: 0 });
  for (const [key, { kind, prototype, fields }] of Object.entries(KINDS)) {
    const record = (input[key] = Object.create(prototype));
    for (const [name, field] of Object.entries(fields)) record[name] = field.value;
    for (const [name, value] of Object.entries(changes[key] ?? {})) {
      const field = fields[name];
      if (field === undefined) {
        throw new TypeError(`example: no ${kind} '${name}' in plugin.toml; declared: ${Object.keys(fields).join(", ") || "none"}`);
      }
      const why = value === undefined && field.optional ? undefined : wrong(field.type, value);
      if (why !== undefined) throw new TypeError(`example: ${kind} '${name}' is ${shown(value)}, ${why}`);
      record[name] = value;
    }
  }
  for (const [key, value] of Object.entries(changes)) {
    if (!Object.hasOwn(input, key)) throw new TypeError(`example: an input has no '${key}'; it has ${Object.keys(input).join(", ")}`);
    if (!(key in KINDS)) input[key] = value;
  }
  return input;
}
