// @ts-check
// The same as strategy.rs and strategy.py.

import { Action, Reason, Refusal, ScoreError, log, models, strategy } from "./plugin.js";

/** @import { Candidate } from "./plugin.js" */

export const decide = strategy((input) => {
  const { features: f, parameters: p } = input;
  if (f.days < 0) throw new Refusal(Reason.INVALID, `days is ${f.days}`);
  const minutes = Math.floor(input.time_ms / 60_000) + input.utc_offset_minutes;
  if (Math.floor(minutes / 60) % 24 < 6) return Action.no_contact().because(Reason.NIGHT, (minutes % 60) / 60);
  if (f["asked-for-help"]) {
    const share = f.balance === undefined ? p.share : (p.share * f.balance) / (1 + Math.abs(f.balance));
    const months = f.contacts % 2 === 0 ? 6 : 3;
    return Action.offer({ months, share }).because(Reason.HELP, 1 / (1 + f.contacts));
  }
  if (f.contacts >= p.cap) return Action.no_contact().because(Reason.CAP, 1);
  const [gains, told] = asked([[f.balance, 0n, false], [f.balance, BigInt(f.contacts), true]], input.scores.risk);
  const byChannel = f.channel === "sms" ? 2 : 1;
  const text = `${p.greeting} (${f.channel ?? "none"})`;
  /** @type {[number, Candidate][]} */
  const weighed = [
    [Math.max(gains[0] ?? 0, 0) + 0.1, Action.no_contact()],
    [(Math.max(gains[1] ?? 0, 0) + 0.2) * byChannel, Action.message({ text, urgent: f.days > 30 })],
  ];
  if (f.days > 0) weighed.push([0.05 * Math.min(f.days, 60), Action.offer({ months: 1, share: p.share })]);
  const total = weighed.reduce((sum, [weight]) => sum + weight, 0);
  const best = Math.max(...weighed.map(([weight]) => weight));
  const [first] = weighed.filter(([weight]) => weight === best);
  if (p.sure && first !== undefined) {
    log.info(`sure of one in ${weighed.length}`);
    return first[1].because(told, best);
  }
  return weighed.map(([weight, action]) =>
    action.because(weight === best ? told : Reason.TRIED, weight).withProbability(weight / total),
  );
});

/**
 * What the model says, or what stands in for it.
 * @param {(number | bigint | boolean | undefined)[][]} rows
 * @param {number} risk
 * @returns {[number[], Reason]}
 */
function asked(rows, risk) {
  try {
    return [models.uplift.score(rows), Reason.GAIN];
  } catch (error) {
    if (!(error instanceof ScoreError)) throw error;
    return [[0, risk], Reason.BLIND];
  }
}
