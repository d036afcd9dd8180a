import assert from "node:assert/strict";
import { test } from "node:test";
import { Reason, Refusal, example } from "./plugin.js";
import { decide } from "./strategy.js";

const decided = (features, parameters) => decide(example({ features: { days_past_due: 20, ...features }, parameters }));
const likeliest = (candidates) => candidates.reduce((a, b) => (b.probability > a.probability ? b : a)).action;

test("a message is likeliest early, a call late", () => {
  assert.equal(likeliest(decided({ days_past_due: 5 })), "sms_reminder");
  assert.equal(likeliest(decided({ days_past_due: 5, channel: "email" })), "email");
  assert.equal(likeliest(decided({ days_past_due: 60 })), "call");
});

test("everything that may be done has a chance, and together they are certain", () => {
  for (let days_past_due = 1; days_past_due <= 90; days_past_due++) {
    const candidates = decided({ days_past_due });
    assert.equal(candidates.length, 4);
    assert.ok(candidates.every(({ probability }) => probability > 0));
    assert.ok(Math.abs(candidates.reduce((sum, { probability }) => sum + probability, 0) - 1) < 1e-12);
  }
});

test("the temperature says how much is explored", () => {
  const top = (temperature) => Math.max(...decided({ days_past_due: 60 }, { temperature }).map(({ probability }) => probability));
  assert.ok(top(0.005) > 0.8);
  assert.ok(top(1) < 0.3);
});

test("protection is not drawn", () => {
  const [offer, ...others] = decided({ hardship_flag: true, promises_broken: 2 });
  assert.deepEqual([offer.action, offer.parameters, others], ["hardship_offer", { months: 6 }, []]);
  for (const [features, code] of [
    [{ stage: "dispute" }, Reason.DISPUTED],
    [{ balance_due: 0 }, Reason.NOTHING_DUE],
    [{ contacts_7d: 3 }, Reason.CONTACT_CAP],
    [{ last_contact_days: 0.5 }, Reason.RECENT_CONTACT],
  ]) {
    const [none, ...others] = decided(features);
    assert.deepEqual([none.action, none.reasons, others], ["no_contact", [{ code, weight: 1 }], []]);
  }
});

test("a negative number of days is declined", () => {
  assert.throws(
    () => decided({ days_past_due: -1 }),
    (error) => error instanceof Refusal && error.reason === Reason.INVALID_CONTEXT,
  );
});
