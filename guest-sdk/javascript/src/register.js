// `node --import …/src/register.js --test DIR` runs tests of a strategy.ts, also on a Node that does
// not know TypeScript. Types are dropped, not checked.

import { readFileSync } from "node:fs";
import { register } from "node:module";
import { fileURLToPath } from "node:url";
import { isMainThread } from "node:worker_threads";
import { tool } from "./tools.js";

// The hooks run in a thread of their own, which loads this file again.
if (isMainThread) register(import.meta.url);

/** As in TypeScript, `./strategy.js` means `./strategy.ts` where that is what is there. */
export async function resolve(specifier, context, next) {
  try {
    return await next(specifier, context);
  } catch (error) {
    if (error.code !== "ERR_MODULE_NOT_FOUND" || !/^\.{0,2}\/.*\.js$/.test(specifier)) throw error;
    return next(specifier.replace(/js$/, "ts"), context);
  }
}

export async function load(url, context, next) {
  if (!url.endsWith(".ts")) return next(url, context);
  const { transform } = await tool("esbuild");
  const path = fileURLToPath(url);
  const options = { loader: "ts", format: "esm", sourcemap: "inline", sourcefile: path, tsconfigRaw: "{}" };
  const { code } = await transform(readFileSync(path, "utf8"), options);
  return { format: "module", shortCircuit: true, source: code };
}
