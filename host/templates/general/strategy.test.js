// Plain unit tests, without Wasm.

import assert from "node:assert/strict";
import { test } from "node:test";
import { Reason, example } from "./plugin.js";
import { decide } from "./strategy.js";

test("the threshold is reached", () => {
  const [decided] = decide(example({ features: { value: 100 } }));
  assert.equal(decided?.action, "SECOND_ACTION");
  assert.deepEqual(decided?.reasons, [{ code: Reason.REACHED, weight: 1 }]);
});
