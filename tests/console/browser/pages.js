// Each page of a host with weeks behind it: without errors, alone with its host, readable for everybody, at any width.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { AXE, isLive, isQuiet, open, picture, told } from "./support.js";

const { origin, decision, unit } = told.scene;
const AT = "/experiments/outreach-score";

/** The pages by the names of their pictures. */
const PAGES = {
  overview: "/",
  attention: "/attention",
  experiments: "/experiments",
  archive: "/experiments?state=ended",
  experiment: AT,
  "experiment-paused": "/experiments/call-sooner",
  "experiment-draft": "/experiments/weekend-messages",
  "experiment-invalid": "/experiments/sms-first",
  abort: `${AT}/abort`,
  conclude: `${AT}/conclude`,
  amend: `${AT}/amend`,
  freeze: "/freeze",
  decisions: "/decisions",
  "decisions-of-unit": `/decisions?unit=${unit}`,
  decision: `/decisions/${decision}`,
  plugins: "/plugins",
  models: "/models",
  features: "/features",
};
const WIDTHS = [1440, 1024, 920, 768, 360];
/** Those of which there are pictures. */
const PICTURED = [1440, 360];
/** What a sheet of A4 has between the margins of the style sheet, in CSS pixels. */
const A4 = 687;

/** What axe finds, a line each. */
export async function violations(page, options = {}) {
  const { violations } = await page.evaluate((given) => axe.run(document, { resultTypes: ["violations"], ...given }), options);
  return violations.flatMap((rule) =>
    rule.nodes.map((node) => `${rule.id}: ${node.html.slice(0, 200)} (${node.any[0]?.message ?? rule.help})`),
  );
}

/** What sticks out of a page sideways; nothing where it needs no scrolling. */
export const sticksOut = (page) =>
  page.evaluate(() => {
    const { scrollWidth, clientWidth } = document.documentElement;
    if (scrollWidth <= clientWidth) return [];
    const wide = [...document.querySelectorAll("body *")].filter((one) => one.getBoundingClientRect().right > clientWidth + 1);
    return [`${scrollWidth} of ${clientWidth}`, ...wide.slice(0, 5).map((one) => one.outerHTML.slice(0, 120))];
  });

/** What is cut off inside a page: tables that scroll, and scales whose labels are too small to be read. */
export const isCut = (page) =>
  page.evaluate(() => {
    // What is folded has no text.
    const shown = [...document.querySelectorAll(".wide")].filter((one) => one.innerText.trim());
    const tables = shown.filter((one) => one.scrollWidth > one.clientWidth + 1);
    const labels = [...document.querySelectorAll("svg.scale text")].filter((one) => {
      const { height, right } = one.getBoundingClientRect();
      return right > 0 && height > 0 && height < 9;
    });
    return [
      ...tables.map((one) => `a table of ${one.scrollWidth} px in ${one.clientWidth}: ${one.innerText.slice(0, 60)}`),
      ...labels.map((one) => `a label of ${one.getBoundingClientRect().height} px: ${one.textContent}`),
    ];
  });

/** Looks at the page that is open in both schemes and at all widths. */
export async function lookAt(page, name) {
  const found = [];
  const note = (at, lines) => found.push(...lines.map((line) => `${name}, ${at}: ${line}`));
  for (const colorScheme of ["dark", "light"]) {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    // What differs between the schemes is colours alone.
    note(colorScheme, await violations(page, colorScheme === "dark" ? { runOnly: ["color-contrast"] } : {}));
    if (colorScheme === "dark") await picture(page, `${name}-dark`, { fullPage: true });
  }
  for (const width of WIDTHS) {
    await page.setViewportSize({ width, height: 900 });
    note(width, await sticksOut(page));
    note(width, await isCut(page));
    if (PICTURED.includes(width)) await picture(page, `${name}-${width}`, { fullPage: true });
  }
  await page.emulateMedia({ media: "print" });
  await page.setViewportSize({ width: A4, height: 900 });
  note("A4", await sticksOut(page));
  note("A4", await isCut(page));
  await picture(page, `${name}-print`, { fullPage: true });
  await page.emulateMedia({ media: "screen" });
  await page.setViewportSize({ width: WIDTHS[0], height: 900 });
  return found;
}

/** One window for all pages: to open one takes longer than to look at a page. */
let window;

before(async () => {
  window = await open();
  await window.context.addInitScript({ path: AXE });
});
after(() => window.context.close());

for (const [name, path] of Object.entries(PAGES)) {
  test(`${name} has no error, asks this host alone, is accessible and fits`, async () => {
    const { page, seen } = window;
    const answer = await page.goto(origin + path);
    assert.equal(answer.status(), 200);
    if (await page.locator("main[data-live]").count()) await isLive(page);
    assert.equal(await page.locator("h1").count(), 1, "one heading says what the page is");
    assert.deepEqual(await lookAt(page, name), []);
    isQuiet(seen, origin);
  });
}

test("a page that is not there is a page", async () => {
  const { page, seen } = window;
  const answer = await page.goto(`${origin}/experiments/nowhere`);
  assert.equal(answer.status(), 404);
  assert.deepEqual(await lookAt(page, "not-there"), []);
  assert(seen.wrong.every((line) => line.includes("404")), seen.wrong.join("\n"));
});

test("the pictures of the README", async () => {
  const { context, page } = await open();
  for (const [name, path, height] of [["overview", "/", 880], ["experiment", AT, 1080]]) {
    await page.setViewportSize({ width: 1280, height });
    await page.goto(origin + path);
    await isLive(page);
    await picture(page, `readme-${name}`);
  }
  await context.close();
});
