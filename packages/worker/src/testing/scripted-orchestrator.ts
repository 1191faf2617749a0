import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { type ButterflyError, ensure } from '@butterfly/common';
import type { ModelSpec } from '@butterfly/model';
import { ggml } from '@butterfly/stage/testing';
import {
  Channel,
  Connection,
  type ConnectionHandlers,
  type ControlMessage,
  type ControlMessageOf,
  type Frame,
  type FrameType,
  type Listener,
  decodeControl,
  encodeControl,
  encodeFileChunk,
  listen,
} from '@butterfly/wire';
import { nativeMachine } from '../control/native.js';
import { Worker, type WorkerOptions } from '../control/worker.js';

/** The other side of a connection, frame by frame. Progress is left out, which may come at any time. */
export class Party {
  readonly #frames: Frame[] = [];
  #wake: () => void = () => undefined;
  #tellClosed: (error: ButterflyError | null) => void = () => undefined;
  readonly closed = new Promise<ButterflyError | null>((resolve) => (this.#tellClosed = resolve));
  readonly handlers: ConnectionHandlers = {
    onFrame: (frame) => {
      if (frame.type === 'control' && decodeControl(frame).kind === 'progress') return;
      this.#frames.push(frame);
      this.#wake();
    },
    onClose: (error) => this.#tellClosed(error),
  };

  /** The next frame, which must be of this type. */
  async frame(type: FrameType): Promise<Frame> {
    while (this.#frames.length === 0) await new Promise<void>((resolve) => (this.#wake = resolve));
    const frame = this.#frames.shift();
    const found = frame?.type === 'control' ? JSON.stringify(decodeControl(frame)) : frame?.type;
    ensure(frame?.type === type, () => `A ${type} frame was expected, and ${found ?? 'none'} came.`);
    return frame;
  }

  /** The next message, which must be of this kind. */
  async next<K extends ControlMessage['kind']>(kind: K): Promise<ControlMessageOf<K>> {
    const message = decodeControl(await this.frame('control'));
    ensure(message.kind === kind, () => `"${kind}" was expected, and ${JSON.stringify(message)} came.`);
    return message as ControlMessageOf<K>;
  }

  /** All that have come and not been read. */
  take(): readonly ControlMessage[] {
    return this.#frames.splice(0).map(decodeControl);
  }
}

/** One worker's connection as the orchestrator has it. */
export class Member extends Party {
  readonly connection: Connection;
  /** Of the model. */
  readonly channel: Channel;

  constructor(socket: Socket) {
    super();
    this.connection = new Connection(socket, { handlers: this.handlers });
    this.channel = new Channel(this.connection, modelChannel);
  }

  /** About the model, or the connection, as it belongs. */
  send(message: ControlMessage): void {
    const outlet = ofConnection.has(message.kind) ? this.connection : this.channel;
    outlet.send(encodeControl(message));
  }

  /** Welcomes whoever said hello, opens a model and waits for the profile. */
  async welcome(
    spec: ModelSpec,
  ): Promise<ControlMessageOf<'hello'>['worker'] & Pick<ControlMessageOf<'profile'>, 'heldShards'>> {
    const { worker } = await this.next('hello');
    this.send(welcomeOf([modelChannel]));
    this.send(openingOf(spec));
    const { heldShards } = await this.next('profile');
    return { ...worker, heldShards };
  }

  /** Orders a shard and waits until it is prepared. */
  async prepare(order: ControlMessageOf<'prepare'>): Promise<ControlMessageOf<'prepared'>> {
    this.send(order);
    return this.next('prepared');
  }

  /** Answers one `fetch`. */
  answer({ requestId, fileIndex, offset, bytes }: ControlMessageOf<'fetch'>, spec: ModelSpec): void {
    const part = readFileSync(spec.files[fileIndex]?.path ?? '').subarray(offset, offset + bytes);
    const sha256 = createHash('sha256').update(part).digest();
    this.channel.send(encodeFileChunk({ requestId, bytes: part, sha256 }));
  }
}

export const peerToken = 'the secret of peers';
/** Of the model that members are welcomed with. */
export const modelChannel = 1;
const ofConnection: ReadonlySet<ControlMessage['kind']> = new Set([
  'welcome',
  'openModel',
  'closeModel',
  'probe',
  'probeBlock',
  'renewed',
  'revoked',
]);

/** @param channels of the models that are opened at once */
export const welcomeOf = (channels: readonly number[]): ControlMessageOf<'welcome'> => ({
  kind: 'welcome',
  workerId: 'w1',
  heartbeatEveryMs: 250,
  heartbeatSilenceMs: 10_000,
  peerToken,
  channels,
});

/** Of the one model of a test, unless it says otherwise. */
export const openingOf = (
  spec: ModelSpec,
  { channel = modelChannel, name = 'tested' }: { readonly channel?: number; readonly name?: string } = {},
): ControlMessageOf<'openModel'> => ({
  kind: 'openModel',
  channel,
  name,
  model: { ...spec },
  isDeterministic: false,
});

export const prepareOf = (
  shardId: string,
  layers: readonly [start: number, end: number],
): ControlMessageOf<'prepare'> => ({
  kind: 'prepare',
  shardId,
  layerStart: layers[0],
  layerEnd: layers[1],
  arenaSlots: 256,
  cacheType: 'f16',
  rowsMax: 64,
  sources: [],
});

/** An orchestrator that does what a test tells it. */
export class ScriptedOrchestrator implements AsyncDisposable {
  readonly #sockets: Socket[] = [];
  #wake: () => void = () => undefined;
  #listener: Listener | null = null;

  static async open(host = '127.0.0.1'): Promise<ScriptedOrchestrator> {
    const orchestrator = new ScriptedOrchestrator();
    orchestrator.#listener = await listen({
      host,
      port: 0,
      onConnection: (socket) => {
        orchestrator.#sockets.push(socket);
        orchestrator.#wake();
      },
    });
    return orchestrator;
  }

  get port(): number {
    return this.#listener?.port ?? 0;
  }

  /** The next connection. */
  async accept(): Promise<Member> {
    while (this.#sockets.length === 0) await new Promise<void>((resolve) => (this.#wake = resolve));
    const socket = this.#sockets.shift();
    ensure(socket !== undefined, () => 'There is a socket.');
    return new Member(socket);
  }

  /** Starts a worker that joins, welcomes it and waits for its profile. */
  async startWorker(
    spec: ModelSpec,
    options: Partial<WorkerOptions> = {},
  ): Promise<{ readonly worker: Worker; readonly member: Member; readonly dataPort: number }> {
    const starting = Worker.start({ ...workerOptions(this.port), ...options });
    const member = await this.accept();
    const { dataPort } = await member.welcome(spec);
    return { worker: await starting, member, dataPort };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#listener?.close();
  }
}

/** Real stages on one thread; their times are made up, because measuring them is another test's. */
export function workerOptions(port: number): WorkerOptions {
  const native = nativeMachine({
    device: 'cpu',
    ggml,
    threads: 1,
    memoryBytes: 1e9,
    directory: null,
    observe: () => undefined,
  });
  return {
    join: { host: '127.0.0.1', port },
    identity: {
      name: 'under test',
      machineId: 'here',
      butterflyVersion: '0',
      ggmlVersion: '0',
      cpuVariant: 'any',
      cpuFeatures: [],
      platform: 'any',
      arch: 'any',
      threads: 1,
      memoryBytes: 1e9,
    },
    stages: native.stages,
    profiler: () =>
      Promise.resolve({
        layerCurve: [{ rows: 1, micros: 10 }],
        outputCurve: [{ rows: 1, micros: 10 }],
        attentionMicros: { f16: 1, bf16: 1, q8_0: 1 },
        diskBytesPerSecond: 1e9,
      }),
    rejoins: true,
    observe: () => undefined,
  };
}
