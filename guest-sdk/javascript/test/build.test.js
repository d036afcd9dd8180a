// The command line: what it refuses, and what it builds.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { appendFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { customSection } from "../src/build.js";

const here = fileURLToPath(new URL(".", import.meta.url));
const repository = join(here, "../../..");
const wit = join(repository, "wit");
const temporary = mkdtempSync(join(tmpdir(), "serin-test-"));
after(() => rmSync(temporary, { recursive: true }));

let copies = 0;
/** A copy of the probe, with other files in place of its own. */
function project(files = {}) {
  const dir = join(temporary, `a copy ${copies++}`);
  mkdirSync(dir);
  cpSync(join(here, "probe"), dir, { recursive: true });
  for (const [name, text] of Object.entries(files)) {
    if (text === undefined) rmSync(join(dir, name));
    else writeFileSync(join(dir, name), text);
  }
  return dir;
}
function cli(args, env = {}) {
  return spawnSync(process.execPath, [join(here, "../bin/serin-guest.js"), ...args], { encoding: "utf8", env: { ...process.env, ...env } });
}
const build = (dir, out = join(dir, "out.wasm"), env = {}) => cli(["build", dir, "--wit", wit, "--out", out], env);
const javascript = (text) => ({ "strategy.ts": undefined, "strategy.js": text });
const CALL = 'export const decide = strategy(() => Action.wait().because(Reason.TOLD, 1));\n';

function refuses(run, ...expected) {
  assert.equal(run.status, 1, run.stdout + run.stderr);
  for (const text of expected) assert.match(run.stderr, text);
  assert.doesNotMatch(run.stderr, /node:internal/);
}

test("tsc accepts the probe, and refuses what is not declared", () => {
  assert.equal(cli(["check", project()]).stderr, "");
  const head = 'import { Action, Reason, strategy } from "./plugin.js";\n';
  for (const [body, error] of [
    ["input.features.stpe === ''", /strategy\.ts\(2,\d+\): error TS2339: Property 'stpe' does not exist on type 'Features'/],
    ["input.features['half-life'] > 1", /error TS2532: Object is possibly 'undefined'/],
    ["Math.abs(input.features.step)", /error TS2345/],
    ["setTimeout(() => {})", /error TS2304: Cannot find name 'setTimeout'/],
  ]) {
    const text = `${head}export const decide = strategy((input) => { void (${body}); return Action.wait().because(Reason.TOLD, 1); });\n`;
    refuses(cli(["check", project({ "strategy.ts": text })]), error);
    // The same for JavaScript that asks for it.
    refuses(cli(["check", project(javascript(`// @ts-check\n${text}`))]), /error TS/);
  }
});

test("a mistake is told with the author's own file and line", () => {
  refuses(build(project(javascript("const x = (;\n"))), /a copy \d+\/strategy\.js:1:12: Unexpected ";"/);
  refuses(build(project(javascript('import fs from "node:fs";\n'))), /strategy\.js:1:16: Could not resolve "node:fs"/);
  refuses(build(project({ "plugin.toml": "name = " })), /plugin\.toml: /);
  refuses(build(project({ "strategy.ts": undefined })), /no strategy\.js or strategy\.ts/);
  refuses(build(project({ "strategy.js": "" })), /both/);
  refuses(cli(["build", project(), "--wit", temporary, "--out", join(temporary, "x")]), /no \*\.wit there/);
});

test("an error when the module is loaded, too", () => {
  const start = 'import { table } from "./table.js";\n\nexport const decide = table();\n';
  const table = "export function table() {\n  const rows = undefined;\n  return rows.map((row) => row);\n}\n";
  const dir = project({ ...javascript(start), "table.js": table });
  refuses(build(dir), /table\.js:3:\d+ TypeError: .*rows is undefined/, /strategy\.js:3:\d+/);
  const random = `import { Action, Reason, strategy } from "./plugin.js";\nconst seed = Math.random();\n${CALL}`;
  refuses(build(project(javascript(random))), /Math\.random\(\) is not available/, /strategy\.js:2:\d+/);
  refuses(build(project(javascript("export const decide = () => 1;\n"))), /strategy\.js exports no decide/);
});

test("what is not installed is told with the command that installs it", () => {
  const alone = join(temporary, "alone", "sdk", "javascript");
  for (const part of ["bin", "src", "package.json", "package-lock.json"]) cpSync(join(here, "..", part), join(alone, part), { recursive: true });
  const run = spawnSync(process.execPath, [join(alone, "bin/serin-guest.js"), "generate", project()], {
    encoding: "utf8",
    env: { ...process.env, SERIN_NODE: "" },
  });
  refuses(run, /'smol-toml' is not installed; run:\n  mkdir -p .* && cp .* && npm ci --prefix .*/);
});

test("two builds give the same bytes, and what is not used is not imported", () => {
  const text = `import { Action, Reason, log, strategy } from "./plugin.js";\n${CALL}`;
  const [one, two] = [project(javascript(text)), project(javascript(text))];
  const other = join(temporary, "another temporary folder");
  mkdirSync(other);
  const runs = [build(one), build(two, join(two, "out.wasm"), { TMPDIR: other, HOME: other })];
  for (const run of runs) assert.equal(run.status, 0, run.stderr);
  assert.match(runs[0].stdout, /no import/);
  assert.equal(runs[0].stderr, "");
  assert.ok(readFileSync(join(one, "out.wasm")).equals(readFileSync(join(two, "out.wasm"))));
  assert.deepEqual(readdirSync(other), []);
});

const serin = [process.env.SERIN, join(repository, "target/release/serin"), join(repository, "target/debug/serin")].find((path) => path && existsSync(path));

test("the sandbox runs what was built", { skip: serin === undefined && "no serin in target/" }, () => {
  const dir = project();
  const run = build(dir);
  assert.equal(run.status, 0, run.stderr);
  assert.match(run.stdout, /imports models, log/);
  const cases = readdirSync(join(dir, "cases")).sort().map((name) => readFileSync(join(dir, "cases", name), "utf8"));
  const artifact = join(dir, "out.wasm");
  appendFileSync(artifact, customSection("serin:manifest", readFileSync(join(dir, "plugin.toml"))));
  appendFileSync(artifact, customSection("serin:cases", Buffer.from(`[${cases.join(",")}]`)));
  const checked = spawnSync(serin, ["plugin", "check", artifact], { encoding: "utf8" });
  assert.equal(checked.status, 0, checked.stdout + checked.stderr);
  assert.equal(checked.stdout.match(/^ {2}ok /gm)?.length, cases.length, checked.stdout);
});
