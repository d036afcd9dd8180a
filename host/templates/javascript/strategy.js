// @ts-check
// Texts who is a little late, and calls who is very late.

import { Action, Reason, strategy } from "./plugin.js";

export const decide = strategy(({ features, parameters }) => {
  if (features.contacts_7d >= parameters.contact_cap) return Action.no_contact().because(Reason.CONTACT_CAP, 1.0);
  if (features.days_past_due < 30) return Action.sms_reminder({ template: "gentle" }).because(Reason.EARLY, 0.7);
  return Action.call().because(Reason.LATE, 0.9);
});
