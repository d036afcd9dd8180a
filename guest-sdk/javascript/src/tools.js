// The packages that a build needs, wherever they are installed. A strategy itself needs none of them.

import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const SDK = resolve(dirname(fileURLToPath(import.meta.url)), "..");

/** The versions that this SDK was made for. */
export const PINNED = JSON.parse(readFileSync(join(SDK, "package.json"), "utf8")).devDependencies;

/** Where `make setup` and `serin plugin build` have the packages, if a variable says so. */
function given() {
  const { SERIN_NODE, CARGO_TARGET_DIR } = process.env;
  if (SERIN_NODE) return resolve(SERIN_NODE);
  return CARGO_TARGET_DIR ? resolve(CARGO_TARGET_DIR, "node") : undefined;
}

/**
 * Where packages are looked for: $SERIN_NODE or $CARGO_TARGET_DIR/node, the SDK's own folder, then `target/node` of any
 * folder above it.
 */
function places() {
  const found = [given()].filter((place) => place !== undefined);
  found.push(SDK);
  for (let dir = SDK; ; dir = dirname(dir)) {
    found.push(join(dir, "target", "node"));
    if (dir === dirname(dir)) return found;
  }
}

/** A package's folder. */
export function folder(name) {
  for (const place of places()) {
    const dir = join(place, "node_modules", name);
    if (existsSync(join(dir, "package.json"))) return dir;
  }
  const repository = resolve(SDK, "..", "..");
  const home = given() ?? join(repository, "target", "node");
  const error = new Error(
    `the package '${name}' is not installed; run:\n` +
      `  mkdir -p ${home} && cp ${SDK}/package.json ${SDK}/package-lock.json ${home}/ && npm ci --prefix ${home}`,
  );
  error.isTold = true;
  throw error;
}

/** A package's version. */
export function version(name) {
  return JSON.parse(readFileSync(join(folder(name), "package.json"), "utf8")).version;
}

/** Imports a package. */
export async function tool(name) {
  const dir = folder(name);
  const { exports, module, main } = JSON.parse(readFileSync(join(dir, "package.json"), "utf8"));
  let entry = exports?.["."] ?? exports;
  while (entry !== null && typeof entry === "object") entry = entry.import ?? entry.default ?? entry.node;
  return import(pathToFileURL(join(dir, entry ?? module ?? main ?? "index.js")).href);
}
