import { createHash } from 'node:crypto';
import type { Socket } from 'node:net';
import { afterEach, describe, expect, it } from 'vitest';
import { ButterflyError, limits, toButterflyError } from '@butterfly/common';
import { Connection } from './connection.js';
import { decodeControl, encodeControl, type ControlMessage } from '../messages/messages.js';
import { RangeServer, type RangeReader } from './range-server.js';
import { decodeFileChunk } from '../frames/step.js';
import { dial, listen, type Listener } from './transport.js';
import type { FileChunk } from '../frames/types.js';

const most = limits.fileFetchesInFlightMax;
let listener: Listener | null = null;
const clients: Connection[] = [];
afterEach(async () => {
  for (const client of clients.splice(0))
    client.destroy(new ButterflyError('CANCELLED', 'The test is over.'));
  await listener?.close();
});

/** A server on this machine; `connect` gives clients that ask and count what comes. */
async function serve(read: RangeReader) {
  const server = new RangeServer(read);
  listener = await listen({
    host: '127.0.0.1',
    port: 0,
    onConnection: (socket: Socket) => {
      new Connection(socket, {
        handlers: {
          onFrame: (frame, from) => {
            const message = decodeControl(frame);
            if (message.kind === 'fetch')
              server.serve(from, message).catch((error: unknown) => from.fail(toButterflyError(error)));
          },
          onClose: () => undefined,
        },
      });
    },
  });
  const { port } = listener;
  return { connect: () => connect(port) };
}

function words(answer: FileChunk | ControlMessage): string {
  if ('kind' in answer) return 'requestId' in answer ? `${answer.requestId}: ${answer.kind}` : answer.kind;
  const { requestId, bytes, sha256 } = answer;
  expect(createHash('sha256').update(bytes).digest().equals(sha256)).toBe(true);
  return `${requestId}: ${bytes.join()}`;
}

async function connect(port: number) {
  const answers: string[] = [];
  let wake: () => void = () => undefined;
  const connection = await dial({
    host: '127.0.0.1',
    port,
    handlers: {
      onFrame: (frame) => {
        answers.push(
          frame.type === 'fileChunk' ? words(decodeFileChunk(frame)) : words(decodeControl(frame)),
        );
        wake();
      },
      onClose: (error) => {
        answers.push(error?.code ?? 'bye');
        wake();
      },
    },
  });
  clients.push(connection);
  return {
    answers,
    connection,
    ask: (requestId: number, offset = 0, bytes = 3) =>
      connection.send(encodeControl({ kind: 'fetch', requestId, fileIndex: 0, offset, bytes })),
    /** Resolves when the server has taken all that was asked. */
    heard: async () => {
      connection.send(encodeControl({ kind: 'ping', sentAtMs: 0 }));
      while (connection.roundTripMs === null) await new Promise((resolve) => setImmediate(resolve));
    },
    answered: async (count: number) => {
      while (answers.length < count) await new Promise<void>((resolve) => (wake = resolve));
      return answers;
    },
  };
}

/** Reads that end when the test says so. */
function heldReads() {
  const held: (() => void)[] = [];
  let wake: () => void = () => undefined;
  const read: RangeReader = () =>
    new Promise((resolve) => {
      held.push(() => resolve(Uint8Array.of(1, 2, 3)));
      wake();
    });
  return {
    held,
    read,
    begun: async (count: number) => {
      while (held.length < count) await new Promise<void>((resolve) => (wake = resolve));
    },
  };
}

describe('RangeServer', () => {
  it('answers with the bytes and their hash, or that it does not have them', async () => {
    const { connect: join } = await serve(({ offset }) =>
      Promise.resolve(offset === 0 ? Uint8Array.of(4, 5, 6) : null),
    );
    const client = await join();
    client.ask(1);
    client.ask(2, 100);
    expect([...(await client.answered(2))].sort()).toEqual(['1: 4,5,6', '2: fetchMissing']);
  });

  it('refuses who asks for too much at once', async () => {
    const { read } = heldReads();
    const client = await (await serve(read)).connect();
    for (let id = 0; id <= most; id++) client.ask(id);
    expect(await client.answered(1)).toEqual(['PROTOCOL_INVALID']);
  });

  it('reads no more at once than there is memory for, however many ask, and answers all in the end', async () => {
    const { held, read, begun } = heldReads();
    const { connect: join } = await serve(read);
    const askers = limits.rangesInMemoryMax;
    const asking = await Promise.all(Array.from({ length: askers }, () => join()));
    for (const client of asking) for (let id = 0; id < most; id++) client.ask(id);
    await Promise.all(asking.map((client) => client.heard()));
    expect(held).toHaveLength(limits.rangesInMemoryMax);
    for (let done = 0; done < askers * most; done++) {
      await begun(done + 1);
      expect(held.length - done).toBeLessThanOrEqual(limits.rangesInMemoryMax);
      held[done]?.();
    }
    for (const client of asking) expect(await client.answered(most)).toHaveLength(most);
  });

  it('gives the memory of those who leave to others', async () => {
    const { held, read, begun } = heldReads();
    const { connect: join } = await serve(read);
    const leaving = await Promise.all(Array.from({ length: limits.rangesInMemoryMax }, () => join()));
    for (const client of leaving) for (let id = 0; id < most; id++) client.ask(id);
    await begun(limits.rangesInMemoryMax);
    for (const { connection } of leaving) connection.destroy(new ButterflyError('CANCELLED', 'gone'));
    const staying = await join();
    staying.ask(7);
    while (staying.answers.length === 0) {
      for (const end of held) end();
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(staying.answers).toEqual(['7: 1,2,3']);
  });
});
