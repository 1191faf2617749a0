import type { Server, Socket } from 'node:net';
import { type ButterflyError, deadlines, isLoopbackHost, limits } from '@butterfly/common';
import { ConnectionPlaces, type PlacesOptions } from './connection-places.js';

/** What whoever connects may hold open, and for how long. */
export interface ConnectionBounds extends PlacesOptions {
  /** No longer than a whole request has. */
  readonly requestHeadersMs: number;
  readonly requestArrivalMs: number;
  readonly idleConnectionMs: number;
  readonly answerTakenMs: number;
  /** At the least, beside that time. */
  readonly answerBytesPerMs: number;
  /** Of requests, and of answers, how late that is noticed. */
  readonly lookedAtEveryMs: number;
}

/** From a loopback address come all whom a proxy on this machine lets in, and whoever may use the machine. */
export const usualBounds: ConnectionBounds = {
  connectionsMax: limits.httpConnectionsMax,
  isShared: isLoopbackHost,
  requestHeadersMs: deadlines.requestHeadersMs,
  requestArrivalMs: deadlines.requestArrivalMs,
  idleConnectionMs: deadlines.idleConnectionMs,
  answerTakenMs: deadlines.answerTakenMs,
  answerBytesPerMs: limits.answerBytesPerMsMin,
  lookedAtEveryMs: deadlines.connectionsLookedAtEveryMs,
};

/**
 * Turns connections away for which there is no place, before anything of them is read.
 * @param words what they are told, as bytes on the wire; empty for nothing
 */
export function boundConnections(
  server: Server,
  bounds: PlacesOptions,
  words: (refusal: ButterflyError) => string,
): void {
  const places = new ConnectionPlaces(bounds);
  // What reads a connection is put behind this, so that it never sees those that are turned away.
  const readers = server.listeners('connection');
  server.removeAllListeners('connection');
  server.on('connection', (socket: Socket) => {
    const { remoteAddress: address } = socket;
    // Gone already.
    if (address === undefined) {
      socket.destroy();
      return;
    }
    const refusal = places.take(address);
    if (refusal === null) {
      socket.once('close', () => places.leave(address));
      for (const reader of readers) Reflect.apply(reader, server, [socket]);
      return;
    }
    socket.on('error', () => undefined);
    socket.write(words(refusal));
    socket.destroySoon();
  });
}
