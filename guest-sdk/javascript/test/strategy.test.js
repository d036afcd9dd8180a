// A strategy as its author tests it: no Wasm, no host.

import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath, pathToFileURL } from "node:url";
import "../src/register.js";

const here = fileURLToPath(new URL(".", import.meta.url));
const dir = mkdtempSync(join(tmpdir(), "serin-test-"));
after(() => rmSync(dir, { recursive: true }));
cpSync(join(here, "probe"), dir, { recursive: true });
const cli = (...args) => spawnSync(process.execPath, [join(here, "../bin/serin-guest.js"), ...args], { encoding: "utf8" });
assert.equal(cli("generate", dir).stderr, "");
const plugin = await import(pathToFileURL(join(dir, "plugin.js")).href);
const { Action, Reason, Refusal, ScoreError, example, models, strategy, withLog, withModels } = plugin;
const { decide } = await import(pathToFileURL(join(dir, "strategy.ts")).href);
const step = (name, changes = {}) => example({ ...changes, features: { step: name, ...changes.features } });
const refusal = (run) => {
  try {
    return run();
  } catch (error) {
    assert.ok(error instanceof Refusal, error);
    return error.message;
  }
};

test("names are as they are declared, and values are plain", () => {
  const [candidate] = decide(step("values", { features: { "half-life": 1.5 }, parameters: { cap: 5 } }));
  assert.equal(candidate.action, "act-now");
  assert.deepEqual(candidate.parameters, {
    flag: true,
    count: 13,
    share: 1.75,
    words: "probing 1970-01-01T00:00:00.000Z 0 86400000 größer",
  });
  assert.deepEqual(candidate.reasons, [{ code: "TOLD", weight: 0.5 }, { code: "constructor", weight: -2 }]);
});

test("an example holds the manifest's defaults, and nothing that is not declared", () => {
  const { features, scores, parameters } = example();
  assert.deepEqual({ ...features }, { step: "", big: 7, "half-life": undefined, known: undefined });
  assert.deepEqual([scores.risk, parameters.cap], [0.25, 3]);
  assert.throws(() => example({ features: { stpe: "x" } }), /no feature 'stpe' in plugin.toml; declared: step, big/);
  assert.throws(() => example({ features: { step: undefined } }), /feature 'step' is undefined, not a text/);
  assert.throws(() => example({ features: { big: 0.5 } }), /not a whole number/);
  assert.throws(() => example({ time: 3 }), /an input has no 'time'/);
});

test("what is not declared can't be read by mistake", () => {
  const input = example();
  assert.throws(() => input.features.hardshp, /no feature 'hardshp'/);
  assert.throws(() => input.scores.rsik, /no score 'rsik' in plugin.toml; declared: risk/);
  assert.throws(() => Action.atc, /no action 'atc' in plugin.toml; declared: wait, act-now/);
  assert.throws(() => Reason.OTHER, /no reason 'OTHER'/);
  assert.throws(() => models.risk, /no callable model 'risk'/);
});

test("a candidate's methods leave it as it was", () => {
  const wait = Action.wait();
  const other = wait.because(Reason.TOLD, 1).withProbability(0.5);
  assert.deepEqual([wait.reasons, wait.probability], [[], 1]);
  assert.deepEqual([other.reasons, other.probability], [[{ code: "TOLD", weight: 1 }], 0.5]);
});

test("weights become probabilities that sum to 1", () => {
  const { normalized } = plugin;
  const weighted = [[Math.fround(0.1), Action.wait()], [3, Action.wait().because(Reason.TOLD, 1)]];
  const made = normalized(weighted);
  assert.equal(made.reduce((sum, { probability }) => sum + probability, 0), 1);
  assert.equal(made[1].probability, 3 / (3 + Math.fround(0.1)));
  assert.deepEqual(made[1].reasons, [{ code: "TOLD", weight: 1 }]);
  assert.throws(() => normalized([[-1, Action.wait()]]), /weight -1 is not a finite number from 0/);
  assert.throws(() => normalized([[0, Action.wait()]]), /weights sum to 0/);
  assert.throws(() => normalized([Action.wait()]), /valid: \[\[weight, candidate\]/);
});

test("a mistake in an answer is told where it is made", () => {
  assert.throws(() => Action.wait({}), /Action.wait has no parameters/);
  assert.throws(() => Action["act-now"](), /called without parameters/);
  const good = { flag: true, count: 1, share: 1, words: "" };
  assert.throws(() => Action["act-now"]({ ...good, count: 2 ** 53 }), /count is 9007199254740992, not a whole number/);
  assert.throws(() => Action["act-now"]({ ...good, share: NaN }), /share is NaN, not a finite number/);
  assert.throws(() => Action["act-now"]({ ...good, more: 1 }), /no parameter 'more'/);
  assert.throws(() => Action.wait().because("TLOD", 1), /not a Reason/);
  assert.throws(() => Action.wait().because(Reason.TOLD), /the weight is not a finite number/);
  assert.throws(() => Action.wait().withProbability(1.1), /from 0 to 1/);
  assert.throws(() => new Refusal("TLOD", ""), /not a Reason/);
});

test("the host's checks hold in unit tests", () => {
  const answer = (returned) => strategy(() => returned)(example());
  assert.equal(answer(Action.wait()).length, 1);
  assert.throws(() => answer([]), /no candidate/);
  assert.throws(() => answer([Action.wait().withProbability(0.5)]), /sum to 0.5/);
  assert.throws(() => answer([Action.wait(), Action.wait()].map((c) => c.withProbability(0.5))), /'wait' twice/);
  assert.throws(() => answer(undefined), /returned undefined; valid/);
  assert.throws(() => answer(Promise.resolve()), /must not be async/);
  assert.throws(() => strategy(() => Action.wait())({}), /example/);
});

test("clocks and randomness are out of reach, and only while a strategy decides", () => {
  const message = refusal(() => decide(step("forbidden")));
  assert.equal(message.match(/is not available/g)?.length, 8, message);
  assert.ok(Math.random() < 1 && Date.now() > 0 && new Date() instanceof Date);
});

test("models are scripted, and lines are kept", () => {
  const rows = [[1, true, "x", 2n, undefined], [0.5, false, "", 3n, undefined]];
  assert.equal(refusal(() => withModels([{ model: "uplift", rows, scores: [0.5, 0.25] }], () => decide(step("score")))), "gave 0.5,0.25");
  assert.match(refusal(() => withModels([{ model: "uplift", rows: [[1]], scores: [1] }], () => decide(step("score")))), /expected: \[\[1\]\]/);
  assert.throws(() => withModels([{ model: "uplift", scores: [] }], () => decide(step("log"))), /'uplift' was expected/);
  const fails = () => {
    throw new ScoreError("uplift", "timeout");
  };
  assert.equal(refusal(() => withModels(fails, () => decide(step("unavailable")))), "gave timeout");
  assert.match(refusal(() => decide(step("score"))), /no host is here; use withModels/);
  assert.deepEqual(withLog(() => decide(step("log"))).lines, [{ level: "info", message: "one line" }]);
  const { lines } = withLog(() => assert.throws(() => decide(step("fault")), /a fault/));
  assert.deepEqual(lines, [{ level: "warn", message: "Error: a fault" }]);
});
