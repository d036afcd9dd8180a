// Plain unit tests, without Wasm.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Reason, example } from "./plugin.js";
import { decide } from "./strategy.js";

test("who was contacted often is left alone", () => {
  const [decided] = decide(example({ features: { contacts_7d: 3 } }));
  assert.equal(decided?.action, "no_contact");
  assert.deepEqual(decided?.reasons, [{ code: Reason.CONTACT_CAP, weight: 1 }]);
});
