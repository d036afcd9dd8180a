// The command line: what it refuses, and what it builds.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { appendFileSync, cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { prepared } from "../src/bindings.js";
import { customSection } from "../src/build.js";
import { folder } from "../src/tools.js";

const here = fileURLToPath(new URL(".", import.meta.url));
const repository = join(here, "../../..");
const wit = join(repository, "wit");
const serin = [process.env.SERIN, join(repository, "target/release/serin"), join(repository, "target/debug/serin")].find((path) => path && existsSync(path));
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

// The shape of what componentize-js generates: a text in, the strategy's text out.
const BINDINGS = `let dv = new DataView(new ArrayBuffer());
const dataView = mem => dv.buffer === mem.buffer ? dv : dv = new DataView(mem.buffer);
function toInt64(val) {
  return BigInt.asIntN(64, BigInt(val));
}
const TEXT_DECODER_UTF8 = new TextDecoder();
const TEXT_ENCODER_UTF8 = new TextEncoder();
function _utf8AllocateAndEncode(s, realloc, memory) {
  throw new Error("as it was");
}
const _debugLog = (...args) => {
  throw new Error("as it was");
};
async function export_decide(arg0, arg1, arg2) {
  var result0 = TEXT_DECODER_UTF8.decode(new Uint8Array($memory.buffer, arg0, dataView($memory).getUint32(arg1, true)));
  _debugLog(' [Instruction::CallInterface] (sync, @ enter)');
  let ret;
  try {
    const hostRet15 = await decide({
      decisionPoint: result0,
    });
    ret = { tag: 'ok', val: hostRet15};
  } catch (e) {
    ret = { tag: 'err', val: e.message };
  }
  dataView($memory).setInt8(arg2 + 8, ret.tag === 'ok' ? 1 : 2, true);
  var encodeRes = _utf8AllocateAndEncode(ret.val, $realloc, $memory);
  var ptr1= encodeRes.ptr;
  dataView($memory).setUint32(arg2 + 4, encodeRes.len, true);
  dataView($memory).setUint32(arg2 + 0, ptr1, true);
  _debugLog('[Instruction::Return]', {
    funcName: 'decide',
    async: false,
  });
  return;
}
`;

/** Runs the prepared bindings on a memory that grows with each allocation, and by the strategy; gives what is at the end. */
async function ran(decide) {
  const memory = new WebAssembly.Memory({ initial: 1 });
  const realloc = () => memory.grow(1) * 65536;
  const run = new Function("$memory", "$realloc", "decide", `${prepared(BINDINGS)}\nreturn export_decide(1024, 16, 32);`);
  new Uint8Array(memory.buffer).set(new TextEncoder().encode("point"), 1024);
  new DataView(memory.buffer).setUint32(16, 5, true);
  const result = run(memory, realloc, (input) => {
    memory.grow(1);
    return decide(input);
  });
  assert.equal(await result, undefined);
  const view = new DataView(memory.buffer);
  const [pointer, length] = [view.getUint32(32, true), view.getUint32(36, true)];
  return [view.getInt8(40), new TextDecoder().decode(new Uint8Array(memory.buffer, pointer, length))];
}

test("prepared bindings answer as they did, while the memory grows", async () => {
  const text = "a\u00e9\u6f22\u{1f600}\ud800".repeat(1000);
  assert.deepEqual(await ran(({ decisionPoint }) => decisionPoint + text), [1, `point${text.replaceAll("\ud800", "\ufffd")}`]);
  assert.deepEqual(await ran(() => ""), [1, ""]);
  const fails = () => {
    throw new Error("no");
  };
  assert.deepEqual(await ran(fails), [2, "no"]);
});

test("bindings of another version stay as they are", () => {
  assert.doesNotMatch(prepared(BINDINGS), /async function|await|_debugLog\(/);
  const others = [
    ["toInt64", "toInt32"],
    ["await decide", "await (0, decide)"],
    ["  return;", "  if (len) return 1;\n  return;"],
    ["function _utf8AllocateAndEncode", "function utf8"],
  ];
  for (const [from, to] of others) {
    const other = BINDINGS.replace(from, to);
    assert.notEqual(other, BINDINGS);
    assert.equal(prepared(other), other);
  }
  assert.equal(prepared(BINDINGS + BINDINGS), BINDINGS + BINDINGS);
  assert.equal(prepared(""), "");
});

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
  const generate = (variables) =>
    spawnSync(process.execPath, [join(alone, "bin/serin-guest.js"), "generate", project()], {
      encoding: "utf8",
      env: { ...process.env, SERIN_NODE: "", CARGO_TARGET_DIR: "", ...variables },
    });
  // Where `make setup` and `serin plugin build` have them, so has `npm test`.
  const target = join(temporary, "cargo");
  mkdirSync(target);
  symlinkSync(resolve(folder("smol-toml"), "..", ".."), join(target, "node"));
  assert.equal(generate({ CARGO_TARGET_DIR: target }).status, 0);
  const run = generate({});
  refuses(run, /'smol-toml' is not installed; run:\n  mkdir -p .* && cp .* && npm ci --prefix .*/);
});

/** A registry of one package, in a thread of its own. */
function registry(tarball) {
  const code = `
    const { createServer } = require("node:http");
    const { createHash } = require("node:crypto");
    const { readFileSync } = require("node:fs");
    const { parentPort, workerData } = require("node:worker_threads");
    const server = createServer((request, response) => {
      const bytes = readFileSync(workerData);
      if (request.url.endsWith(".tgz")) return response.end(bytes);
      const tarball = "http://127.0.0.1:" + server.address().port + "/leftpad.tgz";
      const integrity = "sha512-" + createHash("sha512").update(bytes).digest("base64");
      const versions = { "1.0.0": { name: "leftpad", version: "1.0.0", dist: { tarball, integrity } } };
      response.end(JSON.stringify({ name: "leftpad", "dist-tags": { latest: "1.0.0" }, versions }));
    }).listen(0, "127.0.0.1", () => parentPort.postMessage("http://127.0.0.1:" + server.address().port));`;
  const worker = new Worker(code, { eval: true, workerData: tarball });
  worker.unref();
  return new Promise((resolve) => worker.once("message", resolve));
}

test("packages come from the lock alone, and what can't run is refused with why", async () => {
  const source = `import leftpad from "leftpad";\nimport { Action, Reason, strategy } from "./plugin.js";\nvoid leftpad;\n${CALL}`;
  const dir = project(javascript(source));
  refuses(build(dir), /strategy\.js:1:21: Could not resolve "leftpad": it is no dependency in .*package\.json/);
  const local = join(temporary, "leftpad");
  mkdirSync(local);
  const pack = (text) => {
    writeFileSync(join(local, "package.json"), '{ "name": "leftpad", "version": "1.0.0", "main": "index.js" }');
    writeFileSync(join(local, "index.js"), text);
    return join(temporary, spawnSync("npm", ["pack", "--silent", local], { cwd: temporary, encoding: "utf8" }).stdout.trim());
  };
  const tarball = pack("export default (text) => text.padStart(8);\n");
  const npm = { npm_config_registry: await registry(tarball), npm_config_cache: join(temporary, "npm") };
  const lock = () => {
    for (const name of ["package-lock.json", "dist"]) rmSync(join(dir, name), { recursive: true, force: true });
    rmSync(npm.npm_config_cache, { recursive: true, force: true });
    const run = spawnSync("npm", ["install", "--package-lock-only"], { cwd: dir, encoding: "utf8", env: { ...process.env, ...npm } });
    assert.equal(run.status, 0, run.stderr);
  };
  const built = () => build(dir, join(dir, "out.wasm"), npm);
  writeFileSync(join(dir, "package.json"), JSON.stringify({ name: "mine", dependencies: { leftpad: `file:${local}` } }));
  refuses(built(), /package-lock\.json: no such file/);
  lock();
  refuses(built(), /leftpad is not pinned/);
  writeFileSync(join(dir, "package.json"), JSON.stringify({ name: "mine", dependencies: { leftpad: "^1.0.0" } }));
  lock();
  const good = built();
  assert.equal(good.status, 0, good.stderr);
  // The file that the lock names has changed.
  pack('import os from "node:os";\nexport default os;\n');
  rmSync(join(dir, "dist"), { recursive: true });
  rmSync(npm.npm_config_cache, { recursive: true });
  refuses(built(), /npm ci failed/, /EINTEGRITY/);
  lock();
  refuses(built(), /Could not resolve "node:os": it is Node's, and a strategy has nothing of the platform's/);
});

test("an error in the sandbox is told with the author's own file and line", { skip: serin === undefined && "no serin in target/" }, () => {
  const text =
    'import { Action, Reason, strategy } from "./plugin.js";\n\n' +
    "export const decide = strategy((input) => {\n  console.log('step', input.features.step);\n  const rows = undefined;\n" +
    "  return rows.best;\n});\n";
  const dir = project(javascript(text));
  for (const name of readdirSync(join(dir, "cases"))) if (name !== "log.json") rmSync(join(dir, "cases", name));
  const tested = spawnSync(serin, ["plugin", "test", dir], { encoding: "utf8", env: { ...process.env, SERIN_SDK: join(here, "../..") } });
  assert.equal(tested.status, 1, tested.stdout);
  assert.match(tested.stderr, /info: step /);
  assert.match(tested.stderr, /warn: TypeError: .*rows is undefined\n\s+at .*\(strategy\.js:6:\d+\)/);
  assert.doesNotMatch(tested.stderr, /unreachable|wasm trap/);
});

test("two builds give the same bytes, and what is not used is not imported", () => {
  const text = `import { Action, Reason, log, strategy } from "./plugin.js";\n${CALL}`;
  const [one, two] = [project(javascript(text)), project(javascript(text))];
  const other = join(temporary, "another temporary folder");
  mkdirSync(other);
  const runs = [build(one), build(two, join(two, "out.wasm"), { TMPDIR: other, HOME: other })];
  for (const run of runs) assert.equal(run.status, 0, run.stderr);
  assert.match(runs[0].stdout, /imports log\)/);
  assert.equal(runs[0].stderr, "");
  assert.ok(readFileSync(join(one, "out.wasm")).equals(readFileSync(join(two, "out.wasm"))));
  assert.deepEqual(readdirSync(other), []);
});


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
