import { once } from 'node:events';
import { connect } from 'node:net';
import type { Socket } from 'node:net';
import { afterEach } from 'vitest';
import type { ButterflyError } from '@butterfly/common';
import type { Connection, ConnectionHandlers } from '../connection/connection.js';
import { FrameDecoder } from '../frames/frame.js';
import type { Frame } from '../frames/frame.js';
import { decodeControl, encodeControl } from '../messages/messages.js';
import type { ControlMessage } from '../messages/messages.js';
import { listen } from '../connection/transport.js';

interface Ending {
  readonly error: ButterflyError | null;
  readonly reason: string;
}

/** What happened on one side, and promises of what will. */
export class Recorder implements ConnectionHandlers {
  readonly frames: Frame[] = [];
  readonly endings: Ending[] = [];
  #wake: (() => void)[] = [];

  constructor(readonly react: (frame: Frame, connection: Connection) => void = () => undefined) {}

  onFrame(frame: Frame, connection: Connection): void {
    this.frames.push(frame);
    for (const wake of this.#wake.splice(0)) wake();
    this.react(frame, connection);
  }

  onClose(error: ButterflyError | null, reason: string): void {
    this.endings.push({ error, reason });
    for (const wake of this.#wake.splice(0)) wake();
  }

  async framesArrived(count: number): Promise<readonly Frame[]> {
    while (this.frames.length < count) await this.#change();
    return this.frames;
  }

  async ending(): Promise<Ending> {
    for (;;) {
      const [ending] = this.endings;
      if (ending !== undefined) return ending;
      await this.#change();
    }
  }

  #change(): Promise<void> {
    return new Promise((resolve) => this.#wake.push(resolve));
  }
}

const cleanups: (() => Promise<void> | void)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
});

/** Both ends of a connection over the loopback, gone after the test. */
export async function socketPair(): Promise<{ near: Socket; far: Socket }> {
  let accept: (socket: Socket) => void = () => undefined;
  const accepted = new Promise<Socket>((resolve) => (accept = resolve));
  const listener = await listen({ host: '127.0.0.1', port: 0, onConnection: (socket) => accept(socket) });
  const near = connect(listener.port, '127.0.0.1');
  cleanups.push(
    () => listener.close(),
    () => {
      near.destroy();
    },
  );
  await once(near, 'connect');
  return { near, far: await accepted };
}

/** Messages as a bare socket sees them, without a connection that would deal with some itself. */
export function messagesOn(socket: Socket): { next(): Promise<ControlMessage> } {
  const decoder = new FrameDecoder();
  const messages: ControlMessage[] = [];
  let wake: () => void = () => undefined;
  socket.on('data', (chunk: Buffer) => {
    decoder.push(chunk);
    for (const frame of decoder.frames()) messages.push(decodeControl(frame));
    wake();
  });
  return {
    async next() {
      for (;;) {
        const message = messages.shift();
        if (message !== undefined) return message;
        await new Promise<void>((resolve) => (wake = resolve));
      }
    },
  };
}

/** A message that a connection leaves to its handlers. */
export const unassign = (epoch: number): Uint8Array[] => encodeControl({ kind: 'unassign', epoch });
