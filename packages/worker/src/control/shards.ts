import { ButterflyError, type Clock, type WorkerObserver, limits, toButterflyError } from '@butterfly/common';
import type { ModelSpec } from '@butterfly/model';
import type { Stage, StageFactory } from '@butterfly/stage';
import type { ShardSource } from '@butterfly/weights';
import { type ControlMessageOf, type Outlet, type WorkerProfile, encodeControl } from '@butterfly/wire';

type Prepare = ControlMessageOf<'prepare'>;
type Prepared = ControlMessageOf<'prepared'>;

/** Who asks for a shard, and what loading it takes: all of one model on one connection to the orchestrator. */
export interface ShardClient {
  /** Takes the answers. */
  readonly orchestrator: Pick<Outlet, 'send'>;
  readonly spec: ModelSpec;
  /** The same for the same model with the same settings, whatever orchestrator asks. */
  readonly modelKey: string;
  readonly isDeterministic: boolean;
  readonly profile: Pick<WorkerProfile, 'layerCurve' | 'kindCurves' | 'hostExperts' | 'outputCurve'>;
  /** Opens the way to the weights. Disposing it ends the reads under way. */
  openSource(order: Prepare): Promise<ShardSource>;
}

/** The use of a shard by one epoch, until it is disposed. */
export interface ShardLease extends Disposable {
  readonly stage: Stage;
  readonly layers: readonly [first: number, last: number];
}

interface Loaded {
  readonly stage: Stage;
  readonly prepared: Prepared;
}

/** A shard from being asked for to being disposed. */
interface Shard {
  readonly order: Prepare;
  readonly modelKey: string;
  /** The latest to have asked. */
  client: ShardClient;
  readonly abort: AbortController;
  /** Null while it loads. */
  loaded: Loaded | null;
  /** Resolves when it is loaded, or will never be. */
  loading: Promise<void>;
  /** Resolves when the last of its epochs so far is over. */
  free: Promise<void>;
  leases: number;
  /** Whether its loading began for a connection that is lost, and no other has asked for it: nobody counts its memory. */
  isOrphan: boolean;
}

/** Progress is told at most this often. */
const progressEveryMs = 200;

/**
 * The shards of a worker, whatever epochs they serve: loaded one after the other and kept until they are released. They
 * outlive the connection that asked for them.
 */
export class ShardHolder {
  readonly #shards = new Map<string, Shard>();
  /** Shards load one after the other: together they would only share the disk, the network and the processors. */
  #turn: Promise<void> = Promise.resolve();
  /** The ends of epochs whose shards were released meanwhile: what they take is to be free before more is loaded. */
  readonly #leaving = new Set<Promise<void>>();

  constructor(
    private readonly options: {
      readonly stages: StageFactory;
      readonly clock: Clock;
      readonly observe: WorkerObserver;
    },
  ) {}

  /** What is loaded of a model. */
  heldIds(modelKey: string): readonly string[] {
    return [...this.#shards]
      .filter(([, shard]) => shard.loaded !== null && shard.modelKey === modelKey)
      .map(([shardId]) => shardId);
  }

  /** Loads a shard; one that is held is answered at once. The answer, `prepared` or `unprepared`, goes to the client. */
  prepare(order: Prepare, client: ShardClient): void {
    const { shardId } = order;
    const { modelKey } = client;
    const known = this.#shards.get(shardId);
    if (known) {
      known.client = client;
      known.isOrphan = false;
      if (known.loaded) client.orchestrator.send(encodeControl(known.loaded.prepared));
      return;
    }
    const others = [...this.#shards].filter(([, shard]) => shard.modelKey === modelKey);
    for (const [id, { isOrphan, loaded }] of others) if (isOrphan && !loaded) this.release(id);
    if (others.filter(([id]) => this.#shards.has(id)).length >= limits.shardsHeldMax) {
      const message = `This worker holds ${limits.shardsHeldMax} shards of the model already; release one of them first.`;
      refuse(order, client, new ButterflyError('PROTOCOL_INVALID', message));
      return;
    }
    const shard: Shard = {
      order,
      modelKey,
      client,
      abort: new AbortController(),
      loaded: null,
      loading: Promise.resolve(),
      free: Promise.resolve(),
      leases: 0,
      isOrphan: false,
    };
    this.#shards.set(shardId, shard);
    this.#turn = shard.loading = this.#turn.then(() => this.#load(shard));
  }

  /**
   * From now on everything is told to this client: what is loaded at once, so that a new orchestrator knows it as the
   * one before did, and what is still loading as soon as it is, unless something else is asked for before.
   */
  serve(client: ShardClient): void {
    for (const shard of this.#shards.values()) {
      if (shard.modelKey !== client.modelKey) continue;
      this.prepare(shard.order, client);
      shard.isOrphan = shard.loaded === null;
    }
  }

  /** Gives up what is held of all other models. */
  keepOnly(modelKeys: ReadonlySet<string>): void {
    for (const [shardId, { modelKey }] of this.#shards) if (!modelKeys.has(modelKey)) this.release(shardId);
  }

  /** Gives up what is held of a model. */
  forget(modelKey: string): void {
    for (const [shardId, shard] of this.#shards) if (shard.modelKey === modelKey) this.release(shardId);
  }

  /** Gives a shard up: ends its loading, or disposes it as soon as no epoch uses it. */
  release(shardId: string): void {
    const shard = this.#shards.get(shardId);
    if (!shard) return;
    this.#shards.delete(shardId);
    shard.abort.abort(new ButterflyError('CANCELLED', 'The shard is not wanted any more.'));
    disposeUnused(shard);
    if (shard.leases === 0) return;
    const left = shard.free.then(() => void this.#leaving.delete(left));
    this.#leaving.add(left);
  }

  /**
   * The use of a shard by one epoch: waits until it is loaded, and until the epoch before is over.
   * @throws ButterflyError PROTOCOL_INVALID for a shard that is not held
   */
  async lease(shardId: string): Promise<ShardLease> {
    const shard = this.#shards.get(shardId);
    await shard?.loading;
    if (!shard?.loaded || shard.abort.signal.aborted)
      throw new ButterflyError('PROTOCOL_INVALID', `Shard ${shardId} is not held by this worker.`);
    const { stage } = shard.loaded;
    const { free } = shard;
    let giveBack: () => void = () => undefined;
    shard.free = new Promise((resolve) => (giveBack = resolve));
    shard.leases++;
    await free;
    return {
      stage,
      layers: layersOf(shard.order),
      [Symbol.dispose]: () => {
        shard.leases--;
        giveBack();
        disposeUnused(shard);
      },
    };
  }

  /** Releases everything. No epoch may use any of it. */
  async close(): Promise<void> {
    for (const shardId of this.#shards.keys()) this.release(shardId);
    await this.#turn;
  }

  async #load(shard: Shard): Promise<void> {
    const { order, abort } = shard;
    for (;;) {
      const { client } = shard;
      try {
        const loaded = await this.#loadFor(order, client, abort.signal);
        shard.loaded = loaded;
        if (abort.signal.aborted) disposeUnused(shard);
        // Whoever asks may have changed meanwhile.
        else shard.client.orchestrator.send(encodeControl(loaded.prepared));
        return;
      } catch (thrown) {
        if (abort.signal.aborted) return;
        // The connection was lost and came back, and its successor wants the same.
        if (shard.client !== client) continue;
        const error = toButterflyError(thrown);
        const { code, message } = error;
        this.options.observe({ kind: 'weightsNotLoaded', shardId: order.shardId, code, message });
        this.#shards.delete(order.shardId);
        refuse(order, client, error);
        return;
      }
    }
  }

  async #loadFor(order: Prepare, client: ShardClient, signal: AbortSignal): Promise<Loaded> {
    await Promise.all(this.#leaving);
    signal.throwIfAborted();
    const { stages, clock, observe } = this.options;
    const { shardId, layerStart, layerEnd, hostExperts = 0, arenaSlots, cacheType, rowsMax } = order;
    const { spec, isDeterministic, profile } = client;
    const startedMs = clock.nowMs();
    const range = { layerStart, layerEnd };
    observe({ kind: 'weightsLoading', shardId, layers: layersOf(order) });
    const settings = { hostExperts, arenaSlots, cacheType, rowsMax, isDeterministic };
    const stage = stages.create({ spec, range, ...settings });
    try {
      await using source = await client.openSource(order);
      signal.throwIfAborted();
      // A read under way would end only with the network.
      signal.addEventListener('abort', () => void source[Symbol.asyncDispose]());
      await stage.load(source, this.#progress(order, stage.fileBytes, signal));
      const loaded = { ...source.counts, elapsedMs: clock.nowMs() - startedMs };
      const warmth = await stage.warmUp(profile, () => signal.throwIfAborted());
      signal.throwIfAborted();
      const warmUpMs = clock.nowMs() - startedMs - loaded.elapsedMs;
      const { sharedBytes } = stage;
      observe({ kind: 'weightsLoaded', shardId, ...loaded, sharedBytes, warmUpMs });
      const prepared: Prepared = {
        kind: 'prepared',
        shardId,
        shardBytes: stage.shardBytes,
        arenaBytes: stage.arenaBytes,
        residentBytes: process.memoryUsage.rss(),
        stepCurve: warmth.curve,
        isBatchInvariant: warmth.isBatchInvariant,
        loaded,
      };
      return { stage, prepared };
    } catch (thrown) {
      stage[Symbol.dispose]();
      throw thrown;
    }
  }

  /** Tells how far loading is, not too often, and ends it when it is not wanted any more. */
  #progress({ shardId }: Prepare, totalBytes: number, signal: AbortSignal): (loadedBytes: number) => void {
    const { clock } = this.options;
    let toldMs = -Infinity;
    return (loadedBytes) => {
      signal.throwIfAborted();
      const nowMs = clock.nowMs();
      if (nowMs - toldMs < progressEveryMs && loadedBytes < totalBytes) return;
      toldMs = nowMs;
      const progress = encodeControl({ kind: 'progress', shardId, loadedBytes, totalBytes });
      this.#shards.get(shardId)?.client.orchestrator.send(progress);
    };
  }
}

function layersOf({ layerStart, layerEnd }: Prepare): ShardLease['layers'] {
  return [layerStart, layerEnd - 1];
}

function refuse(
  { shardId }: Prepare,
  { orchestrator }: ShardClient,
  { code, message }: ButterflyError,
): void {
  orchestrator.send(encodeControl({ kind: 'unprepared', shardId, code, message }));
}

/** A released shard goes with the last epoch that uses it. */
function disposeUnused({ abort, leases, loaded }: Shard): void {
  if (abort.signal.aborted && leases === 0) loaded?.stage[Symbol.dispose]();
}
