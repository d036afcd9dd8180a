// The packages that a build needs, wherever they are installed. A strategy itself needs none of them.

import { existsSync, readFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";

const SDK = resolve(dirname(fileURLToPath(import.meta.url)), "..");

/** The versions that this SDK was made for. */
export const PINNED = JSON.parse(readFileSync(join(SDK, "package.json"), "utf8")).devDependencies;

/** Where packages are looked for: $SERIN_NODE, the SDK's own folder, then `target/node` of any folder above it. */
function places() {
  const found = process.env.SERIN_NODE ? [resolve(process.env.SERIN_NODE)] : [];
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
  const home = process.env.SERIN_NODE ? resolve(process.env.SERIN_NODE) : join(repository, "target", "node");
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
