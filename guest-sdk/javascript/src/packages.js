// The packages that become part of an artifact: the dependencies in package.json, as package-lock.json pins them.

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { isBuiltin } from "node:module";
import { join, sep } from "node:path";
import { AuthorError } from "./manifest.js";

const FILES = ["package.json", "package-lock.json"];

/** The folder that holds node_modules with exactly what the lock says; undefined where nothing is declared. */
export function installed(dir) {
  const declared = join(dir, "package.json");
  if (!existsSync(declared)) return undefined;
  const text = readFileSync(declared, "utf8");
  let names;
  try {
    names = Object.keys(JSON.parse(text).dependencies ?? {});
  } catch (error) {
    throw new AuthorError(`${declared}: ${error.message}`);
  }
  if (names.length === 0) return undefined;
  const lock = join(dir, "package-lock.json");
  if (!existsSync(lock)) {
    throw new AuthorError(`${lock}: no such file, and ${names.join(", ")} would be of any version; run: (cd ${dir} && npm install), and commit it`);
  }
  checkSources(lock);
  const digest = createHash("sha256").update(text).update("\0").update(readFileSync(lock)).digest("hex").slice(0, 16);
  const target = join(dir, "dist", ".packages", digest);
  if (!existsSync(target)) install(dir, target);
  return target;
}

/** A folder's or a repository's files may be others tomorrow; npm holds only a registry's to a digest. */
function checkSources(lock) {
  for (const [path, { dev, optional, resolved, integrity }] of Object.entries(JSON.parse(readFileSync(lock, "utf8")).packages ?? {})) {
    if (path === "" || dev || optional || (integrity !== undefined && /^https?:/.test(resolved ?? "https:"))) continue;
    if (!path.startsWith("node_modules/")) continue; // A link's target; the link itself is refused.
    throw new AuthorError(`${lock}: ${path.replace(/^.*node_modules\//, "")} is not pinned${resolved === undefined ? "" : ` (${resolved})`}; valid: a package of a registry, with "integrity"`);
  }
}

function install(dir, target) {
  const parent = join(target, "..");
  mkdirSync(parent, { recursive: true });
  const partial = mkdtempSync(join(parent, ".partial-"));
  try {
    for (const name of FILES) cpSync(join(dir, name), join(partial, name));
    // Without scripts: they would run on this machine, and build what can't run in the sandbox.
    const words = ["ci", "--ignore-scripts", "--omit=dev", "--omit=optional", "--no-audit", "--no-fund", "--loglevel=error"];
    const { status, stderr, error } = spawnSync("npm", words, { cwd: partial, encoding: "utf8" });
    if (status !== 0) throw new AuthorError(`${join(dir, "package-lock.json")}: npm ci failed\n${(error?.message ?? stderr).trim()}`);
    try {
      renameSync(partial, target);
    } catch (error) {
      // Another build was quicker.
      if (!existsSync(target)) throw error;
    }
  } finally {
    rmSync(partial, { recursive: true, force: true });
  }
}

const INSTEAD = "let a model compute that (models in plugin.toml), compute it as a feature, or take a package without it";

/** For esbuild: packages come from `home` alone, and what can't run in the sandbox is refused with why. */
export function pinned(dir, home) {
  const seen = {};
  const wrong = (text) => ({ errors: [{ text }] });
  return {
    name: "packages",
    setup(hooks) {
      hooks.onResolve({ filter: /^[^./]/ }, async ({ path, importer, kind, pluginData }) => {
        if (pluginData === seen || path.startsWith("serin:") || kind === "entry-point") return undefined;
        const isOwn = home === undefined || !importer.startsWith(home + sep);
        const found = home === undefined ? { errors: [0] } : await hooks.resolve(path, { kind, importer, resolveDir: isOwn ? home : join(importer, ".."), pluginData: seen });
        if (found.errors.length === 0 && !found.external) return found;
        if (isBuiltin(path)) return wrong(`Could not resolve "${path}": it is Node's, and a strategy has nothing of the platform's; ${INSTEAD}`);
        return wrong(`Could not resolve "${path}": it is no dependency in ${join(dir, "package.json")}; run: (cd ${dir} && npm install --save-exact ${path})`);
      });
      hooks.onLoad({ filter: /\.node$/ }, () => wrong(`compiled code can't run in the sandbox; ${INSTEAD}`));
    },
  };
}
