import { ButterflyError, limits } from '@butterfly/common';
import { type PlannerInput, planPipeline, repairPlan } from '@butterfly/planning';
import { expect } from 'vitest';
import type { Happening } from './controller-happenings.js';
import { profile } from './controller.js';
import { Controller } from '../controller.js';
import type { ControllerAction, ControllerEvent, EpochPlan } from '../controller-types.js';
import type { Member } from '../members.js';
import { SharedByControllers } from '../shared-by-controllers.js';

const failurePauseMs = 30_000;

type Action<K extends ControllerAction['kind']> = Extract<ControllerAction, { readonly kind: K }>;

interface SimulatedWorker {
  readonly member: Member;
  /** Bytes of what it has loaded or loads, by shard. */
  readonly holdings: Map<string, number>;
  readonly loading: Set<string>;
  isDraining: boolean;
  isDropped: boolean;
}

interface SimulatedEpoch {
  readonly current: EpochPlan;
  readonly ready: Set<string>;
  state: 'starting' | 'canary' | 'live';
}

/** For tests only: a cluster as the controller sees it, which checks every action against what has happened. */
export class SimulatedCluster {
  readonly workersExpected = 2;
  nowMs = 0;
  alive: SimulatedEpoch | null = null;
  lastEpoch = 0;
  readonly members = new Map<string, SimulatedWorker>();
  readonly controller: Controller;
  /** Workers that are gone and may come back. */
  readonly #gone: SimulatedWorker[] = [];
  readonly #failedUntilMs = new Map<string, number>();
  readonly #relayed = new Set<string>();
  #nextId = 1;
  #actions = 0;

  constructor(readonly spares: number) {
    this.controller = new Controller({
      workersExpected: this.workersExpected,
      gatherMs: 200,
      stagesMin: 1,
      spares,
      plan: (members) => planPipeline(this.#input(members)),
      repair: (plan, substitutes, members) =>
        repairPlan(plan, new Set(substitutes.keys()), substitutes, this.#input(members)),
      shardIdOf: ({ layerStart, layerEnd }) => `${layerStart}-${layerEnd}`,
      shared: new SharedByControllers(),
    });
  }

  handle(event: ControllerEvent): void {
    for (const action of this.controller.handle(event, this.nowMs)) {
      this.#actions += 1;
      this.#carryOut(action);
    }
    for (const { member, holdings } of this.members.values()) {
      const bytes = [...holdings.values()].reduce((sum, each) => sum + each, 0);
      expect(bytes).toBeLessThanOrEqual(member.memoryBytes);
      expect(holdings.size).toBeLessThanOrEqual(limits.shardsHeldMax);
    }
    expect(this.controller.current?.epoch ?? null).toBe(this.alive?.current.epoch ?? null);
    if (this.alive) expect(this.controller.phase).toBe(this.alive.state);
    else expect(['waiting', 'preparing']).toContain(this.controller.phase);
    expect(this.controller.describe()).not.toBe('');
  }

  pass(ms: number, isIdle: boolean): void {
    this.nowMs += ms;
    this.handle({ kind: 'tick', isIdle });
  }

  /** Everybody does what is asked of them, until nobody is asked for anything. */
  proceed(): void {
    let before = -1;
    for (let round = 0; before !== this.#actions; round += 1) {
      expect(round).toBeLessThan(100);
      before = this.#actions;
      for (const [workerId, { isDropped, loading }] of this.members) {
        if (isDropped) this.#leave(workerId, false);
        else for (const shardId of loading) this.#prepared(workerId, shardId);
      }
      this.pass(0, true);
      const epoch = this.alive?.current.epoch ?? -1;
      if (this.alive?.state === 'starting')
        for (const { workerId } of this.alive.current.plan.stages) this.#ready(workerId, epoch);
      if (this.alive?.state === 'canary') this.handle({ kind: 'canaryPassed', epoch });
    }
  }

  happen(event: Happening): void {
    const anyone = (pick: number): string => pickOf([...this.members.keys()], pick) ?? 'w0';
    const epoch = this.alive?.current.epoch ?? 0;
    switch (event.what) {
      case 'join':
        this.#join(event.memoryBytes, event.micros);
        return;
      case 'return':
        this.#return(event.pick, event.shards);
        return;
      case 'leave':
        this.#leave(anyone(event.pick), event.isOrderly);
        return;
      case 'fail':
        this.#fail(anyone(event.pick), epoch, event.isLink);
        return;
      case 'stale':
        this.#ready(anyone(event.pick), epoch - 1);
        this.#fail(anyone(event.pick), epoch - 1, false);
        // Asked for over a connection that is gone: it must be let go of.
        this.members.get(anyone(event.pick))?.holdings.set('of no plan', 0);
        this.#prepared(anyone(event.pick), 'of no plan');
        expect(this.members.get(anyone(event.pick))?.holdings.has('of no plan') ?? false).toBe(false);
        return;
      case 'ready':
        this.#ready(anyone(event.pick), epoch);
        return;
      case 'stall':
        this.handle({ kind: 'stalled', epoch: epoch - (event.pick % 2) });
        return;
      case 'pass':
        this.handle({ kind: 'canaryPassed', epoch: epoch - (event.pick % 2) });
        return;
      case 'drain':
        this.#drain(anyone(event.pick));
        return;
      case 'relay':
        this.#relayed.add(anyone(event.pick));
        this.handle({ kind: 'linksChanged' });
        return;
      case 'time':
        this.pass(event.ms, event.isIdle);
        return;
      case 'proceed':
        this.proceed();
        return;
      default:
        this.#load(event.what, event.pick);
    }
  }

  #join(memoryBytes: number, micros: number): void {
    const name = `n${this.#nextId}`;
    const curve = [{ rows: 1, micros }];
    const measured = { ...profile, layerCurve: curve, outputCurve: curve };
    const member = { workerId: '', name, identity: name, memoryBytes, profile: measured };
    this.#enter({ member, holdings: new Map(), loading: new Set(), isDraining: false, isDropped: false });
  }

  /** Under another id, with some of what it had loaded. */
  #return(pick: number, shards: number): void {
    const worker = pickOf(this.#gone, pick);
    if (!worker) return;
    this.#gone.splice(this.#gone.indexOf(worker), 1);
    const kept = [...worker.holdings].filter(([shardId]) => !worker.loading.has(shardId)).slice(0, shards);
    this.#enter({
      ...worker,
      holdings: new Map(kept),
      loading: new Set(),
      isDraining: false,
      isDropped: false,
    });
  }

  #enter(worker: SimulatedWorker): void {
    const member = { ...worker.member, workerId: `w${this.#nextId++}` };
    this.members.set(member.workerId, { ...worker, member });
    this.handle({ kind: 'joined', member, heldShards: [...worker.holdings.keys()] });
  }

  #leave(workerId: string, isOrderly: boolean): void {
    const worker = this.members.get(workerId);
    if (!worker) return;
    this.members.delete(workerId);
    this.#gone.push(worker);
    this.handle({ kind: 'left', workerId, isOrderly });
  }

  #fail(workerId: string, epoch: number, isLink: boolean): void {
    const { current } = this.alive ?? {};
    const isOfAlive =
      current?.epoch === epoch && current.plan.stages.some((stage) => stage.workerId === workerId);
    const worker = this.members.get(workerId);
    if (isOfAlive && worker && !isLink)
      this.#failedUntilMs.set(worker.member.identity, this.nowMs + failurePauseMs);
    const error = new ButterflyError('COMPUTE_FAILED', 'The test.');
    this.handle({ kind: 'failed', workerId, epoch, error, isLink });
  }

  #ready(workerId: string, epoch: number): void {
    const { alive } = this;
    if (
      alive?.current.epoch === epoch &&
      alive.current.plan.stages.some((stage) => stage.workerId === workerId)
    )
      alive.ready.add(workerId);
    this.handle({ kind: 'ready', workerId, epoch });
  }

  #drain(workerId: string): void {
    const worker = this.members.get(workerId);
    if (!worker) return;
    worker.isDraining = true;
    this.handle({ kind: 'drain', workerId });
  }

  #load(what: 'prepared' | 'unprepared' | 'progress', pick: number): void {
    const all = [...this.members].flatMap(([workerId, { loading }]) =>
      [...loading].map((shardId) => ({ workerId, shardId })),
    );
    const { workerId, shardId } = pickOf(all, pick) ?? { workerId: 'w0', shardId: '0-1' };
    if (what === 'progress') this.handle({ kind: what, workerId, shardId });
    else if (what === 'prepared') this.#prepared(workerId, shardId);
    else {
      this.members.get(workerId)?.loading.delete(shardId);
      this.members.get(workerId)?.holdings.delete(shardId);
      const error = new ButterflyError('DISK_FULL', 'The test.');
      this.handle({ kind: what, workerId, shardId, error });
    }
  }

  #prepared(workerId: string, shardId: string): void {
    this.members.get(workerId)?.loading.delete(shardId);
    this.handle({ kind: 'prepared', workerId, shardId });
  }

  #carryOut(action: ControllerAction): void {
    switch (action.kind) {
      case 'prepare':
        this.#prepare(action);
        return;
      case 'release': {
        const worker = this.#member(action.workerId);
        expect(worker.holdings.delete(action.shardId)).toBe(true);
        worker.loading.delete(action.shardId);
        return;
      }
      case 'drop':
        this.#member(action.workerId).isDropped = true;
        return;
      case 'dismiss': {
        const { workerId } = action;
        expect(this.#member(workerId).isDraining).toBe(true);
        expect(this.alive?.current.plan.stages.some((stage) => stage.workerId === workerId) ?? false).toBe(
          false,
        );
        // As a socket does: later, and once.
        this.#member(workerId).isDropped = true;
        return;
      }
      case 'drainRefused':
        this.#member(action.workerId).isDraining = false;
        return;
      case 'measureLinks':
        expect(action.plan.stages.length).toBeGreaterThan(0);
        return;
      case 'assign':
        this.#assign(action);
        return;
      case 'retire':
      case 'canary':
      case 'live':
        this.#changeEpoch(action);
    }
  }

  #prepare({ workerId, shardId, stage }: Action<'prepare'>): void {
    const worker = this.#member(workerId);
    expect(worker.isDraining).toBe(false);
    // Of what it held when it came back the controller asks for the report, once.
    expect(worker.loading).not.toContain(shardId);
    worker.holdings.set(shardId, stage.bytes);
    worker.loading.add(shardId);
  }

  #assign({ current }: Action<'assign'>): void {
    expect(this.alive).toBeNull();
    expect(current.epoch).toBeGreaterThan(this.lastEpoch);
    expect(current.shardIds).toHaveLength(current.plan.stages.length);
    for (const [index, { workerId }] of current.plan.stages.entries()) {
      const { holdings, loading, member } = this.#member(workerId);
      const shardId = current.shardIds[index] ?? '';
      expect([...holdings.keys()]).toContain(shardId);
      expect(loading).not.toContain(shardId);
      expect(this.#failedUntilMs.get(member.identity) ?? 0).toBeLessThanOrEqual(this.nowMs);
    }
    this.lastEpoch = current.epoch;
    this.alive = { current, ready: new Set(), state: 'starting' };
  }

  #changeEpoch({ kind, current }: Action<'retire' | 'canary' | 'live'>): void {
    const { alive } = this;
    expect(alive?.current).toBe(current);
    if (!alive) return;
    if (kind === 'retire') {
      this.alive = null;
      return;
    }
    expect(alive.state).toBe(kind === 'canary' ? 'starting' : 'canary');
    expect(alive.ready.size).toBe(current.plan.stages.length);
    alive.state = kind;
  }

  #member(workerId: string): SimulatedWorker {
    const worker = this.members.get(workerId);
    if (!worker) throw new Error(`There is no worker ${workerId}.`);
    return worker;
  }

  /** Needs the memory of about two workers. */
  #input(members: readonly Member[]): PlannerInput {
    return {
      model: {
        name: 'the model',
        layerBytes: Array<number>(6).fill(100),
        layerKinds: Array<number>(6).fill(0),
        layerWords: Array<string>(6).fill(''),
        inputBytes: 50,
        outputBytes: 60,
        cacheType: 'f16',
        kvBytesPerSlot: Array<number>(6).fill(1),
        arenaSlots: 10,
        overheadBytes: 20,
        activationBytes: 1000,
      },
      workers: members.map(({ workerId, name, memoryBytes, profile }) => ({
        workerId,
        name,
        memoryBytes,
        ...profile,
        curvesByKind: [profile.layerCurve],
      })),
      link: (from, to) => {
        const isRelayed = from !== null && to !== null && this.#relayed.has(to);
        return { latencyMicros: isRelayed ? 2000 : 50, bytesPerSecond: 1e8, isRelayed };
      },
      objective: 'latency',
      concurrency: 1,
    };
  }
}

function pickOf<T>(all: readonly T[], pick: number): T | undefined {
  return all[pick % Math.max(1, all.length)];
}
