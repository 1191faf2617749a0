import type { StepTime } from '@butterfly/common';
import type { Member } from '@butterfly/control';
import type { ClusterPlanner } from './deployment-types.js';

/** What is measured must be so many times off what is believed, over so much time with steps, to be believed. */
const offMin = 1.5;
const sustainedMs = 30_000;
/** A worker without a stage cannot show that it is well again: after so long it is believed to be. */
const forgetMs = 30 * 60_000;

interface Belief {
  /** How many times as slow as the worker measured itself. */
  factor: number;
  sinceMs: number;
  /** For how long something else was seen. */
  offMs: number;
}

/**
 * Which workers became slower after they had measured themselves: throttled laptops, and machines with other work. What
 * slows all stages alike, such as long contexts, is no reason for another plan and does not count; nor does what passes.
 */
export class Slowness {
  readonly #beliefs = new Map<string, Belief>();

  factorOf(workerId: string): number {
    return this.#beliefs.get(workerId)?.factor ?? 1;
  }

  leave(workerId: string): void {
    this.#beliefs.delete(workerId);
  }

  /**
   * Takes in how many times as long as predicted the stages of a pipeline take. Gives those of whom something else is
   * believed now.
   * @param busyMs time with steps since the last call
   */
  observe(paces: ReadonlyMap<string, number>, busyMs: number, nowMs: number): string[] {
    const changed = this.#forget(paces, nowMs);
    const least = Math.min(...paces.values());
    for (const [workerId, pace] of paces) {
      const belief = this.#beliefs.get(workerId) ?? { factor: 1, sinceMs: nowMs, offMs: 0 };
      this.#beliefs.set(workerId, belief);
      const factor = Math.max(1, Math.min(pace, pace / least));
      const isOff = Math.max(factor / belief.factor, belief.factor / factor) >= offMin;
      belief.offMs = isOff ? belief.offMs + busyMs : 0;
      if (belief.offMs < sustainedMs) continue;
      this.#beliefs.set(workerId, { factor, sinceMs: nowMs, offMs: 0 });
      changed.push(workerId);
    }
    return changed;
  }

  #forget(paces: ReadonlyMap<string, number>, nowMs: number): string[] {
    const forgotten = [...this.#beliefs].filter(
      ([workerId, { factor, sinceMs }]) => factor > 1 && !paces.has(workerId) && nowMs - sinceMs >= forgetMs,
    );
    for (const [workerId] of forgotten) this.#beliefs.delete(workerId);
    return forgotten.map(([workerId]) => workerId);
  }
}

/** A planner that takes every worker for as slow as it is now. */
export function pacedPlanner(planner: ClusterPlanner, slowness: Pick<Slowness, 'factorOf'>): ClusterPlanner {
  const paced = (member: Member): Member => {
    const factor = slowness.factorOf(member.workerId);
    if (factor === 1) return member;
    const slower = (curve: readonly StepTime[]): StepTime[] =>
      curve.map(({ rows, micros }) => ({ rows, micros: micros * factor }));
    const { layerCurve, kindCurves, outputCurve } = member.profile;
    return {
      ...member,
      profile: {
        ...member.profile,
        layerCurve: slower(layerCurve),
        kindCurves: kindCurves?.map(({ layer, curve }) => ({ layer, curve: slower(curve) })),
        outputCurve: slower(outputCurve),
      },
    };
  };
  return {
    plan: (members, link) => planner.plan(members.map(paced), link),
    repair: (plan, substitutes, members, link) => planner.repair(plan, substitutes, members.map(paced), link),
    split: (members, link) => planner.split(members.map(paced), link),
    speedsOf: (groups, link) =>
      planner.speedsOf(
        groups.map((group) => group.map(paced)),
        link,
      ),
  };
}
