#!/usr/bin/env node
// The command line of the SDK; USAGE says what it does.

import { statSync } from "node:fs";
import { parseArgs } from "node:util";
import { build, check, generate } from "../src/build.js";
import { AuthorError } from "../src/manifest.js";

const USAGE = `usage:
  serin-guest generate DIR                          writes DIR/plugin.js and DIR/plugin.d.ts from DIR/plugin.toml
  serin-guest check DIR                             the same, then checks strategy.ts (or strategy.js with // @ts-check)
  serin-guest build DIR --wit WITDIR --out FILE     builds DIR/strategy.js or strategy.ts to a component, without
                                                    manifest and cases: 'serin plugin build' embeds those`;

function usage(why) {
  console.error(`${why}\n${USAGE}`);
  process.exit(2);
}

let parsed;
try {
  parsed = parseArgs({ allowPositionals: true, options: { wit: { type: "string" }, out: { type: "string" }, help: { type: "boolean", short: "h" } } });
} catch (error) {
  usage(error.message);
}
const { positionals: [command, dir, ...rest], values } = parsed;
if (values.help) {
  console.log(USAGE);
  process.exit(0);
}
if (!["generate", "check", "build"].includes(command)) usage(command === undefined ? "no command" : `unknown command '${command}'`);
if (dir === undefined || rest.length > 0) usage(`${command} takes one folder`);
if (command === "build" && (values.wit === undefined || values.out === undefined)) usage("build needs --wit and --out");

try {
  if (command === "generate") {
    await generate(dir);
  } else if (command === "check") {
    console.log(await check(dir));
  } else {
    const { used } = await build(dir, values.wit, values.out);
    const imports = used.length === 0 ? "no import" : `imports ${used.join(", ")}`;
    console.log(`${values.out} (${statSync(values.out).size} bytes, ${imports})`);
  }
} catch (error) {
  console.error(error instanceof AuthorError || error.isTold ? error.message : error.stack);
  process.exit(1);
}
