import type { ServerResponse } from 'node:http';
import type { Clock } from '@butterfly/common';
import type { ConnectionBounds } from './connection-bounds.js';

export interface UnreadAnswersOptions extends Pick<
  ConnectionBounds,
  'answerTakenMs' | 'answerBytesPerMs' | 'lookedAtEveryMs'
> {
  readonly clock: Clock;
  /** Responses that are not out, with the ids of their requests. */
  readonly open: () => ReadonlyMap<ServerResponse, string>;
  /** A client did not take its answer in time, so that its connection was cut. */
  readonly onCut: (requestId: string) => void;
}

/**
 * Cuts the connections of clients that do not read what is left of an answer when it is over: from then on, each has some time
 * and as much again as its bytes take at the least speed.
 * @returns what ends that
 */
export function cutUnreadAnswers({ clock, open, onCut, ...bounds }: UnreadAnswersOptions): () => void {
  const dueMs = new WeakMap<ServerResponse, number>();
  let cancel: () => void = () => undefined;
  const look = (): void => {
    const nowMs = clock.nowMs();
    for (const [response, requestId] of open()) {
      // One that waits behind another on its connection cannot be read yet.
      if (!response.writableEnded || response.socket === null) continue;
      const endMs =
        dueMs.get(response) ??
        nowMs + bounds.answerTakenMs + response.writableLength / bounds.answerBytesPerMs;
      dueMs.set(response, endMs);
      if (nowMs < endMs) continue;
      response.socket.destroy();
      onCut(requestId);
    }
    wait();
  };
  const wait = (): void => {
    cancel = clock.after(bounds.lookedAtEveryMs, look);
  };
  wait();
  return () => cancel();
}
