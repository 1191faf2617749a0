import { ButterflyError, toButterflyError } from '@butterfly/common';
import type { Membership } from '@butterfly/identity';
import {
  Channel,
  type Connection,
  type ControlMessageOf,
  type ReceivedFrame,
  decodeControl,
  decodeFileChunk,
  encodeControl,
} from '@butterfly/wire';
import { ModelSession, type ModelParts } from './model-session.js';
import { measureLink } from '../profile/measured-link.js';
import type { PeerSecret } from '../peers/peer-secret.js';
import { Renewals } from './renewals.js';

/** What a worker has whoever its orchestrator is. */
export interface SessionParts extends ModelParts {
  readonly secret: PeerSecret;
  readonly membership: Membership;
}

/** The work for one orchestrator over one connection, from its welcome to its end: each model that it opens has a channel. */
export class Session {
  readonly workerId: string;
  /** By channel. */
  readonly #models = new Map<number, ModelSession>();
  /** Of models that the orchestrator will open at once: until then nobody knows what is held for nothing. */
  readonly #awaited: Set<number>;
  /** Of models that were closed, but for a step that is still computed. */
  readonly #ending = new Set<Promise<void>>();
  readonly #renewals: Renewals;

  constructor(
    private readonly welcome: ControlMessageOf<'welcome'>,
    private readonly connection: Connection,
    private readonly parts: SessionParts,
  ) {
    const { heartbeatEveryMs: everyMs, heartbeatSilenceMs: silenceMs, peerToken, channels } = welcome;
    this.workerId = welcome.workerId;
    connection.setHeartbeat({ everyMs, silenceMs });
    this.#renewals = new Renewals(connection, parts.membership, parts.clock);
    parts.secret.change(peerToken);
    this.#awaited = new Set(channels);
    this.#letOthersGo();
  }

  /**
   * Takes a frame of the orchestrator; one about a model that was closed is dropped.
   * @throws ButterflyError PROTOCOL_INVALID for one that is out of place
   */
  receive(frame: ReceivedFrame): void {
    if (frame.channel !== 0) this.#models.get(frame.channel)?.receive(frame);
    // Bytes that nobody asked for, before a block: the orchestrator times the way here by them.
    else if (frame.type === 'fileChunk') decodeFileChunk(frame);
    else this.#obey(frame);
  }

  /** The connection is closed: ends the work on all models. */
  async end(): Promise<void> {
    this.#renewals.end();
    const models = [...this.#models.values()];
    this.#models.clear();
    await Promise.all([...models.map((model) => model.end()), ...this.#ending]);
  }

  #obey(frame: ReceivedFrame): void {
    const message = decodeControl(frame);
    switch (message.kind) {
      case 'openModel':
        this.#open(message);
        return;
      case 'closeModel':
        this.#close(message.channel);
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
        this.parts.guests.answerProbe(this.connection, message);
        return;
      default:
        throw new ButterflyError('PROTOCOL_INVALID', `An orchestrator does not send "${message.kind}".`);
    }
  }

  /** @throws ButterflyError PROTOCOL_INVALID for a channel in use; CONFIG_INVALID for a model that this version does not know */
  #open(message: ControlMessageOf<'openModel'>): void {
    const { channel } = message;
    if (this.#models.has(channel))
      throw new ButterflyError('PROTOCOL_INVALID', `Channel ${channel} has a model already.`);
    const { peerToken } = this.welcome;
    const model = new ModelSession(message, new Channel(this.connection, channel), peerToken, this.parts);
    this.#models.set(channel, model);
    if (this.#awaited.delete(channel)) this.#letOthersGo();
  }

  #close(channel: number): void {
    const model = this.#models.get(channel);
    if (!model) return;
    this.#models.delete(channel);
    const ended = model.end().then(() => void this.#ending.delete(ended));
    this.#ending.add(ended);
    this.parts.shards.forget(model.modelKey);
  }

  /** Once it is known what will be served, what is held of all else is for nothing. */
  #letOthersGo(): void {
    if (this.#awaited.size > 0) return;
    this.parts.shards.keepOnly(new Set([...this.#models.values()].map(({ modelKey }) => modelKey)));
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
