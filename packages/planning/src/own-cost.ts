import { ButterflyError, limits } from '@butterfly/common';
import { predict } from './cost.js';
import type { JudgedPlan, Objective, OwnObjective, Plan, PlannerInput, Placement } from './types.js';

export function isOwn(objective: Objective | OwnObjective): objective is OwnObjective {
  return typeof objective === 'object';
}

/**
 * What plans of this input cost by an objective of somebody's own.
 * @returns asks it about stages that fit; throws ButterflyError CONFIG_INVALID where it fails or gives no cost
 */
export function ownCosts(
  input: PlannerInput,
  objective: OwnObjective,
): (placements: readonly Placement[]) => number {
  const names = new Map(input.workers.map(({ workerId, name }) => [workerId, name]));
  return (placements) => {
    const { predicted, stages } = predict(placements, input);
    return costOf(objective, {
      stages: Object.freeze(
        stages.map((stage) => Object.freeze({ ...stage, name: names.get(stage.workerId) ?? stage.workerId })),
      ),
      predicted: Object.freeze(predicted),
      concurrency: input.concurrency,
    });
  };
}

/** Less is better. @throws ButterflyError CONFIG_INVALID as `ownCosts` does */
export function costBy(input: PlannerInput, placements: readonly Placement[]): number {
  const { objective } = input;
  if (isOwn(objective)) return ownCosts(input, objective)(placements);
  const { latencyMicros, tokensPerSecond } = predict(placements, input).predicted;
  return objective === 'latency' ? latencyMicros : 1 / tokensPerSecond;
}

/** What plans are best at, in words: of one's own with what the plan costs by it. */
export function objectiveInWords(objective: Plan['objective']): string {
  return typeof objective === 'object' ? `${objective.name} (${formatCost(objective.cost)})` : objective;
}

/** Costs have no unit that we know of. */
export function formatCost(cost: number): string {
  return String(Number(cost.toPrecision(3)));
}

/** @throws ButterflyError CONFIG_INVALID for what is no objective */
export function checkObjective(objective: Objective | OwnObjective): void {
  if (!isOwn(objective)) return;
  // Programs without types are readers of this, too.
  const { name, costOf: judge } = objective as { readonly name: unknown; readonly costOf: unknown };
  const isNamed = typeof name === 'string' && /\S/u.test(name) && !/\p{Cc}/u.test(name);
  if (!isNamed || name.length > limits.objectiveNameCharactersMax)
    throw invalid(
      `The name of an objective must have 1 to ${limits.objectiveNameCharactersMax} characters and be one line.`,
    );
  if (typeof judge !== 'function')
    throw invalid(`The objective "${name}" must have a function costOf, which gives what a plan costs.`);
}

function costOf(objective: OwnObjective, plan: JudgedPlan): number {
  const { name } = objective;
  let cost: unknown;
  try {
    cost = objective.costOf(Object.freeze(plan));
  } catch (cause) {
    const why = cause instanceof Error ? cause.message : String(cause);
    throw invalid(`The objective "${name}" failed for a plan of ${stagesOf(plan)}: ${why}`, cause);
  }
  if (typeof cost === 'number' && Number.isFinite(cost) && cost >= 0) return cost;
  const given = typeof cost === 'number' ? String(cost) : `a value of type ${typeof cost}`;
  throw invalid(
    `The objective "${name}" gave ${given} for a plan of ${stagesOf(plan)}; it must give a finite number of at least 0, less for a better plan.`,
  );
}

function stagesOf({ stages }: JudgedPlan): string {
  return `${stages.length} ${stages.length === 1 ? 'stage' : 'stages'}`;
}

function invalid(message: string, cause?: unknown): ButterflyError {
  return new ButterflyError('CONFIG_INVALID', message, { param: 'objective', cause });
}
