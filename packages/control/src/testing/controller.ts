import { ButterflyError } from '@butterfly/common';
import type { Plan } from '@butterfly/planning';
import type { WorkerProfile } from '@butterfly/wire';
import { Controller } from '../controller.js';
import type { ControllerAction, ControllerConfig, ControllerEvent } from '../controller-types.js';
import type { Member } from '../members.js';
import { SharedByControllers } from '../shared-by-controllers.js';

export const profile: WorkerProfile = {
  layerCurve: [{ rows: 1, micros: 100 }],
  outputCurve: [{ rows: 1, micros: 100 }],
  attentionMicros: { f16: 1, bf16: 1, q8_0: 1 },
  hasFiles: false,
  cachedBytes: 0,
  diskBytesPerSecond: 1e9,
};

/** For tests only: `a`, `a2` and `a3` are the same worker, which came back. */
export function memberOf(workerId: string, memoryBytes = 100): Member {
  const identity = `machine ${workerId.replace(/\d+$/u, '')}`;
  return { workerId, name: workerId.toUpperCase(), identity, memoryBytes, profile };
}

/** For tests only: so many layers in equal parts, in the order of the workers. A layer takes one byte. */
export function planOf(
  workerIds: readonly string[],
  { layers = 12, tokensPerSecond = 10, relayed = '' } = {},
): Plan {
  const boundary = (index: number): number => Math.round((layers * index) / workerIds.length);
  return {
    objective: 'throughput',
    concurrency: 4,
    cacheType: 'f16',
    stages: workerIds.map((workerId, index) => ({
      workerId,
      layerStart: boundary(index),
      layerEnd: boundary(index + 1),
      bytes: boundary(index + 1) - boundary(index),
      decodeMicros: 1,
      microsPerToken: 1,
      isRelayed: workerId === relayed,
    })),
    predicted: { latencyMicros: 1e6 / tokensPerSecond, tokensPerSecond },
    reasons: [],
  };
}

/** Layers of its stage, so that it reads as a range. */
export const shardIdOf: ControllerConfig['shardIdOf'] = ({ layerStart, layerEnd }) =>
  `${layerStart}-${layerEnd}`;

export const broken = new ButterflyError('COMPUTE_FAILED', 'Memory is short.');

/** For tests only: a controller with a clock, whose actions read as text, such as `prepare a 0-6` or `assign 1 a,b`. */
export class Story {
  nowMs = 1000;
  /** Whether no request runs: what every tick tells. */
  isIdle = false;
  /** Of workers that join from now on. */
  memoryBytes = 100;
  stagesMax = Infinity;
  tokensPerSecond = (stages: number): number => 10 * stages;
  /** Who is reached through the orchestrator. */
  relayed = '';
  readonly controller: Controller;
  /** Who was asked for a plan. */
  readonly planned: string[] = [];
  /** What was asked for and not answered yet. */
  #asked: ControllerAction[] = [];

  constructor(config: Partial<ControllerConfig> = {}) {
    this.controller = new Controller({
      workersExpected: 1,
      gatherMs: 0,
      stagesMin: 1,
      spares: 0,
      plan: (members) => this.#plan(members),
      repair: (plan, substitutes, members) => this.#repair(plan, substitutes, members),
      shardIdOf,
      shared: new SharedByControllers(),
      ...config,
    });
  }

  /** From nothing to a live epoch 1 of these workers. */
  static live(ids: readonly string[], config: Partial<ControllerConfig> = {}, memoryBytes = 100): Story {
    const story = new Story({ workersExpected: ids.length, ...config });
    story.memoryBytes = memoryBytes;
    story.join(...ids);
    const told = story.settle();
    if (told.join('; ') !== `assign 1 ${ids.join()}; canary 1; live 1`) throw new Error(told.join('; '));
    return story;
  }

  handle(event: ControllerEvent): string[] {
    if (event.kind === 'unprepared') this.#forget(event);
    const actions = this.controller.handle(event, this.nowMs);
    for (const action of actions) {
      if (action.kind === 'release') this.#forget(action);
      this.#asked.push(action);
    }
    return actions.map(inWords);
  }

  join(...ids: string[]): string[] {
    return ids.flatMap((id) => this.joinHolding(id));
  }

  joinHolding(id: string, ...heldShards: string[]): string[] {
    return this.handle({ kind: 'joined', member: memberOf(id, this.memoryBytes), heldShards });
  }

  leave(workerId: string, isOrderly = false): string[] {
    return this.handle({ kind: 'left', workerId, isOrderly });
  }

  of(kind: 'prepared' | 'progress', workerId: string, shardId: string): string[] {
    return this.handle({ kind, workerId, shardId });
  }

  unprepared(workerId: string, shardId: string): string[] {
    return this.handle({ kind: 'unprepared', workerId, shardId, error: broken });
  }

  ready(workerId: string, epoch: number): string[] {
    return this.handle({ kind: 'ready', workerId, epoch });
  }

  fail(workerId: string, epoch: number, isLink = false): string[] {
    return this.handle({ kind: 'failed', workerId, epoch, error: broken, isLink });
  }

  end(kind: 'canaryPassed' | 'stalled', epoch: number): string[] {
    return this.handle({ kind, epoch });
  }

  drain(workerId: string): string[] {
    return this.handle({ kind: 'drain', workerId });
  }

  after(ms: number): string[] {
    this.nowMs += ms;
    return this.handle({ kind: 'tick', isIdle: this.isIdle });
  }

  /** Everybody does what was asked for, until nobody is asked for anything; what was decided meanwhile. */
  settle(): string[] {
    const told: string[] = [];
    for (let asked = this.#asked.shift(); asked; asked = this.#asked.shift()) {
      if (asked.kind === 'prepare') told.push(...this.of('prepared', asked.workerId, asked.shardId));
      if (asked.kind === 'canary') told.push(...this.end('canaryPassed', asked.current.epoch));
      if (asked.kind !== 'assign') continue;
      for (const { workerId } of asked.current.plan.stages)
        told.push(...this.ready(workerId, asked.current.epoch));
    }
    return told;
  }

  /** Nobody answers an order to load what is not to be loaded any more. */
  #forget({ workerId, shardId }: { readonly workerId: string; readonly shardId: string }): void {
    this.#asked = this.#asked.filter(
      (asked) => asked.kind !== 'prepare' || asked.workerId !== workerId || asked.shardId !== shardId,
    );
  }

  #plan(members: readonly Member[]): Plan {
    const used = members.slice(0, this.stagesMax);
    this.planned.push(used.map(({ workerId }) => workerId).join());
    const plan = this.#planOf(used.map(({ workerId }) => workerId));
    if (used.length === 0 || !fits(plan, used))
      throw new ButterflyError('MODEL_TOO_LARGE', 'The model needs 12 bytes.');
    return plan;
  }

  #repair(plan: Plan, substitutes: ReadonlyMap<string, string>, members: readonly Member[]): Plan | null {
    const ids = plan.stages.map(({ workerId }) => substitutes.get(workerId) ?? workerId);
    const repaired = this.#planOf(ids);
    return fits(repaired, members) ? repaired : null;
  }

  #planOf(ids: readonly string[]): Plan {
    return planOf(ids, { tokensPerSecond: this.tokensPerSecond(ids.length), relayed: this.relayed });
  }
}

function fits(plan: Plan, members: readonly Member[]): boolean {
  return plan.stages.every(({ workerId, bytes }) =>
    members.some((member) => member.workerId === workerId && member.memoryBytes >= bytes),
  );
}

function inWords(action: ControllerAction): string {
  const idsOf = ({ stages }: Plan): string => stages.map(({ workerId }) => workerId).join();
  switch (action.kind) {
    case 'prepare':
    case 'release':
      return `${action.kind} ${action.workerId} ${action.shardId}`;
    case 'assign':
      return `assign ${action.current.epoch} ${idsOf(action.current.plan)}`;
    case 'retire':
    case 'canary':
    case 'live':
      return `${action.kind} ${action.current.epoch}`;
    case 'measureLinks':
      return `measureLinks ${idsOf(action.plan)}`;
    case 'drop':
    case 'dismiss':
    case 'drainRefused':
      return `${action.kind} ${action.workerId}`;
  }
}
