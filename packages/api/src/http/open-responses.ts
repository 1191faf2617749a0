import type { ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { ButterflyError, type Clock, limits } from '@butterfly/common';
import type { FastifyRequest } from 'fastify';

/**
 * Calls back when the client's connection closes, until the returned function is called. It watches the
 * connection itself, because a response that waits behind another on it hears of nothing.
 */
export function onClientGone(request: FastifyRequest, callback: () => void): () => void {
  const { socket } = request.raw;
  if (socket.destroyed) callback();
  socket.once('close', callback);
  return () => {
    socket.removeListener('close', callback);
  };
}

/** Calls back once, when the response is out or nobody is left to read it. */
export function onResponseOver(
  request: FastifyRequest,
  response: ServerResponse,
  callback: () => void,
): void {
  let isOver = false;
  const over = (): void => {
    if (isOver) return;
    isOver = true;
    stopWatching();
    callback();
  };
  // A connection that is closed already says so at once.
  let stopWatching: () => void = () => undefined;
  stopWatching = onClientGone(request, over);
  response.once('close', over);
}

/** Those who watch a connection for one request: for its response, what is told of it, its place among those of a key, and its answer. */
const watchersOfRequest = 5;

/** The responses that are not out yet, so that closing can wait for them, with the ids of their requests. */
export class OpenResponses {
  readonly #responses = new Map<ServerResponse, string>();
  readonly #byConnection = new WeakMap<Socket, number>();
  #onEmpty: () => void = () => undefined;

  get all(): ReadonlyMap<ServerResponse, string> {
    return this.#responses;
  }

  /** @returns QUEUE_FULL for a request of a connection that has too many already */
  add(request: FastifyRequest, response: ServerResponse): ButterflyError | null {
    const { socket } = request.raw;
    const others = this.#byConnection.get(socket) ?? 0;
    this.#byConnection.set(socket, others + 1);
    socket.setMaxListeners(watchersOfRequest * (limits.requestsPerConnectionMax + 1));
    this.#responses.set(response, request.id);
    onResponseOver(request, response, () => {
      this.#byConnection.set(socket, (this.#byConnection.get(socket) ?? 1) - 1);
      this.#responses.delete(response);
      if (this.#responses.size === 0) this.#onEmpty();
    });
    if (others < limits.requestsPerConnectionMax) return null;
    return new ButterflyError(
      'QUEUE_FULL',
      `${others} requests of this connection are not answered yet; read their answers first.`,
    );
  }

  /** Resolves when all responses are out, or at the deadline. */
  async drained(clock: Clock, timeoutMs: number): Promise<void> {
    if (this.#responses.size === 0) return;
    await new Promise<void>((resolve) => {
      const cancelDeadline = clock.after(timeoutMs, resolve);
      this.#onEmpty = () => {
        cancelDeadline();
        resolve();
      };
    });
  }
}
