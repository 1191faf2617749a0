import { createHash } from 'node:crypto';
import { ButterflyError, deadlines, limits } from '@butterfly/common';
import { ManualClock } from '@butterfly/common/testing';
import type { ModelTensor } from '@butterfly/model';
import {
  Connection,
  type ControlMessageOf,
  type Listener,
  decodeControl,
  decodeFileChunk,
  dial,
  encodeFileChunk,
  listen,
} from '@butterfly/wire';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { RemoteSource } from './remote-source.js';

const tensor: ModelTensor = {
  name: 'blk.0.attn_q.weight',
  type: 0,
  typeName: 'F32',
  shape: [64, 4],
  fileIndex: 1,
  offset: 4096,
  bytes: 1024,
};

type Fetch = ControlMessageOf<'fetch'>;

/** The other side: it gets what is asked for, and answers as each test says. */
let answer: (request: Fetch, connection: Connection) => void;
let requests: Fetch[];
let listener: Listener;
let connection: Connection;
let clock: ManualClock;
let source: RemoteSource;

beforeEach(async () => {
  requests = [];
  clock = new ManualClock();
  listener = await listen({
    host: '127.0.0.1',
    port: 0,
    onConnection: (socket) => {
      new Connection(socket, {
        handlers: {
          onFrame: (frame, from) => {
            const request = decodeControl(frame);
            if (request.kind !== 'fetch') throw new RangeError(`unexpected ${request.kind}`);
            requests.push(request);
            answer(request, from);
          },
          onClose: () => undefined,
        },
      });
    },
  });
  connection = await dial({
    host: '127.0.0.1',
    port: listener.port,
    handlers: {
      onFrame: (frame) => source.receive(decodeFileChunk(frame)),
      onClose: (error) => source.fail(error ?? new ButterflyError('CONNECTION_CLOSED', 'It said goodbye.')),
    },
  });
  source = new RemoteSource(connection, clock);
});
afterEach(async () => {
  await connection.close();
  await listener.close();
});

/** The byte at each place of the file. */
const contentAt = (offset: number, bytes: number): Uint8Array =>
  Uint8Array.from({ length: bytes }, (_, i) => (offset + i) % 251);
const sha256 = (bytes: Uint8Array): Uint8Array => createHash('sha256').update(bytes).digest();

function send(to: Connection, requestId: number, bytes: Uint8Array, hash = sha256(bytes)): void {
  to.send(encodeFileChunk({ requestId, bytes, sha256: hash }));
}

const serve = ({ requestId, offset, bytes }: Fetch, to: Connection): void =>
  send(to, requestId, contentAt(offset, bytes));

const refused = (code: string): unknown => expect.objectContaining({ code });

describe('RemoteSource', () => {
  it('asks for exactly the range, and puts it in its place', async () => {
    answer = serve;
    const target = new Uint8Array(300);
    await source.read(tensor, 100, target.subarray(50, 250));
    expect(requests).toEqual([{ kind: 'fetch', requestId: 0, fileIndex: 1, offset: 4196, bytes: 200 }]);
    expect([...target.subarray(50, 250)]).toEqual([...contentAt(4196, 200)]);
    expect(target.subarray(0, 50).every((byte) => byte === 0)).toBe(true);
    expect(clock.waiting).toBe(0);
  });

  it('tells several answers apart, in any order', async () => {
    const held: [Fetch, Connection][] = [];
    answer = (request, to) => {
      held.push([request, to]);
      if (held.length === 4) for (const [one, there] of held.reverse()) serve(one, there);
    };
    const targets = [0, 1, 2, 3].map(() => new Uint8Array(64));
    await Promise.all(targets.map((target, i) => source.read(tensor, i * 64, target)));
    for (const [i, target] of targets.entries())
      expect([...target]).toEqual([...contentAt(4096 + i * 64, 64)]);
  });

  it.each<[string, typeof answer]>([
    [
      'another hash',
      ({ requestId, offset, bytes }, to) =>
        send(to, requestId, contentAt(offset, bytes), sha256(new Uint8Array(1))),
    ],
    [
      'a changed byte',
      ({ requestId, offset, bytes }, to) =>
        send(to, requestId, contentAt(offset, bytes).fill(0, 7, 8), sha256(contentAt(offset, bytes))),
    ],
    ['fewer bytes', ({ requestId, offset, bytes }, to) => send(to, requestId, contentAt(offset, bytes - 1))],
    ['more bytes', ({ requestId, offset, bytes }, to) => send(to, requestId, contentAt(offset, bytes + 1))],
  ])('refuses %s, and leaves the memory alone', async (_, wrong) => {
    answer = wrong;
    const target = new Uint8Array(64).fill(9);
    await expect(source.read(tensor, 0, target)).rejects.toThrow(refused('PROTOCOL_INVALID'));
    expect(target.every((byte) => byte === 9)).toBe(true);
    expect(clock.waiting).toBe(0);
    answer = serve;
    await source.read(tensor, 0, target);
    expect([...target]).toEqual([...contentAt(4096, 64)]);
  });

  it('gives up at the deadline, and drops what comes after it', async () => {
    let late: () => void = () => undefined;
    const asked = new Promise<void>((resolve) => {
      answer = (request, to) => {
        late = () => serve(request, to);
        resolve();
      };
    });
    const target = new Uint8Array(64);
    const reading = source.read(tensor, 0, target);
    await asked;
    clock.jump(deadlines.fetchMs - 1);
    expect(clock.waiting).toBe(1);
    clock.jump(1);
    await expect(reading).rejects.toThrow(refused('TIMEOUT'));
    late();
    answer = serve;
    // Answered after the late one.
    await source.read(tensor, 64, new Uint8Array(64));
    expect(target.every((byte) => byte === 0)).toBe(true);
  });

  it('ends at once when the connection is lost, and refuses to begin anew', async () => {
    answer = (_, to) => to.destroy(new ButterflyError('INTERNAL', 'The test pulls the plug.'));
    const reading = [0, 64].map((offset) => source.read(tensor, offset, new Uint8Array(64)));
    for (const read of reading) await expect(read).rejects.toThrow(refused('CONNECTION_CLOSED'));
    expect(clock.waiting).toBe(0);
    const after = source.read(tensor, 128, new Uint8Array(64));
    await expect(after).rejects.toThrow(refused('CONNECTION_CLOSED'));
  });

  it('ends at once when it is given up', async () => {
    answer = () => undefined;
    const reading = source.read(tensor, 0, new Uint8Array(64));
    await source[Symbol.asyncDispose]();
    await expect(reading).rejects.toThrow(refused('CANCELLED'));
    await expect(source.read(tensor, 0, new Uint8Array(64))).rejects.toThrow(refused('CANCELLED'));
    expect(clock.waiting).toBe(0);
  });

  it('asks for no more at once than the other side allows, given up or not', async () => {
    const held: [Fetch, Connection][] = [];
    let onHeld: () => void = () => undefined;
    answer = (request, to) => {
      held.push([request, to]);
      onHeld();
    };
    const most = limits.fileFetchesInFlightMax;
    const ending = new AbortController();
    const given = source.fetch(tensor, 0, 64, ending.signal);
    const reading = Array.from({ length: most }, (_, i) => source.fetch(tensor, i * 64, 64));
    while (held.length < most) await new Promise<void>((resolve) => (onHeld = resolve));
    ending.abort();
    await expect(given).rejects.toThrow(refused('CANCELLED'));
    expect(held).toHaveLength(most);
    for (let i = 0; i <= most; i++) {
      while (held.length <= i) await new Promise<void>((resolve) => (onHeld = resolve));
      const [request, to] = held[i] ?? [];
      if (request && to) serve(request, to);
    }
    expect((await Promise.all(reading)).map((chunk) => chunk?.bytes.length)).toEqual(reading.map(() => 64));
    expect(clock.waiting).toBe(0);
  });

  it('waits on as long as anything arrives', async () => {
    const held: [Fetch, Connection][] = [];
    const both = new Promise<void>((resolve) => {
      answer = (request, to) => {
        if (held.push([request, to]) === 2) resolve();
      };
    });
    const [first, second] = [source.fetch(tensor, 0, 64), source.fetch(tensor, 64, 64)];
    await both;
    clock.jump(deadlines.fetchMs - 1);
    const [one, other] = held;
    if (one) serve(...one);
    await first;
    clock.jump(deadlines.fetchMs - 1);
    if (other) serve(...other);
    expect((await second)?.bytes).toHaveLength(64);
  });

  it('tells that the other side does not have a range', async () => {
    answer = ({ requestId }) => source.missing({ requestId });
    expect(await source.fetch(tensor, 0, 64)).toBeNull();
    await expect(source.read(tensor, 0, new Uint8Array(64))).rejects.toThrow(refused('MODEL_NOT_FOUND'));
    expect(clock.waiting).toBe(0);
  });

  it('leaves nothing behind of a request that cannot be sent', async () => {
    const tooMuch = new Uint8Array(limits.fileChunkBytesMax + 1);
    await expect(source.read(tensor, 0, tooMuch)).rejects.toThrow(refused('PROTOCOL_INVALID'));
    expect(clock.waiting).toBe(0);
    expect(requests).toEqual([]);
  });
});
