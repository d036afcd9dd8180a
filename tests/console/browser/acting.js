// Commands of people: by mouse, by keyboard alone, and without a script.

import assert from "node:assert/strict";
import { test } from "node:test";

import { api, isLive, isQuiet, open, told, until } from "./support.js";

const { origin } = told.plain;
const AT = "/experiments/outreach-score";
const shown = () => api(origin, `/v1${AT}`);

/** Presses Tab until what is focused has these words. Everything on the way shows that it is focused. */
async function tabTo(page, words) {
  for (let n = 0; n < 80; n += 1) {
    await page.keyboard.press("Tab");
    const { text, outline } = await page.evaluate(() => {
      const one = document.activeElement;
      const { outlineStyle, outlineWidth } = getComputedStyle(one);
      return { text: one.textContent.trim() || one.closest("label")?.textContent || "", outline: [outlineStyle, outlineWidth] };
    });
    assert(outline[0] !== "none" && parseFloat(outline[1]) >= 2, `no focus is to be seen on '${text}'`);
    if (text.startsWith(words)) return;
  }
  assert.fail(`Tab does not lead to '${words}'`);
}

test("without a script every page says the same, and commands work", async () => {
  const { context, page, seen } = await open({ javaScriptEnabled: false });
  for (const path of ["/", "/experiments", AT, "/decisions", "/plugins", "/models", "/features"]) {
    await page.goto(origin + path);
    await page.locator("h1, h2").first().waitFor();
    assert.equal(await page.locator(".live").isVisible().catch(() => false), false, "it is not kept up to date, and does not say so");
  }
  await page.goto(origin + AT);
  await page.getByRole("link", { name: "Pause…" }).click();
  await page.getByLabel("Your name").fill("ann");
  await page.getByLabel("Reason").fill("a look at the calls");
  await page.getByRole("button", { name: "Pause" }).click();
  await page.waitForURL(origin + AT);
  assert.match(await page.locator("h1").innerText(), /paused/);
  assert.equal((await shown()).state, "paused");

  await page.goto(`${origin}/decisions?point=collections-outreach`);
  await page.goto(origin + (await page.locator("a[href^='/decisions/']").first().getAttribute("href")));
  await page.getByRole("button", { name: /replay/i }).click();
  await page.getByText("identical").first().waitFor();
  isQuiet(seen, origin);
  await context.close();
});

test("with the keyboard alone one resumes an experiment", async () => {
  const { context, page, seen } = await open();
  await page.goto(origin + AT);
  await page.keyboard.press("Tab");
  const skip = page.getByRole("link", { name: "Skip to the content" });
  assert((await skip.boundingBox()).width > 20, "the first Tab shows how to skip the navigation");
  await page.keyboard.press("Enter");
  await tabTo(page, "Resume…");
  await page.keyboard.press("Enter");
  await page.waitForURL(`${origin}${AT}/resume`);
  await tabTo(page, "Your name");
  await page.keyboard.type("bea");
  await tabTo(page, "Reason");
  await page.keyboard.type("the calls are fine");
  await tabTo(page, "Resume");
  await page.keyboard.press("Space");
  await page.waitForURL(origin + AT);
  const { state, history } = await shown();
  assert.deepEqual([state, history.at(-1).by, history.at(-1).reason], ["running", "bea", "the calls are fine"]);
  isQuiet(seen, origin);
  await context.close();
});

export function abort() {
  test("an experiment is aborted by a button, with a reason, and that is seen", async () => {
    const { context, page, seen } = await open();
    await page.goto(`${origin}/experiments`);
    await page.getByRole("link", { name: "outreach-score" }).click();
    await isLive(page);
    await page.getByRole("link", { name: "Abort…" }).click();
    await page.getByRole("heading", { name: "Abort outreach-score" }).waitFor();
    await page.getByText(/^abort: coverage \d+ % to 0 %/).waitFor();
    const button = page.getByRole("button", { name: "Abort" });
    await button.click();
    assert.equal((await shown()).state, "running", "it is not sent without a reason");
    await page.getByLabel("Your name").fill("cleo");
    await page.getByLabel("Reason").fill("too many calls");
    await button.click();
    await page.waitForURL(origin + AT);
    assert.match(await page.locator("h1").innerText(), /aborted/);
    assert.equal(await page.getByRole("link", { name: "Abort…" }).count(), 0, "it can be aborted once");
    const { state, history } = await shown();
    assert.deepEqual([state, history.at(-1).by, history.at(-1).reason], ["aborted", "cleo", "too many calls"]);
    await page.goto(origin);
    await until("the overview has it in the archive", () => page.getByText(/^Archive: 1/).count());
    isQuiet(seen, origin);
    await context.close();
  });
}
