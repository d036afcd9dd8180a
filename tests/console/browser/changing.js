// Pages that stay open: they follow the host, outlive its restart, and rest while nobody looks at them.

import assert from "node:assert/strict";
import { test } from "node:test";

import { abort } from "./acting.js";
import { api, asks, isLive, isQuiet, open, told, until } from "./support.js";

const { origin, markup } = told.plain;
const AT = "/experiments/outreach-score";
/** A bound, not a speed: on a busy machine a change takes longer than the two seconds of a quiet one. */
const SOON = 20_000;

const command = (name, reason) => api(origin, `/v1${AT}/${name}`, { by: "ann", reason });
/** Whether the page is still the one that was loaded. */
const mark = (page) => page.evaluate(() => void (window.loaded = "once"));
const isMarked = (page) => page.evaluate(() => window.loaded === "once");

test("what changes elsewhere is seen without loading again, and what a person has opened stays open", async () => {
  const { context, page, seen } = await open();
  const overview = await context.newPage();
  for (const [one, path] of [[page, AT], [overview, "/"]]) {
    await one.goto(origin + path);
    await isLive(one);
    await mark(one);
  }
  const history = page.locator("details", { hasText: "Commands and changes" });
  await history.locator("summary").click();
  await command("pause", `not now ${markup}`);
  await page.locator("h1", { hasText: "paused" }).waitFor({ timeout: SOON });
  await overview.locator("tr", { hasText: "outreach-score" }).getByText("paused").first().waitFor({ timeout: SOON });
  await history.getByText(`not now ${markup}`).waitFor({ timeout: SOON });
  assert(await history.evaluate((one) => one.open), "it was opened");
  assert((await isMarked(page)) && (await isMarked(overview)), "nothing was loaded again");
  assert.equal(await page.locator("img").count(), 0, "what was sent is text");
  await command("resume", "go on");
  await page.locator("h1", { hasText: "running" }).waitFor({ timeout: SOON });
  isQuiet(seen, origin);
  await context.close();
});

test("markup in the texts of people and files is text", async () => {
  const { context, page, seen } = await open();
  for (const path of ["/", "/experiments", AT, `${AT}/abort`, `/experiments?q=${encodeURIComponent(markup)}`]) {
    await page.goto(origin + path);
    assert.equal(await page.locator("img").count(), 0, path);
    assert.notEqual(await page.title(), "run", path);
  }
  await page.goto(origin + AT);
  assert.equal(await page.getByText(markup, { exact: true }).count(), 2, "the description and the owner");
  isQuiet(seen, origin);
  await context.close();
});

test("a hidden tab ends its stream, and comes back with what happened", async () => {
  const { context, page, seen } = await open();
  const streams = { open: 0 };
  const isStream = (request) => request.url().includes("/console/live");
  page.on("request", (request) => isStream(request) && (streams.open += 1));
  for (const event of ["requestfinished", "requestfailed"]) {
    page.on(event, (request) => isStream(request) && (streams.open -= 1));
  }
  await page.goto(origin + AT);
  await isLive(page);
  await mark(page);
  assert.equal(streams.open, 1);
  const turn = (hidden) =>
    page.evaluate((to) => {
      Object.defineProperty(document, "hidden", { configurable: true, get: () => to });
      document.dispatchEvent(new Event("visibilitychange"));
    }, hidden);
  await turn(true);
  await until("the stream has ended", () => streams.open === 0);
  await command("pause", "while nobody looks");
  await turn(false);
  await page.locator("h1", { hasText: "paused" }).waitFor({ timeout: SOON });
  assert.equal(streams.open, 1);
  assert(await isMarked(page), "nothing was loaded again");
  await command("resume", "somebody looks");
  await page.locator("h1", { hasText: "running" }).waitFor({ timeout: SOON });
  isQuiet(seen, origin);
  await context.close();
});

test("an open page outlives the host, and follows the next one", async () => {
  const { context, page } = await open();
  await page.goto(origin + AT);
  await isLive(page);
  await mark(page);
  await asks("kill");
  await page.getByText("connection lost").waitFor();
  assert.match(await page.locator("h1").innerText(), /running/, "what was known is still shown");
  await asks("start");
  await isLive(page);
  await command("pause", "after the restart");
  await page.locator("h1", { hasText: "paused" }).waitFor({ timeout: SOON });
  assert(await isMarked(page), "nobody had to load it again");
  await command("resume", "after the restart");
  await page.locator("h1", { hasText: "running" }).waitFor({ timeout: SOON });
  await context.close();
});

// Last of those that act on the plain host: it cannot be undone.
abort();
