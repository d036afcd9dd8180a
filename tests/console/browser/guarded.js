// A host that asks who somebody is: signing in and out, and what pages of other origins can't do.

import assert from "node:assert/strict";
import { createServer } from "node:http";
import { test } from "node:test";

import { AXE, api, isLive, isQuiet, open, told } from "./support.js";
import { lookAt } from "./pages.js";

const { origin, reader, operator } = told.guarded;
const AT = "/experiments/outreach-score";
const session = async (context) => (await context.cookies(origin)).find(({ name }) => name.startsWith("serin_session"));
const stateOf = async () => (await api(origin, `/v1${AT}`, null, reader)).state;

async function signIn(page, token, path = "/") {
  await page.goto(origin + path);
  await page.getByLabel("Token").fill(token);
  await page.getByRole("button", { name: "Sign in" }).click();
}

test("one signs in with a token, is led back, and signs out", async () => {
  const { context, page, seen } = await open();
  await context.addInitScript({ path: AXE });
  await page.goto(origin + AT);
  assert.equal(new URL(page.url()).pathname, "/sign-in");
  assert.deepEqual(await lookAt(page, "sign-in"), []);
  isQuiet(seen, origin);
  await page.getByLabel("Token").fill("serin_wrong");
  await page.keyboard.press("Enter");
  await page.getByText("The token is not accepted").waitFor();
  assert.equal(await session(context), undefined);
  assert.deepEqual(await lookAt(page, "sign-in-refused"), []);

  await signIn(page, reader, AT);
  await page.waitForURL(origin + AT);
  await isLive(page);
  const cookie = await session(context);
  assert(cookie.httpOnly && cookie.sameSite === "Lax", JSON.stringify(cookie));
  assert.equal(await page.evaluate(() => document.cookie), "", "no script can read it");
  assert(!cookie.value.includes(reader), "it is not the token");
  assert.equal(await page.getByRole("link", { name: "Abort…" }).count(), 0, "a reader may not");
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForURL(/sign-in/);
  assert.equal(await session(context), undefined);
  await page.goto(origin + AT);
  assert.equal(new URL(page.url()).pathname, "/sign-in");
  await context.close();
});

/** A page of another origin, which sends a form to a host. */
function elsewhere(fields) {
  const inputs = Object.entries(fields).map(([name, value]) => `<input type=hidden name=${name} value="${value}">`);
  const page = `<!doctype html><title>elsewhere</title><form method=post action="${origin}${AT}/pause">${inputs.join("")}<button>Win</button></form>`;
  const server = createServer((_, answer) => answer.setHeader("content-type", "text/html").end(page));
  return new Promise((done) => server.listen(0, "127.0.0.1", () => done(server)));
}

test("a page of another origin changes nothing, whatever it knows", async () => {
  const { context, page } = await open();
  await signIn(page, operator);
  await page.waitForURL(`${origin}/`);
  await page.goto(`${origin}${AT}/pause`);
  // The worst case: it has read the form, too.
  const [form_key, generation, file] = await Promise.all(
    ["form_key", "generation", "file"].map((name) => page.locator(`form.command input[name=${name}]`).inputValue()),
  );
  const server = await elsewhere({ form_key, generation, file, reason: "win a prize" });
  try {
    const other = `http://127.0.0.1:${server.address().port}/`;
    await page.goto(other);
    const [answer] = await Promise.all([
      page.waitForResponse((response) => response.url() === `${origin}${AT}/pause`),
      page.getByRole("button", { name: "Win" }).click(),
    ]);
    assert.equal(answer.status(), 403);
    const sent = await answer.request().allHeaders();
    assert.match(sent.cookie ?? "", /serin_session/, "the browser did send the session");
    await page.goto(other);
    await page.evaluate(
      ([to, body]) => fetch(to, { method: "POST", mode: "no-cors", credentials: "include", headers: { "content-type": "text/plain" }, body }),
      [`${origin}/v1${AT}/pause`, JSON.stringify({ by: "x", reason: "win a prize" })],
    );
    assert.equal(await stateOf(), "running");
    const refused = page.waitForEvent("requestfailed", (request) => request.url() === `${origin}/`);
    await page.evaluate((to) => {
      const frame = document.createElement("iframe");
      frame.src = to;
      document.body.append(frame);
    }, `${origin}/`);
    assert.match((await refused).failure().errorText, /BLOCKED_BY_RESPONSE/, "it is drawn in no frame");
  } finally {
    server.close();
  }
  // The same form from the host's own page is accepted.
  await page.goto(`${origin}${AT}/pause`);
  await page.getByLabel("Reason").fill("its own page");
  await page.getByRole("button", { name: "Pause" }).click();
  await page.waitForURL(origin + AT);
  assert.equal(await stateOf(), "paused");
  await context.close();
});
