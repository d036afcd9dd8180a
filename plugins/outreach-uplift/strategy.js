// @ts-check
// Draws the outreach by its expected effect. What protects the borrower comes first, and is
// not drawn.

import { Action, Reason, Refusal, strategy } from "./plugin.js";

/** @import { Candidate, Features, Input } from "./plugin.js" */

export const decide = strategy((input) => {
  if (input.features.days_past_due < 0) {
    throw new Refusal(Reason.INVALID_CONTEXT, "days_past_due is negative");
  }
  return protection(input) ?? explored(uplifts(input.features), input.parameters.temperature);
});

/** Why this borrower is not to be pressed now, if so. @param {Input} input */
function protection({ features: f, parameters }) {
  if (f.hardship_flag) {
    return Action.hardship_offer({ months: f.promises_broken >= 2 ? 6 : 3 }).because(Reason.HARDSHIP, 1.0);
  }
  const reason =
    f.stage === "dispute" ? Reason.DISPUTED
    : f.days_past_due === 0 || (f.balance_due !== undefined && f.balance_due <= 0) ? Reason.NOTHING_DUE
    : f.contacts_7d >= parameters.contact_cap ? Reason.CONTACT_CAP
    : f.last_contact_days !== undefined && f.last_contact_days < 1 ? Reason.RECENT_CONTACT
    : undefined;
  return reason && Action.no_contact().because(reason, 1.0);
}

/**
 * How much likelier each action makes a payment within the week, by hand: a message helps
 * early, a call late, and each one more in a week helps less.
 * @param {Features} f
 * @returns {[Candidate, number][]}
 */
function uplifts(f) {
  const late = Math.min(f.days_past_due, 60) / 60;
  const fatigue = 0.02 * f.contacts_7d;
  const template = f.days_past_due < 15 ? "gentle" : "firm";
  const asked = (/** @type {string} */ channel) => (f.channel === channel ? 0.03 : 0);
  return [
    [Action.no_contact(), 0],
    [Action.email({ template }), 0.06 - 0.03 * late + asked("email") - fatigue],
    [Action.sms_reminder({ template }), 0.08 - 0.03 * late + asked("sms") - fatigue],
    [Action.call(), 0.02 + 0.14 * late - 0.02 * Math.min(f.promises_broken, 3) - 2 * fatigue],
  ];
}

/**
 * Softmax: all candidates, with probabilities that grow with the uplift.
 * @param {[Candidate, number][]} scored
 * @param {number} temperature
 */
function explored(scored, temperature) {
  const best = Math.max(...scored.map(([, uplift]) => uplift));
  const weights = scored.map(([, uplift]) => Math.exp((uplift - best) / temperature));
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  return scored.map(([candidate, uplift], at) =>
    candidate
      .because(uplift === best ? Reason.BEST_UPLIFT : Reason.EXPLORATION, uplift)
      .withProbability((weights[at] ?? 0) / total),
  );
}
