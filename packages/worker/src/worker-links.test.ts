import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { fileURLToPath } from 'node:url';
import {
  Connection,
  decodeControl,
  dial,
  encodeControl,
  encodeFileChunk,
  listen,
  silentLogger,
  type ControlMessage,
  type ControlMessageOf,
} from '@butterfly/common';
import { loadGgml } from '@butterfly/ggml';
import { describeModel, openGguf } from '@butterfly/model';
import { describe, expect, it } from 'vitest';
import { Worker } from './worker.js';

const model = fileURLToPath(new URL('../../../../shared/models/aidreams-260k.gguf', import.meta.url));
const identity = {
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
  weightBytesPerSecond: 1e9,
  attentionMicros: { f16: 1, bf16: 1, q8_0: 1 },
};

/** The other side of a connection, message by message. */
class Party {
  readonly #messages: ControlMessage[] = [];
  #wake: () => void = () => undefined;
  readonly handlers = {
    onFrame: (frame: Parameters<typeof decodeControl>[0]): void => {
      this.#messages.push(decodeControl(frame));
      this.#wake();
    },
    onClose: (): void => undefined,
  };

  /** The next message, which must be of this kind. */
  async next<K extends ControlMessage['kind']>(kind: K): Promise<ControlMessageOf<K>> {
    while (this.#messages.length === 0) await new Promise<void>((resolve) => (this.#wake = resolve));
    const message = this.#messages.shift();
    expect(message?.kind).toBe(kind);
    return message as ControlMessageOf<K>;
  }

  /** All that have come and not been read. */
  take(): readonly ControlMessage[] {
    return this.#messages.splice(0);
  }
}

describe('the link from the stage before', () => {
  it('is welcome while this stage still loads, however long that takes', async () => {
    const bytes = readFileSync(model);
    const spec = describeModel(await openGguf(model, { log: silentLogger }));
    const orchestrator = new Party();
    let accept: (socket: Socket) => void = () => undefined;
    const accepted = new Promise<Socket>((resolve) => (accept = resolve));
    const listener = await listen({ host: '127.0.0.1', port: 0, onConnection: (socket) => accept(socket) });
    const starting = Worker.start({
      join: { host: '127.0.0.1', port: listener.port },
      token: null,
      identity,
      ggml: loadGgml({ log: silentLogger }),
      log: silentLogger,
      remoteOnly: true,
    });
    const connection = new Connection(await accepted, { handlers: orchestrator.handlers });
    const { worker: joined } = await orchestrator.next('hello');
    connection.send(
      encodeControl({ kind: 'welcome', workerId: 'w1', heartbeatEveryMs: 500, heartbeatSilenceMs: 10_000 }),
    );
    const worker = await starting;
    connection.send(
      encodeControl({
        kind: 'assign',
        epoch: 1,
        stageIndex: 1,
        stageCount: 2,
        layerStart: 2,
        layerEnd: 4,
        model: spec,
        arenaSlots: 256,
        cacheType: 'f16',
        rowsMax: 64,
        next: null,
        linkToken: 'secret',
      }),
    );
    const unanswered = [await orchestrator.next('fetch')];

    const stageBefore = new Party();
    const link = await dial({ host: '127.0.0.1', port: joined.dataPort, handlers: stageBefore.handlers });
    link.send(encodeControl({ kind: 'link', linkToken: 'secret', epoch: 1, fromStage: 0 }));
    expect(await stageBefore.next('linked')).toEqual({ kind: 'linked', epoch: 1 });

    for (let isReady = false; !isReady;) {
      for (const message of [...unanswered.splice(0), ...orchestrator.take()]) {
        if (message.kind === 'ready') isReady = true;
        if (message.kind !== 'fetch') continue;
        const part = bytes.subarray(message.offset, message.offset + message.bytes);
        connection.send(
          encodeFileChunk({
            requestId: message.requestId,
            bytes: part,
            sha256: createHash('sha256').update(part).digest(),
          }),
        );
      }
      await new Promise((resolve) => setImmediate(resolve));
    }
    const closed = once(await accepted, 'close');
    await worker.stop();
    await closed;
    await Promise.all([link.close(), listener.close()]);
  });
});
