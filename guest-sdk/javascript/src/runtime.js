// The part of a plugin's module that is the same in Wasm and in unit tests. The generator
// copies it into plugin.js, so that a strategy's folder needs nothing else.
//
// What each decision runs loops by index. The engine in Wasm only interprets: there an iterator (for-of, spread,
// destructuring of an array) costs as much as seventy properties that are read, `map` thirty, `Number.isFinite` a dozen.

/** Lets no name but the declared ones be read. Declared ones are own properties, and never get here. */
function strict(kind, prototype = null) {
  return new Proxy(Object.create(prototype), {
    get(target, key, receiver) {
      if (typeof key === "symbol" || key in Object.prototype || key === "then" || key === "toJSON") {
        return Reflect.get(target, key, receiver);
      }
      throw new TypeError(`no ${kind} '${key}' in plugin.toml; declared: ${Object.keys(receiver).join(", ") || "none"}`);
    },
  });
}

const LARGEST = Number.MAX_SAFE_INTEGER;

function isSafe(number) {
  return typeof number === "number" && number >= -LARGEST && number <= LARGEST && number % 1 === 0;
}

function isFinite(number) {
  return typeof number === "number" && number > -Infinity && number < Infinity;
}

/** An integer of the boundary, a bigint, as a number. */
function integer(value, what) {
  if (value === undefined) return undefined;
  const number = Number(value);
  if (number < -LARGEST || number > LARGEST) {
    throw new RangeError(`${what} is ${value}, which a number can't hold exactly; integers reach to 2^53 - 1 here`);
  }
  return number;
}

/** What is wrong with `value` as a value of a declared type; undefined where it is one. */
function wrong(type, value) {
  switch (type) {
    case "boolean":
      return typeof value === "boolean" ? undefined : "not a boolean";
    case "text":
      return typeof value === "string" ? undefined : "not a text";
    case "integer":
      return isSafe(value) ? undefined : "not a whole number below 2^53";
    default:
      return isFinite(value) ? undefined : "not a finite number";
  }
}

function shown(value) {
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}

/** An action that the strategy would take, how probably, and why. Nothing changes it: each method gives a new one. */
class Candidate {
  constructor(action, parameters, probability, reasons) {
    this.action = action;
    this.probability = probability;
    this.parameters = parameters;
    this.reasons = reasons;
  }

  /** Adds a reason. */
  because(code, weight) {
    if (REASONS[code] === undefined) throw new TypeError(`because(${shown(code)}): not a Reason of plugin.toml`);
    if (!isFinite(weight)) throw new TypeError(`because(${code}, ${shown(weight)}): the weight is not a finite number`);
    const reasons = this.reasons.slice();
    reasons.push({ code, weight });
    return new Candidate(this.action, this.parameters, this.probability, reasons);
  }

  /** The same with another probability. */
  withProbability(probability) {
    if (!(probability >= 0 && probability <= 1)) {
      throw new RangeError(`withProbability(${shown(probability)}): a probability is from 0 to 1`);
    }
    return new Candidate(this.action, this.parameters, probability, this.reasons);
  }
}

/**
 * Candidates of [weight, candidate] pairs, with probabilities in proportion to the weights, which sum to 1. For what
 * does not sum to 1 by itself: scores, or a softmax in 32 bits.
 */
function normalized(weighted) {
  const pairs = [...weighted];
  for (const pair of pairs) {
    if (!Array.isArray(pair) || !(pair[1] instanceof Candidate)) throw new TypeError("normalized: valid: [[weight, candidate], …]");
    if (!(pair[0] >= 0 && pair[0] < Infinity)) throw new RangeError(`normalized: the weight ${shown(pair[0])} is not a finite number from 0`);
  }
  const total = pairs.reduce((sum, [weight]) => sum + weight, 0);
  if (!(total > 0 && total < Infinity)) throw new RangeError(`normalized: the weights sum to ${total}; at least one is above 0`);
  return pairs.map(([weight, candidate]) => candidate.withProbability(weight / total));
}

const NO_REASONS = Object.freeze([]);
const NO_PARAMETERS = Object.freeze({});

/** The function that makes a candidate of one action. `declared` are its parameters' names and types. */
function action(name, declared) {
  if (declared.length === 0) {
    return (given) => {
      if (given !== undefined) throw new TypeError(`Action.${name} has no parameters`);
      return new Candidate(name, NO_PARAMETERS, 1, NO_REASONS);
    };
  }
  const wanted = `Action.${name}({ ${declared.map(([key, type]) => `${key}: ${type}`).join(", ")} })`;
  return (given) => {
    if (given === null || typeof given !== "object") throw new TypeError(`${wanted} is called without parameters`);
    const parameters = {};
    for (let at = 0; at < declared.length; at++) {
      const key = declared[at][0];
      const why = wrong(declared[at][1], given[key]);
      if (why !== undefined) throw new TypeError(`${wanted}: ${key} is ${shown(given[key])}, ${why}`);
      parameters[key] = given[key];
    }
    for (const key in given) {
      if (!(key in parameters)) throw new TypeError(`${wanted}: no parameter '${key}'`);
    }
    return new Candidate(name, parameters, 1, NO_REASONS);
  };
}

/** Thrown: the strategy declines to decide. This is an answer, not a fault; the fallback serves. */
class Refusal extends Error {
  constructor(reason, message) {
    super(message);
    this.name = "Refusal";
    if (REASONS[reason] === undefined) throw new TypeError(`new Refusal(${shown(reason)}): not a Reason of plugin.toml`);
    if (typeof message !== "string") throw new TypeError(`new Refusal(${reason}): the message is not a text`);
    this.reason = reason;
  }
}

/** Why a model gave no scores; `kind` is the name that wit/models.wit has for it. */
class ScoreError extends Error {
  constructor(model, kind, detail) {
    super(`model '${model}': ${kind}${detail === undefined ? "" : `: ${detail}`}`);
    this.name = "ScoreError";
    this.kind = kind;
  }
}

/** A callable model. Ask for all rows at once: calls are limited, and each has its price. */
function model(position, name, score) {
  return Object.freeze({
    name,
    score: (rows) => {
      if (!Array.isArray(rows) || !rows.every(Array.isArray)) {
        throw new TypeError(`models.${name}.score: rows is an array of arrays, one for each row`);
      }
      return score(position, name, rows);
    },
  });
}

function modelValue(value) {
  switch (typeof value) {
    case "number":
      return { tag: "number", val: value };
    case "boolean":
      return { tag: "boolean", val: value };
    case "string":
      return { tag: "text", val: value };
    case "bigint":
      return { tag: "integer", val: value };
    case "undefined":
      return { tag: "missing" };
    default:
      throw new TypeError(`a row holds ${shown(value)}; valid: number, boolean, string, bigint or undefined`);
  }
}

/** What the author's function returned, as an array of candidates. */
function candidates(returned) {
  const array = Array.isArray(returned) ? returned : [returned];
  for (let at = 0; at < array.length; at++) {
    const candidate = array[at];
    if (!(candidate instanceof Candidate)) {
      const hint = candidate instanceof Promise ? "a promise; the function must not be async" : shown(candidate);
      throw new TypeError(`the strategy returned ${hint}; valid: what Action.NAME(…) gives, or an array of such`);
    }
  }
  return array;
}

/** Takes clocks and randomness out of reach; the function returned puts them back. */
function forbid() {
  const refused = (name, instead) => () => {
    throw new Error(`${name} is not available, since equal inputs must give equal decisions; ${instead}`);
  };
  const chance = "return several candidates with probabilities, and the host draws one";
  const time = "use input.time_ms and input.utc_offset_minutes";
  const RealDate = globalThis.Date;
  const noDate = refused("the current time", time);
  function Date(...parts) {
    if (new.target === undefined || parts.length === 0) noDate();
    return Reflect.construct(RealDate, parts, new.target === Date ? RealDate : new.target);
  }
  Object.defineProperty(Date, "prototype", { value: RealDate.prototype });
  Object.assign(Date, { UTC: RealDate.UTC, parse: RealDate.parse, now: refused("Date.now()", time) });
  const undo = [];
  const replace = (object, key, value) => {
    const had = Object.getOwnPropertyDescriptor(object, key);
    if (had === undefined || !had.configurable) return;
    Object.defineProperty(object, key, { ...had, ...("value" in had ? { value } : { get: () => value, set: undefined }) });
    undo.push(() => Object.defineProperty(object, key, had));
  };
  replace(globalThis, "Date", Date);
  replace(RealDate.prototype, "constructor", Date);
  replace(Math, "random", refused("Math.random()", chance));
  const gone = (name, instead) => new Proxy({}, { get: refused(name, instead), has: () => false });
  replace(globalThis, "crypto", gone("crypto", chance));
  replace(globalThis, "performance", gone("performance", time));
  for (const name of ["setTimeout", "setInterval", "fetch"]) {
    replace(globalThis, name, refused(`${name}()`, "a strategy answers at once, from its input alone"));
  }
  return () => undo.forEach((put) => put());
}
