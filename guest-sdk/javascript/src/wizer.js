// Stands between componentize-js and wizer, which runs the module's start and keeps its memory.
// Takes out of that memory what differs from build to build: the temporary folders' names, random
// numbers and the clock, and makes the script cheaper (bindings.js). Arguments: the real wizer, the folder with
// strategy.js, wizer's own.

import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { prepared } from "./bindings.js";

const [wizer, stage, ...given] = process.argv.slice(2);
const module = given.at(-1);

// The engine's script lies in a folder with a random name; in the module's eyes it is /engine.
const folder = given.find((argument) => argument.startsWith("--dir=")).slice("--dir=".length);
const script = join(folder, "initializer.js");
const others = given.filter((argument) => !/^--(map)?dir=/.test(argument));
const args = [`--mapdir=/engine::${folder}`, `--mapdir=/::${stage}`, ...others];
const input = "--initializer-script-path /engine/initializer.js --strip-path-prefix /strategy/ strategy.js";

writeFileSync(script, prepared(readFileSync(script, "utf8")));
try {
  writeFileSync(module, repeatable(readFileSync(module)));
} catch (error) {
  writeFileSync(join(stage, "note"), String(error.message));
}

/**
 * The engine asks for random numbers and for the time in three places. Their code is replaced, byte
 * for byte and as long as it was, by code that gives constants. Where it isn't found exactly once
 * (another version of componentize-js), nothing is replaced.
 */
function repeatable(wasm) {
  const imports = WebAssembly.Module.imports(new WebAssembly.Module(wasm)).filter(({ kind }) => kind === "function");
  const call = (name) => {
    const index = imports.findIndex((i) => i.module === "wasi_snapshot_preview1" && i.name === name);
    if (index < 0 || index >= 1 << 14) throw new Error(`no import ${name}`);
    return index < 128 ? [0x10, index] : [0x10, (index & 127) | 128, index >> 7];
  };
  const errno = [0x41, 0xff, 0xff, 0x03, 0x71]; // i32.const 0xffff; i32.and
  const places = [
    // random_get(buffer, length): buffer[0] = 42; 0
    [[0x20, 0, 0x20, 1, ...call("random_get"), ...errno], [0x20, 0, 0x41, 42, 0x3a, 0, 0, 0x41, 0]],
    // clock_time_get(clock, 1, time): *time = one second; 0
    [
      [0x20, 0, 0x42, 1, 0x20, 1, ...call("clock_time_get"), ...errno],
      [0x20, 1, 0x42, 0x80, 0x94, 0xeb, 0xdc, 0x03, 0x37, 3, 0, 0x41, 0],
    ],
    // The stack guard: random_get(buffer, 4) becomes buffer, an error number: the constant guard is taken.
    [[0x41, 4, ...call("random_get")], []],
  ];
  const patched = Buffer.from(wasm);
  for (const [from, to] of places) {
    const code = Buffer.from(from);
    const at = wasm.indexOf(code);
    if (at < 0 || wasm.indexOf(code, at + 1) >= 0 || to.length > from.length) throw new Error("another engine");
    patched.fill(0x01, at, at + from.length); // nop
    Buffer.from(to).copy(patched, at);
  }
  new WebAssembly.Module(patched);
  return patched;
}

// The shell that started this has its own variables; the module sees componentize-js's alone.
const env = Object.fromEntries(Object.entries(process.env).filter(([key]) => /^(DEBUG|SOURCE_NAME|(EX|IM)PORT|FEATURE)/.test(key)));
const { status, error } = spawnSync(wizer, args, { env, input, stdio: ["pipe", "inherit", "inherit"] });
if (error) console.error(error.message);
process.exit(status ?? 1);
