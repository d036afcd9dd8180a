// @ts-check
// SECOND_ACTION from a threshold on, else FIRST_ACTION.

import { Action, Reason, strategy } from "./plugin.js";

export const decide = strategy(({ features, parameters }) => {
  if (features.value >= parameters.threshold) return ActionSECOND_MEMBER().because(Reason.REACHED, 1.0);
  return ActionFIRST_MEMBER().because(Reason.BELOW, 1.0);
});
