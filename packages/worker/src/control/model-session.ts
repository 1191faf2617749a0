import { ButterflyError, type Clock, type WorkerObserver, toButterflyError } from '@butterfly/common';
import { ConstraintHost } from '@butterfly/constraint';
import { type ModelSpec, modelFingerprint, parseModelSpec } from '@butterfly/model';
import {
  LocalSource,
  PeerWeights,
  RemoteSource,
  type WeightCache,
  openShardSource,
} from '@butterfly/weights';
import {
  type Channel,
  type ControlMessageOf,
  type Frame,
  type Transport,
  decodeActivations,
  decodeControl,
  decodeFileChunk,
  decodeStep,
  decodeVocabulary,
  encodeControl,
} from '@butterfly/wire';
import type { ComputeTurns } from './compute-turns.js';
import { Epochs } from './epochs.js';
import type { IncomingLinks } from '../peers/stage-links.js';
import type { PeerGuests } from '../peers/peer-guests.js';
import type { MeasuredProfile } from '../profile/profile-cache.js';
import type { ShardClient, ShardHolder } from './shards.js';

/** A model as an orchestrator wants it run. */
export interface WantedModel {
  readonly spec: ModelSpec;
  readonly isDeterministic: boolean;
  /** The same for the same weights and settings, whatever orchestrator names them. */
  readonly weightsKey: string;
}

/** What is there whatever models are open. */
export interface ModelParts {
  readonly shards: ShardHolder;
  readonly links: IncomingLinks;
  readonly guests: PeerGuests;
  readonly turns: ComputeTurns;
  readonly measure: (model: WantedModel) => Promise<MeasuredProfile>;
  readonly cache: WeightCache | null;
  /** Whether the model's files on this machine may be used. */
  readonly localFiles: boolean;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly observe: WorkerObserver;
  /** Told of each step that comes to this worker, and of each that is done. */
  readonly onStep: () => void;
}

/**
 * The work on one model of one orchestrator, from its opening to its end: measures this machine on it, then loads shards and
 * serves epochs as it is told. What it loaded outlives the connection, but not the model.
 */
export class ModelSession {
  /** The same for the same model under the same name, whatever orchestrator opens it. */
  readonly modelKey: string;
  readonly #model: WantedModel;
  readonly #constraints: ConstraintHost;
  readonly #epochs: Epochs;
  readonly #remote: RemoteSource;
  readonly #weights: PeerWeights;
  /** Null until this machine is measured. */
  #client: ShardClient | null = null;
  #isOver = false;

  /** @throws ButterflyError CONFIG_INVALID for a model that this version does not know */
  constructor(
    opened: ControlMessageOf<'openModel'>,
    private readonly channel: Channel,
    private readonly peerToken: string,
    private readonly parts: ModelParts,
  ) {
    const { cache, localFiles, clock, guests } = parts;
    this.#model = wantedModel(opened);
    this.modelKey = JSON.stringify([opened.name, this.#model.weightsKey]);
    this.#constraints = new ConstraintHost(clock);
    this.#epochs = new Epochs({ ...parts, constraints: this.#constraints, orchestrator: channel, peerToken });
    this.#remote = new RemoteSource(channel, clock);
    this.#weights = new PeerWeights({ spec: this.#model.spec, cache, localFiles });
    guests.offer(channel.number, this.#weights);
    this.#during(this.#introduce());
  }

  /** Takes a frame of the orchestrator. @throws ButterflyError PROTOCOL_INVALID for one that is out of place */
  receive(frame: Frame): void {
    switch (frame.type) {
      case 'step':
        this.#epochs.enqueue(decodeStep(frame));
        return;
      case 'activations':
        this.#epochs.receive(decodeActivations(frame));
        return;
      case 'fileChunk':
        this.#remote.receive(decodeFileChunk(frame));
        return;
      case 'vocabulary':
        this.#constraints.use(decodeVocabulary(frame));
        return;
      default:
        this.#obey(frame);
    }
  }

  /** The model, or the connection, is closed: ends all epochs, and every read from the orchestrator. */
  async end(): Promise<void> {
    this.#isOver = true;
    this.channel.close();
    this.parts.guests.withdraw(this.channel.number);
    this.#remote.fail(new ButterflyError('CONNECTION_CLOSED', 'The orchestrator is gone.'));
    await Promise.all([this.#epochs.close(), this.#weights.close()]);
    await this.#constraints.close();
  }

  #obey(frame: Frame): void {
    const message = decodeControl(frame);
    switch (message.kind) {
      case 'prepare':
        if (!this.#client)
          throw new ButterflyError('PROTOCOL_INVALID', 'A shard was ordered of a worker without profile.');
        this.parts.shards.prepare(message, this.#client);
        return;
      case 'release':
        this.parts.shards.release(message.shardId);
        return;
      case 'assign':
        this.#epochs.assign(message);
        return;
      case 'unassign':
        this.#epochs.unassign(message.epoch);
        return;
      case 'witness':
        this.#epochs.witness(message);
        return;
      case 'constraint':
        this.#during(this.#holdTo(message));
        return;
      case 'dropConstraint':
        this.#constraints.drop(message.constraintId);
        return;
      case 'fetchMissing':
        this.#remote.missing(message);
        return;
      case 'digested':
        this.#remote.receiveDigests(message);
        return;
      default:
        throw new ButterflyError(
          'PROTOCOL_INVALID',
          `An orchestrator does not send "${message.kind}" about a model.`,
        );
    }
  }

  /** Compiles a constraint, beside all else, and tells how that went. */
  async #holdTo({ constraintId, grammar }: ControlMessageOf<'constraint'>): Promise<void> {
    let refusal: ButterflyError | null = null;
    try {
      await this.#constraints.prepare(constraintId, grammar);
    } catch (thrown) {
      refusal = toButterflyError(thrown);
    }
    this.channel.send(
      encodeControl(
        refusal
          ? { kind: 'constraintRefused', constraintId, code: refusal.code, message: refusal.message }
          : { kind: 'constraintReady', constraintId },
      ),
    );
  }

  /** Says how fast this machine is and what it has, after which shards may be ordered. */
  async #introduce(): Promise<void> {
    const { measure, cache, localFiles, shards } = this.parts;
    const { spec } = this.#model;
    const measured = await measure(this.#model);
    const cachedBytes = (await cache?.bytesOf(spec)) ?? 0;
    const hasFiles = localFiles && (await hasLocalFiles(spec));
    if (!this.channel.isOpen) return;
    const heldShards = [...shards.heldIds(this.modelKey)];
    this.channel.send(encodeControl({ kind: 'profile', ...measured, hasFiles, cachedBytes, heldShards }));
    this.#client = this.#shardClient(measured);
    shards.serve(this.#client);
  }

  #shardClient(profile: MeasuredProfile): ShardClient {
    const { spec, isDeterministic } = this.#model;
    const { peerToken, channel, modelKey } = this;
    return {
      ...{ spec, isDeterministic, modelKey, profile },
      orchestrator: channel,
      openSource: ({ sources }) =>
        openShardSource({
          ...this.parts,
          ...{ spec, sources, peerToken },
          channel: channel.number,
          orchestrator: this.#remote,
        }),
    };
  }

  /** Work beside the frames; what it throws ends the connection, unless the model is closed anyway. */
  #during(work: Promise<void>): void {
    work.catch((thrown: unknown) => {
      if (!this.#isOver) this.channel.fail(toButterflyError(thrown));
    });
  }
}

function wantedModel({ model, isDeterministic }: ControlMessageOf<'openModel'>): WantedModel {
  const spec = parseModelSpec(model);
  return { spec, isDeterministic, weightsKey: JSON.stringify([isDeterministic, modelFingerprint(spec)]) };
}

async function hasLocalFiles(spec: ModelSpec): Promise<boolean> {
  await using local = await LocalSource.open(spec);
  return local !== null;
}
