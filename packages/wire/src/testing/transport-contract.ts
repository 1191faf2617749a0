import { createHash } from 'node:crypto';
import { ButterflyError } from '@butterfly/common';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Connection, type ConnectionHandlers } from '../connection/connection.js';
import type { IncomingStream, Listener, Transport } from '../connection/transport.js';
import type { Frame } from '../frames/frame.js';
import { encodeFileChunk } from '../frames/step.js';
import { decodeControl, encodeControl } from '../messages/messages.js';

/** Two hosts and the way to let time pass. */
export interface TransportWorld {
  readonly near: Transport;
  readonly far: Transport;
  /** Of the far host. */
  readonly host: string;
  /** Of nobody. */
  readonly strangeHost: string;
  /** Not of the far host, and not to be listened at there. */
  readonly strangeAddress: string;
  readonly settle: <T>(promise: Promise<T>) => Promise<T>;
  /** Makes a connection of what was accepted, on the clock of the far host. */
  readonly own: (stream: IncomingStream, handlers: ConnectionHandlers) => Connection;
}

/** What happened on one side, and promises of what will. */
class Recorder implements ConnectionHandlers {
  readonly frames: Frame[] = [];
  readonly ended: Promise<{ readonly code: string | null; readonly reason: string }>;
  readonly onClose: ConnectionHandlers['onClose'];
  #wake: () => void = () => undefined;

  constructor(readonly react: (frame: Frame, connection: Connection) => void = () => undefined) {
    let end: ConnectionHandlers['onClose'] = () => undefined;
    this.ended = new Promise((resolve) => {
      end = (error, reason) => resolve({ code: error?.code ?? null, reason });
    });
    this.onClose = (error, reason) => end(error, reason);
  }

  onFrame(frame: Frame, connection: Connection): void {
    this.frames.push(frame);
    this.#wake();
    this.react(frame, connection);
  }

  async arrived(count: number): Promise<readonly Frame[]> {
    while (this.frames.length < count) await new Promise<void>((resolve) => (this.#wake = resolve));
    return this.frames;
  }
}

const chunk = (requestId: number, bytes: number): Uint8Array[] => {
  const block = Buffer.alloc(bytes, requestId);
  return encodeFileChunk({ requestId, sha256: createHash('sha256').update(block).digest(), bytes: block });
};

/** What every `Transport` does; `createWorld` is called before each test. */
export function describeTransport(name: string, createWorld: () => TransportWorld): void {
  describe(`a transport over ${name}`, () => {
    let world: TransportWorld;
    const listeners: Listener[] = [];
    beforeEach(() => {
      world = createWorld();
    });
    afterEach(async () => {
      await Promise.all(listeners.splice(0).map((listener) => listener.close()));
    });

    async function listen(onConnection: (stream: IncomingStream) => void, port = 0): Promise<Listener> {
      const listener = await world.settle(world.far.listen({ host: world.host, port, onConnection }));
      listeners.push(listener);
      return listener;
    }

    /** A connection from near to far with a recorder at each side. */
    async function pair(near: Recorder, far: Recorder): Promise<{ near: Connection; far: Connection }> {
      let accept: (connection: Connection) => void = () => undefined;
      const accepted = new Promise<Connection>((resolve) => (accept = resolve));
      const { port } = await listen((stream) => accept(world.own(stream, far)));
      const dialled = world.near.dial({ host: world.host, port, handlers: near });
      return { near: await world.settle(dialled), far: await world.settle(accepted) };
    }

    const echo = (): Recorder =>
      new Recorder((frame, connection) => {
        if (frame.type === 'fileChunk') connection.send(chunk(frame.payload[0] ?? 0, frame.payload.length));
        else connection.send(encodeControl(decodeControl(frame)));
      });

    it('connects two sides that know each other’s address', async () => {
      const addresses: unknown[] = [];
      const { port } = await listen((stream) => {
        addresses.push(typeof stream.localAddress, typeof stream.remoteAddress, typeof stream.remotePort);
        world.own(stream, new Recorder());
      });
      expect(port).toBeGreaterThan(0);
      const handlers = new Recorder();
      const connection = await world.settle(world.near.dial({ host: world.host, port, handlers }));
      expect(connection.peer).toBe(`${world.host}:${port}`);
      await world.settle(connection.close());
      expect(addresses).toEqual(['string', 'string', 'number']);
    });

    it('carries frames of every size both ways, whole and in order', async () => {
      const near = new Recorder();
      const { near: connection } = await pair(near, echo());
      const sizes = [1, 70_000, 8, 3_000_000, 64, 4_000_000];
      for (const [index, bytes] of sizes.entries()) connection.send(chunk(index + 1, bytes));
      connection.send(encodeControl({ kind: 'unassign', epoch: 7 }));
      const frames = await world.settle(near.arrived(sizes.length + 1));
      for (const [index, bytes] of sizes.entries())
        expect(Buffer.alloc(bytes, index + 1).equals(frames[index]?.payload ?? Buffer.alloc(0))).toBe(true);
      const last = frames.at(-1);
      expect(last && decodeControl(last)).toEqual({ kind: 'unassign', epoch: 7 });
    });

    it('holds senders of bulk back, lets go once all is taken, and loses nothing', async () => {
      const far = new Recorder();
      const { near } = await pair(new Recorder(), far);
      for (let index = 0; index < 12; index++) near.send(chunk(index, 4 << 20));
      expect(near.queuedBytes).toBeGreaterThan(0);
      await world.settle(near.drained());
      expect(near.queuedBytes).toBe(0);
      const frames = await world.settle(far.arrived(12));
      expect(frames.map(({ payload }) => payload[4_000_000])).toEqual(
        Array.from({ length: 12 }, (__, at) => at),
      );
    });

    it('flushes and says goodbye when closed in order, on both sides', async () => {
      const recorders = [new Recorder(), new Recorder()] as const;
      const { near, far } = await pair(...recorders);
      near.send(chunk(1, 2_000_000));
      await world.settle(near.close('enough'));
      for (const { ended } of recorders)
        expect(await world.settle(ended)).toEqual({ code: null, reason: 'enough' });
      expect(recorders[1].frames).toHaveLength(1);
      await world.settle(far.close());
    });

    it('ends both sides when both close at once', async () => {
      const recorders = [new Recorder(), new Recorder()] as const;
      const { near, far } = await pair(...recorders);
      await world.settle(Promise.all([near.close('near'), far.close('far')]));
      expect(await world.settle(recorders[0].ended)).toEqual({ code: null, reason: 'near' });
      expect(await world.settle(recorders[1].ended)).toEqual({ code: null, reason: 'far' });
    });

    it('tells an error before it closes', async () => {
      const recorder = new Recorder();
      const { near } = await pair(new Recorder(), recorder);
      near.fail(new ButterflyError('JOIN_REFUSED', 'no'));
      expect(await world.settle(recorder.ended)).toEqual({ code: 'JOIN_REFUSED', reason: 'no' });
    });

    it('shows the other side at once that a connection was dropped', async () => {
      const recorder = new Recorder();
      const { near } = await pair(new Recorder(), recorder);
      near.destroy(new ButterflyError('CANCELLED', 'dropped'));
      expect((await world.settle(recorder.ended)).code).toBe('CONNECTION_CLOSED');
    });

    it('drops what it accepted when the listener closes, and frees the port', async () => {
      const recorder = new Recorder();
      const { near } = await pair(recorder, new Recorder());
      const [listener] = listeners;
      const port = listener?.port ?? 0;
      await world.settle(Promise.all([listener?.close(), listener?.close()]));
      expect((await world.settle(recorder.ended)).code).toBe('CONNECTION_CLOSED');
      expect(near.isOpen).toBe(false);
      const refused = world.near.dial({ host: world.host, port, handlers: new Recorder() });
      await expect(world.settle(refused)).rejects.toThrow(
        `Cannot reach ${world.host}:${port}: nothing listens there; check the address and that the other side is started.`,
      );
      await expect(listen(() => undefined, port)).resolves.toMatchObject({ port });
    });

    it('refuses to dial where nobody can be, and to ports that cannot be', async () => {
      const dial = (host: string, port: number): Promise<Connection> =>
        world.settle(world.near.dial({ host, port, handlers: new Recorder() }));
      await expect(dial(world.strangeHost, 7600)).rejects.toMatchObject({ code: 'PEER_UNREACHABLE' });
      await expect(dial(world.host, 70_000)).rejects.toThrow(/port must be in 1 to 65535/);
    });

    it('refuses to listen on a port in use, at a foreign address, and on a port that cannot be', async () => {
      const { port } = await listen(() => undefined);
      await expect(listen(() => undefined, port)).rejects.toMatchObject({ code: 'PORT_IN_USE' });
      const foreign = world.far.listen({
        host: world.strangeAddress,
        port: 0,
        onConnection: () => undefined,
      });
      await expect(world.settle(foreign)).rejects.toMatchObject({ code: 'ADDRESS_INVALID' });
      await expect(listen(() => undefined, 65_536)).rejects.toThrow(/port must be in 0 to 65535/);
    });
  });
}
