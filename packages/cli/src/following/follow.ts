import { setTimeout as pause } from 'node:timers/promises';
import { ButterflyError, deadlines, toButterflyError } from '@butterfly/common';
import { type ShownMessage, shownMessage } from './live-schema.js';
import { serverEvents } from './server-events.js';

/** What is followed. */
export interface LiveSource {
  open(path: string, signal: AbortSignal): Promise<AsyncIterable<Uint8Array>>;
}

export interface FollowOptions {
  readonly source: LiveSource;
  readonly signal: AbortSignal;
  /** Hears that it was lost, before it is tried again. */
  readonly onLost: (error: ButterflyError) => void;
  /** After which a server is taken for lost; by default `deadlines.pulseSilenceMs`. */
  readonly silenceMs?: number;
}

const pauseMs = 1_000;
const pauseMsMax = 10_000;

/**
 * All that a server tells from now on, whatever it takes to hear it: a server that is lost is tried again with growing pauses, and begins
 * again with all that it knows. Ends with the signal.
 * @throws ButterflyError where it cannot be heard at all, the first time; PROTOCOL_INVALID for what is no server of this version
 */
export async function* follow({
  source,
  signal,
  onLost,
  silenceMs = deadlines.pulseSilenceMs,
}: FollowOptions): AsyncGenerator<ShownMessage> {
  let waitMs = pauseMs;
  let isFirst = true;
  const isOver = (): boolean => signal.aborted;
  while (!isOver()) {
    const silence = new AbortController();
    const cut = (): void => silence.abort();
    let timer = setTimeout(cut, silenceMs);
    try {
      const either = AbortSignal.any([signal, silence.signal]);
      for await (const { kind, data } of serverEvents(await source.open('/cluster/live', either))) {
        clearTimeout(timer);
        timer = setTimeout(cut, silenceMs);
        const message = read(kind, data);
        isFirst = false;
        waitMs = pauseMs;
        if (message) yield message;
      }
      onLost(new ButterflyError('PEER_UNREACHABLE', 'The server ended.'));
    } catch (thrown) {
      if (isOver()) return;
      const error = silence.signal.aborted ? silent(silenceMs, thrown) : toButterflyError(thrown);
      if (isFirst || error.code === 'PROTOCOL_INVALID' || error.code === 'ACCESS_DENIED') throw error;
      onLost(error);
    } finally {
      clearTimeout(timer);
    }
    await pause(waitMs, undefined, { signal }).catch(() => undefined);
    waitMs = Math.min(waitMs * 2, pauseMsMax);
  }
}

function silent(silenceMs: number, cause: unknown): ButterflyError {
  return new ButterflyError('TIMEOUT', `The server said nothing for ${silenceMs} ms; look at its log.`, {
    cause,
  });
}

function read(kind: string, data: string): ShownMessage | null {
  try {
    return shownMessage(kind, JSON.parse(data));
  } catch (cause) {
    throw new ButterflyError(
      'PROTOCOL_INVALID',
      `The server tells of "${kind}" what this version does not know; upgrade the older side.`,
      { cause },
    );
  }
}
