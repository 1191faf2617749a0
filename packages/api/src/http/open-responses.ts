import type { ServerResponse } from 'node:http';
import type { Clock } from '@butterfly/common';
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

/** The responses that are not out yet, so that closing can wait for them. */
export class OpenResponses {
  readonly #responses = new Set<ServerResponse>();
  #onEmpty: () => void = () => undefined;

  add(request: FastifyRequest, response: ServerResponse): void {
    const leave = () => {
      this.#responses.delete(response);
      if (this.#responses.size === 0) this.#onEmpty();
    };
    this.#responses.add(response);
    onResponseOver(request, response, leave);
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
