import { type ModelSpec, activationBytes } from '@butterfly/model';
import { type Link, type Plan, type PlanStage, linksMicros } from '@butterfly/planning';
import type { ModelWorker } from '../fleet/model-worker.js';
import type { LinkProber } from '../links/link-prober.js';
import type { LinkTable } from '../links/link-table.js';

/** The links that the stages of a plan send over. */
export class PlanLinks {
  constructor(
    private readonly around: {
      readonly fleet: { readonly workers: ReadonlyMap<string, ModelWorker> };
      readonly links: LinkTable;
      readonly prober: LinkProber;
    },
    private readonly spec: ModelSpec,
  ) {}

  /** What is known of the time that a step of so many rows is on its way between stages. */
  micros(rows: number, stages: readonly PlanStage[]): number {
    const link = (from: string | null, to: string | null): Link => this.around.links.link(from, to);
    return linksMicros(rows, stages, link, activationBytes(this.spec));
  }

  /** A stage lost a neighbour, or where it does not say which, the one before it. */
  broke(stages: readonly PlanStage[], workerId: string, lostWorkerId: string | null, nowMs: number): void {
    const index = stages.findIndex((stage) => stage.workerId === workerId);
    if (lostWorkerId !== null) this.around.links.broke(workerId, lostWorkerId, nowMs);
    else if (index >= 0) this.around.links.broke(stages.at(index - 1)?.workerId ?? '', workerId, nowMs);
  }

  /** Measures all of them anew. */
  async remeasure(plan: Plan): Promise<void> {
    await this.around.prober.remeasure(this.#ends(plan));
  }

  /** Measures those of which nothing is known; whether anything was found. */
  complete(plan: Plan): Promise<boolean> {
    return this.around.prober.complete(this.#ends(plan));
  }

  #ends({ stages }: Plan): (readonly [ModelWorker, ModelWorker])[] {
    if (stages.length === 1) return [];
    const { workers } = this.around.fleet;
    return stages.flatMap(({ workerId }, index) => {
      const [from, to] = [workers.get(stages.at(index - 1)?.workerId ?? ''), workers.get(workerId)];
      return from && to ? [[from, to] as const] : [];
    });
  }
}
