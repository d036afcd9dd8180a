// What the scripts share: one browser, pages that are watched, and what is asked outside of them.

import assert from "node:assert/strict";
import { accessSync, constants, mkdirSync } from "node:fs";
import { createRequire } from "node:module";
import { delimiter, join } from "node:path";
import { createInterface } from "node:readline";

/** What the test that runs these scripts has prepared: hosts, tokens and folders. */
export const told = JSON.parse(process.env.SERIN_CONSOLE);
/** How long anything may take that has no bound of its own, in milliseconds. */
export const BOUND = 15_000;

const require = createRequire(join(told.packages, "package.json"));
const { chromium } = require("playwright-core");
/** The file of axe-core. */
export const AXE = require.resolve("axe-core/axe.min.js");

function executable() {
  const names = ["chromium", "chromium-browser", "google-chrome"];
  const places = process.env.PATH.split(delimiter).flatMap((dir) => names.map((name) => join(dir, name)));
  const found = places.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  assert(found, `none of ${names.join(", ")} is on the PATH; 'make setup' installs chromium`);
  return found;
}

/** The browser. It has an empty profile of its own, and talks to nobody by itself. */
export const browser = await chromium.launch({
  executablePath: executable(),
  args: [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ],
});

/** A window, whose pages are watched: what they ask for, and what goes wrong on them. */
export async function open(options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, reducedMotion: "reduce", ...options });
  context.setDefaultTimeout(BOUND);
  const seen = { asked: [], wrong: [] };
  context.on("request", (request) => seen.asked.push(request.url()));
  context.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) seen.wrong.push(`${message.page()?.url()}: ${message.text()}`);
  });
  context.on("weberror", (error) => seen.wrong.push(`${error.page()?.url()}: ${error.error()}`));
  if (options.javaScriptEnabled !== false) {
    await context.addInitScript(() =>
      document.addEventListener("securitypolicyviolation", (event) =>
        console.error(`the policy forbids ${event.violatedDirective} of ${event.blockedURI}`),
      ),
    );
  }
  return { context, page: await context.newPage(), seen };
}

/** Since it was last asked nothing went wrong, and nobody but the host was asked for anything. */
export function isQuiet(seen, origin) {
  const [wrong, asked] = [seen.wrong.splice(0), seen.asked.splice(0)];
  assert.deepEqual(wrong, []);
  assert.deepEqual(
    asked.filter((url) => new URL(url).origin !== origin),
    [],
  );
}

/** Waits until a page's live parts are kept up to date. */
export const isLive = (page) => page.locator(".live", { hasText: /^live$/ }).waitFor();

/** Polls until something holds, at most `bound` milliseconds; what it was in the end. */
export async function until(what, holds, bound = BOUND) {
  const end = Date.now() + bound;
  for (;;) {
    const value = await holds();
    if (value) return value;
    assert(Date.now() < end, `not within ${bound} ms: ${what}`);
    await new Promise((done) => setTimeout(done, 20));
  }
}

/** Asks the JSON API, outside of the browser. */
export async function api(origin, path, body, token) {
  const headers = { ...(body && { "content-type": "application/json" }), ...(token && { authorization: `Bearer ${token}` }) };
  const answer = await fetch(origin + path, { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) });
  assert(answer.ok, `${path}: ${answer.status} ${await answer.clone().text()}`);
  return answer.json();
}

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
/** Asks the test that runs these scripts to do something with the plain host: `kill` or `start`. */
export async function asks(what) {
  process.stdout.write(`${what}\n`);
  const { value, done } = await lines.next();
  assert(!done && value === "done", `${what}: ${value}`);
}

/** Ends what would keep the scripts from ending. */
export async function close() {
  await browser.close();
  process.stdin.destroy();
}

mkdirSync(told.pictures, { recursive: true });
/** Keeps a picture of a page. */
export const picture = (page, name, options = {}) =>
  page.screenshot({ path: join(told.pictures, `${name}.png`), animations: "disabled", ...options });
