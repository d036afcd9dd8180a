import { Action, Reason, Refusal, ScoreError, log, models, strategy } from "./plugin.js";
import type { Input } from "./plugin.js";

const LOADED: number = new Date(86_400_000).getTime();

declare const performance: { now(): number };
declare const crypto: { randomUUID(): string };
declare function setTimeout(then: () => void): number;

const forbidden: Record<string, () => unknown> = {
  random: () => Math.random(),
  now: () => Date.now(),
  date: () => new Date(),
  text: () => Date(),
  constructed: () => new (new Date(0).constructor as DateConstructor)(),
  performance: () => performance.now(),
  crypto: () => crypto.randomUUID(),
  timer: () => setTimeout(() => {}),
};

/** What an error says; the steps refuse with it, so that a case can expect it. */
function said(attempt: () => unknown): string {
  try {
    return `gave ${String(attempt())}`;
  } catch (error) {
    return error instanceof Error ? error.message : "thrown";
  }
}

function told(message: string): never {
  throw new Refusal(Reason.TOLD, message);
}

const steps: Record<string, (input: Input) => ReturnType<typeof Action.wait> | ReturnType<(typeof Action)["act-now"]>> = {
  forbidden: () => told(Object.entries(forbidden).map(([name, attempt]) => `${name}: ${said(attempt).split(",")[0]}`).join("; ")),
  values: (input) => {
    const { features, scores, parameters } = input;
    return Action["act-now"]({
      flag: features.known === undefined,
      count: features.big + parameters.cap + 1,
      share: (features["half-life"] ?? -1) + scores.risk,
      words: `${input.decision_point} ${new Date(input.time_ms).toISOString()} ${input.utc_offset_minutes} ${LOADED} größer`,
    }).because(Reason.TOLD, 0.5).because(Reason.constructor, -2);
  },
  undeclared: (input) => told(said(() => (input.features as unknown as Record<string, unknown>)["hlaf-life"])),
  parameter: () => told(said(() => Action["act-now"]({ flag: true, count: 1.5, share: 1, words: "" }))),
  score: () => told(said(() => models.uplift.score([[1, true, "x", 2n, undefined], [0.5, false, "", 3n, undefined]]))),
  unavailable: () => told(said(() => {
    try {
      return models.uplift.score([[1]]);
    } catch (error) {
      return error instanceof ScoreError ? error.kind : "another error";
    }
  })),
  log: () => {
    log.info("one line");
    return Action.wait().because(Reason.TOLD, 1);
  },
  fault: () => {
    throw new Error("a fault");
  },
};

export const decide = strategy((input) => (steps[input.features.step] ?? (() => told("no such step")))(input), { onError: log.warn });
