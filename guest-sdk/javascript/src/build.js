// A strategy's folder in, a component out.

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, realpathSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { SourceMap } from "node:module";
import { tmpdir } from "node:os";
import { basename, dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { declarations, moduleText } from "./generate.js";
import { AuthorError, readManifest } from "./manifest.js";
import { installed, pinned } from "./packages.js";
import { PINNED, folder, tool, version } from "./tools.js";

const COMPONENTIZE = "@bytecodealliance/componentize-js";
const INTERFACES = ["models", "log"];

/** Writes DIR/plugin.js and DIR/plugin.d.ts; returns the manifest. */
export async function generate(dir) {
  const manifest = await readManifest(dir);
  for (const [name, text] of [["plugin.js", moduleText(manifest, "node")], ["plugin.d.ts", declarations(manifest)]]) {
    const path = join(dir, name);
    if (!existsSync(path) || readFileSync(path, "utf8") !== text) replaceFile(path, text);
  }
  return manifest;
}

/** Generates, and checks the types; says of what. */
export async function check(dir) {
  dir = realpathSync(dir);
  await generate(dir);
  const source = sourceOf(dir);
  const isChecked = await staged((stage) => typeCheck(dir, source, stage));
  return isChecked ? `types: ${source} checked by tsc` : `types: ${source} not checked; it asks for it by a first line // @ts-check`;
}

/** Gives `work` a temporary folder. */
async function staged(work) {
  const stage = mkdtempSync(join(realpathSync(tmpdir()), "serin-guest-"));
  try {
    return await work(stage);
  } finally {
    rmSync(stage, { recursive: true, force: true });
  }
}

/** Builds the strategy in `dir` to the component `out`; returns the interfaces that it imports. */
export async function build(dir, wit, out) {
  dir = realpathSync(dir);
  const manifest = await generate(dir);
  const source = sourceOf(dir);
  return staged(async (stage) => {
    typeCheck(dir, source, stage);
    const { code, map, used } = await bundle(dir, source, manifest);
    writeFileSync(join(stage, "strategy.js"), code + placesOf(map));
    stageWit(wit, join(stage, "wit"), used);
    const component = await componentize(stage, { dir, map });
    mkdirSync(dirname(resolve(out)), { recursive: true });
    replaceFile(out, Buffer.concat([component, customSection("serin:manifest-hash", manifest.hash)]));
    return { used };
  });
}

function replaceFile(path, data) {
  const part = join(dirname(path), `.${basename(path)}.${process.pid}.part`);
  writeFileSync(part, data);
  renameSync(part, path);
}

function sourceOf(dir) {
  const found = ["strategy.ts", "strategy.js"].filter((name) => existsSync(join(dir, name)));
  if (found.length !== 1) {
    throw new AuthorError(`${dir}: ${found.length === 0 ? "no strategy.js or strategy.ts" : "both strategy.js and strategy.ts; remove one"}`);
  }
  return found[0];
}

/** TypeScript is always checked; JavaScript where it asks for it by a first comment `// @ts-check`. */
function typeCheck(dir, source, stage) {
  if (source.endsWith(".js") && !/^\s*\/\/\s*@ts-check/.test(readFileSync(join(dir, source), "utf8"))) return false;
  const compilerOptions = {
    noEmit: true,
    strict: true,
    noUncheckedIndexedAccess: true,
    allowJs: true,
    allowImportingTsExtensions: true,
    skipLibCheck: true,
    target: "es2022",
    // Neither the browser's names nor Node's: a strategy has none of them.
    lib: ["es2023"],
    types: [],
    module: "esnext",
    moduleResolution: "bundler",
  };
  const project = join(stage, "tsconfig.json");
  writeFileSync(project, JSON.stringify({ compilerOptions, files: [join(dir, source)] }));
  const tsc = join(folder("typescript"), "bin", "tsc");
  const { status, stdout, stderr } = spawnSync(process.execPath, [tsc, "-p", project, "--pretty", "false"], { cwd: dir, encoding: "utf8" });
  if (status !== 0) throw new AuthorError(`${dir}: type errors\n${`${stdout}${stderr}`.trim()}`);
  return true;
}

/** Strategy and generated module as one text, and the host's interfaces that are left in it. */
async function bundle(dir, source, manifest) {
  const { build: esbuild } = await tool("esbuild");
  // Forbidden first: what the strategy's own modules do at their start comes after.
  const entry =
    `import "serin:forbid";\nimport * as strategy from ${JSON.stringify(`./${source}`)};\n` +
    `if (strategy.decide?.isStrategy !== true) throw new TypeError("${source} exports no decide; write: export const decide = strategy((input) => …)");\n` +
    "export const decide = strategy.decide;\n";
  const plugin = {
    name: "serin",
    setup(hooks) {
      hooks.onResolve({ filter: /^serin:/ }, ({ path }) =>
        path === "serin:forbid" ? { path, namespace: "serin" } : { path, external: true, sideEffects: false },
      );
      hooks.onLoad({ filter: /./, namespace: "serin" }, () => ({
        contents: `${readFileSync(new URL("runtime.js", import.meta.url), "utf8")}\nforbid();\n`,
      }));
      hooks.onLoad({ filter: /[\\/]plugin\.js$/ }, ({ path }) =>
        path === join(dir, "plugin.js") ? { contents: moduleText(manifest, "wasm") } : undefined,
      );
    },
  };
  const options = {
    stdin: { contents: entry, resolveDir: dir, sourcefile: "entry.js" },
    absWorkingDir: dir,
    bundle: true,
    write: false,
    format: "esm",
    target: "es2022",
    platform: "neutral",
    mainFields: ["module", "main"],
    charset: "utf8",
    legalComments: "none",
    sourcemap: "external",
    outfile: "strategy.js",
    tsconfigRaw: "{}",
    logLevel: "silent",
    plugins: [plugin, pinned(dir, installed(dir))],
    metafile: true,
  };
  let result;
  try {
    result = await esbuild(options);
  } catch (error) {
    if (!Array.isArray(error.errors)) throw error;
    const told = error.errors.map(({ text, location: at }) =>
      at === null ? text : `${join(dir, at.file)}:${at.line}:${at.column + 1}: ${text}\n    ${at.lineText.trim()}`,
    );
    throw new AuthorError(told.join("\n"));
  }
  const file = (end) => result.outputFiles.find(({ path }) => path.endsWith(end)).text;
  const imported = Object.values(result.metafile.outputs).flatMap(({ imports }) => imports.map(({ path }) => path));
  const foreign = imported.find((path) => !INTERFACES.some((name) => path === `serin:decision/${name}@0.1.0`));
  if (foreign !== undefined) throw new AuthorError(`${dir}: imports '${foreign}'; a strategy has no module of the platform's`);
  const used = INTERFACES.filter((name) => imported.includes(`serin:decision/${name}@0.1.0`));
  return { code: file(".js"), map: JSON.parse(file(".js.map")), used };
}

const BASE64 = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/** The numbers of a source map's segment. */
function vlq(text) {
  const numbers = [];
  let [value, shift] = [0, 0];
  for (const digit of text) {
    const bits = BASE64.indexOf(digit);
    value += (bits & 31) << shift;
    shift += 5;
    if (bits < 32) {
      numbers.push(value & 1 ? -(value >> 1) : value >> 1);
      [value, shift] = [0, 0];
    }
  }
  return numbers;
}

/**
 * A statement that leaves in the artifact which lines of the bundle come from which place in the author's files, for
 * the words of an error. By line: [column, file, line, column], as people count but for the first.
 */
function placesOf({ sources, mappings }) {
  const isOwn = sources.map((name) => !/serin:|(^|\/)node_modules\/|^(entry|plugin)\.js$/.test(name));
  const lines = {};
  let [file, line, column] = [0, 0, 0];
  mappings.split(";").forEach((segments, at) => {
    let start = 0;
    const pieces = [];
    for (const [s, f, l, c] of segments.split(",").map(vlq)) {
      if (s === undefined) continue;
      start += s;
      if (f === undefined) continue;
      [file, line, column] = [file + f, line + l, column + c];
      if (isOwn[file]) pieces.push([start, file, line + 1, column + 1]);
    }
    if (pieces.length > 0) lines[at + 1] = pieces;
  });
  return `\nglobalThis[Symbol.for("serin.places")] = ${JSON.stringify({ files: sources, lines })};\n`;
}

/** The WIT without the imports that are not used: each import that is left makes every decision dearer. */
function stageWit(from, to, used) {
  const names = existsSync(from) ? readdirSync(from).filter((name) => name.endsWith(".wit")).sort() : [];
  if (names.length === 0) throw new AuthorError(`${from}: no *.wit there; --wit names the folder of the world 'strategy'`);
  mkdirSync(to);
  for (const name of names) {
    let text = readFileSync(join(from, name), "utf8");
    for (const unused of INTERFACES.filter((i) => !used.includes(i))) {
      text = text.replace(new RegExp(`^\\s*import ${unused};\\s*$`, "m"), "");
    }
    writeFileSync(join(to, name), text);
  }
}

async function componentize(stage, { dir, map }) {
  const { componentize: run } = await tool(COMPONENTIZE);
  const { default: wizer } = await tool("@bytecodealliance/wizer");
  const note = join(stage, "note");
  const wrapper = join(stage, "wizer");
  const words = [process.execPath, fileURLToPath(new URL("wizer.js", import.meta.url)), wizer, stage];
  writeFileSync(wrapper, `#!/bin/sh\nexec ${words.map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(" ")} "$@"\n`, { mode: 0o755 });
  const now = Date.now;
  let component;
  try {
    // It writes the time into the component, for a clock that the strategy can't reach.
    Date.now = () => 0;
    ({ component } = await run({
      sourcePath: join(stage, "strategy.js"),
      witPath: join(stage, "wit"),
      worldName: "strategy",
      disableFeatures: ["random", "stdio", "clocks", "http", "fetch-event"],
      wizerBin: wrapper,
    }));
  } catch (error) {
    throw new AuthorError(`${dir}: the module fails when it is loaded\n${located(String(error?.message ?? error), { dir, map })}`);
  } finally {
    Date.now = now;
  }
  if (existsSync(note)) {
    console.error(
      `warning: ${COMPONENTIZE} ${version(COMPONENTIZE)} is not the version that this SDK knows (${PINNED[COMPONENTIZE]}): ` +
        `two builds will differ (${readFileSync(note, "utf8")})`,
    );
  }
  return Buffer.from(component);
}

/** What the engine says of an error, with places in the author's files instead of places in the bundle. */
function located(text, { dir, map }) {
  const source = new SourceMap(map);
  const place = /(?:[^\s@()]*\/)?strategy\.js:(\d+):(\d+)/g;
  const here = text.replace(place, (all, line, column) => {
    const { originalSource, originalLine, originalColumn } = source.findEntry(Number(line) - 1, Number(column) - 1);
    if (originalSource === undefined || originalSource.includes("serin:")) return "(serin-guest)";
    return `${join(dir, originalSource)}:${originalLine + 1}:${originalColumn + 1}`;
  });
  const [, error] = /^Exception while evaluating top-level script\n(.*)$/m.exec(here) ?? [];
  const stack = here.split("\nStack:\n")[1]?.split("\n").filter((line) => line.trim() !== "" && !line.includes("(serin-guest)"));
  return error === undefined ? here : [error.replace("(serin-guest) ", ""), ...(stack ?? [])].join("\n");
}

/** A component's custom section. */
export function customSection(name, data) {
  const length = (n) => {
    const bytes = [];
    do {
      bytes.push((n & 127) | (n > 127 ? 128 : 0));
      n >>>= 7;
    } while (n > 0);
    return Buffer.from(bytes);
  };
  const body = Buffer.concat([length(Buffer.byteLength(name)), Buffer.from(name), data]);
  return Buffer.concat([Buffer.from([0]), length(body.length), body]);
}
