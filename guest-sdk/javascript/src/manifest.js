// plugin.toml, as far as the generator needs it. The host's own parser has the last word on it.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { tool } from "./tools.js";

const TYPES = ["boolean", "integer", "number", "text"];
const NAME = /^[A-Za-z][A-Za-z0-9_-]{0,63}$/;

/** A mistake of the author's, told without a stack. */
export class AuthorError extends Error {}

/** Reads DIR/plugin.toml. */
export async function readManifest(dir) {
  const path = join(dir, "plugin.toml");
  let bytes;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw new AuthorError(`${path}: ${error.code === "ENOENT" ? "no such file; a strategy's folder has one" : error.message}`);
  }
  const { parse } = await tool("smol-toml");
  const bad = (text) => new AuthorError(`${path}: ${text}`);
  let raw;
  try {
    raw = parse(bytes.toString("utf8"), { integersAsBigInt: true });
  } catch (error) {
    throw bad(error.message);
  }
  return { ...manifest(raw, bad), hash: createHash("sha256").update(bytes).digest() };
}

function manifest(raw, bad) {
  const name = (kind, text) => {
    if (typeof text !== "string" || !NAME.test(text)) {
      throw bad(`${kind}: '${text}' is not a name; valid: a letter, then up to 63 letters, digits, '_' or '-'`);
    }
    return text;
  };
  const type = (at, text) => {
    if (!TYPES.includes(text)) throw bad(`${at} = "${text}"; valid: ${TYPES.join(", ")}`);
    return text;
  };
  const value = (at, declared, given) => {
    const fits =
      declared === "integer"
        ? typeof given === "bigint"
        : declared === "number"
          ? typeof given === "bigint" || Number.isFinite(given)
          : typeof given === (declared === "text" ? "string" : "boolean");
    if (!fits) throw bad(`${at} = ${given}; it is declared as ${declared}`);
    if (typeof given === "bigint" && !Number.isSafeInteger(Number(given))) {
      throw bad(`${at} = ${given}; JavaScript holds whole numbers exactly up to 2^53 - 1`);
    }
    return typeof given === "bigint" ? Number(given) : given;
  };
  name("name", raw.name);
  const actions = Object.entries(raw.actions ?? {}).map(([key, body]) => ({
    name: name("actions", key),
    parameters: Object.entries(body.parameters ?? {}).map(([parameter, written]) => [
      name("actions", parameter),
      type(`actions.${key}.parameters.${parameter}`, written),
    ]),
  }));
  if (actions.length === 0) throw bad("no actions; declare at least one, like [actions.no_contact]");
  const features = (raw.features ?? []).map((feature) => {
    const at = `feature ${feature.view}.${feature.name}`;
    const declared = type(`${at}: type`, feature.type);
    const missing = feature.on_missing ?? "pass";
    if (missing !== "error" && missing !== "pass" && missing?.default === undefined) {
      throw bad(`${at}: on_missing; valid: "error", "pass" or { default = VALUE }`);
    }
    return {
      view: name("features.view", feature.view),
      name: name("features.name", feature.name),
      type: declared,
      optional: missing === "pass",
      default: missing.default === undefined ? undefined : value(`${at}: the default`, declared, missing.default),
    };
  });
  const seen = new Set();
  for (const feature of features) {
    if (seen.has(feature.name)) throw bad(`feature ${feature.view}.${feature.name}: the name is declared already`);
    seen.add(feature.name);
  }
  const models = (raw.models ?? []).map((model) => ({
    name: name("models.name", model.name),
    version: model.version,
    callable: model.callable === true,
    fallback: model.fallback === undefined ? undefined : Number(model.fallback),
  }));
  return {
    name: raw.name,
    decision_point: name("decision_point", raw.decision_point),
    actions,
    reasons: Object.entries(raw.reasons ?? {}).map(([code, text]) => ({ code: name("reasons", code), text: String(text) })),
    features,
    scores: models.filter((model) => !model.callable),
    callable: models.filter((model) => model.callable),
    parameters: Object.entries(raw.parameters ?? {}).map(([key, body]) => {
      const declared = type(`parameters.${key}.type`, body.type);
      return { name: name("parameters", key), type: declared, default: value(`parameters.${key}.default`, declared, body.default) };
    }),
  };
}
