import { ButterflyError, type Clock, type WorkerObserver, toButterflyError } from '@butterfly/common';
import { ConstraintHost } from '@butterfly/constraint';
import type { Membership } from '@butterfly/identity';
import { type ModelSpec, modelFingerprint, parseModelSpec } from '@butterfly/model';
import {
  LocalSource,
  PeerWeights,
  RemoteSource,
  type WeightCache,
  openShardSource,
} from '@butterfly/weights';
import {
  type Connection,
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
import { Epochs } from './epochs.js';
import type { IncomingLinks } from '../peers/stage-links.js';
import type { PeerGuests } from '../peers/peer-guests.js';
import { measureLink } from '../profile/measured-link.js';
import type { MeasuredProfile } from '../profile/profile-cache.js';
import type { PeerSecret } from '../peers/peer-secret.js';
import { Renewals } from './renewals.js';
import type { ShardClient, ShardHolder } from './shards.js';

/** A model as an orchestrator wants it run. */
export interface WelcomedModel {
  readonly spec: ModelSpec;
  readonly isDeterministic: boolean;
  /** The same for the same weights and settings, whatever orchestrator names them. */
  readonly modelKey: string;
}

/** What a worker has whoever its orchestrator is. */
export interface SessionParts {
  readonly shards: ShardHolder;
  readonly secret: PeerSecret;
  readonly links: IncomingLinks;
  readonly guests: PeerGuests;
  readonly measure: (model: WelcomedModel) => Promise<MeasuredProfile>;
  readonly cache: WeightCache | null;
  /** Whether the model's files on this machine may be used. */
  readonly localFiles: boolean;
  readonly membership: Membership;
  readonly transport: Transport;
  readonly clock: Clock;
  readonly observe: WorkerObserver;
  /** Told of each step that comes to this worker, and of each that is done. */
  readonly onStep: () => void;
}

/**
 * The work for one orchestrator over one connection, from its welcome to its end: measures this machine on the model,
 * then loads shards and serves epochs as it is told. What it loaded outlives it.
 */
export class Session {
  readonly workerId: string;
  readonly #model: WelcomedModel;
  readonly #constraints: ConstraintHost;
  readonly #epochs: Epochs;
  readonly #remote: RemoteSource;
  readonly #weights: PeerWeights;
  readonly #renewals: Renewals;
  /** Null until this machine is measured. */
  #client: ShardClient | null = null;

  /** @throws ButterflyError CONFIG_INVALID for a model that this version does not know */
  constructor(
    private readonly welcome: ControlMessageOf<'welcome'>,
    private readonly connection: Connection,
    private readonly parts: SessionParts,
  ) {
    const { cache, localFiles, clock } = parts;
    const { heartbeatEveryMs: everyMs, heartbeatSilenceMs: silenceMs, peerToken } = welcome;
    this.workerId = welcome.workerId;
    this.#model = welcomedModel(welcome);
    connection.setHeartbeat({ everyMs, silenceMs });
    this.#constraints = new ConstraintHost(clock);
    this.#epochs = new Epochs({
      ...parts,
      constraints: this.#constraints,
      orchestrator: connection,
      peerToken,
    });
    this.#remote = new RemoteSource(connection, clock);
    this.#weights = new PeerWeights({ spec: this.#model.spec, cache, localFiles });
    this.#renewals = new Renewals(connection, parts.membership, clock);
    parts.secret.change(peerToken);
    parts.guests.offer(this.#weights);
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

  /** The connection is closed: ends all epochs, and every read from the orchestrator. */
  async end(): Promise<void> {
    this.#renewals.end();
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
      case 'renewed':
        this.#during(this.#renewals.receive(message));
        return;
      case 'revoked':
        this.parts.membership.revoked(message.members);
        return;
      case 'probe':
        this.#during(this.#probe(message));
        return;
      case 'probeBlock':
        this.parts.guests.receive(this.connection, message);
        return;
      default:
        throw new ButterflyError('PROTOCOL_INVALID', `An orchestrator does not send "${message.kind}".`);
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
    if (!this.connection.isOpen) return;
    this.connection.send(
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
    if (!this.connection.isOpen) return;
    this.connection.send(encodeControl({ kind: 'profile', ...measured, hasFiles, cachedBytes }));
    this.#client = this.#shardClient(measured);
    shards.serve(this.#client);
  }

  #shardClient(profile: MeasuredProfile): ShardClient {
    const { peerToken } = this.welcome;
    return {
      ...this.#model,
      orchestrator: this.connection,
      profile,
      openSource: ({ sources }) =>
        openShardSource({
          ...this.parts,
          spec: this.#model.spec,
          sources,
          orchestrator: this.#remote,
          peerToken,
        }),
    };
  }

  async #probe({ requestId, host, port }: ControlMessageOf<'probe'>): Promise<void> {
    const { transport, clock } = this.parts;
    const { peerToken } = this.welcome;
    const measured = await measureLink({ host, port, peerToken, transport, clock });
    const { latencyMicros, bytesPerSecond } = measured ?? { latencyMicros: null, bytesPerSecond: null };
    this.connection.send(encodeControl({ kind: 'probed', requestId, latencyMicros, bytesPerSecond }));
  }

  /** Work beside the frames; what it throws ends the connection. */
  #during(work: Promise<void>): void {
    work.catch((thrown: unknown) => this.connection.fail(toButterflyError(thrown)));
  }
}

function welcomedModel({ model, isDeterministic }: ControlMessageOf<'welcome'>): WelcomedModel {
  const spec = parseModelSpec(model);
  return { spec, isDeterministic, modelKey: JSON.stringify([isDeterministic, modelFingerprint(spec)]) };
}

async function hasLocalFiles(spec: ModelSpec): Promise<boolean> {
  await using local = await LocalSource.open(spec);
  return local !== null;
}
