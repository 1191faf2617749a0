import type { ModelUse } from '@butterfly/api';
import { ButterflyError, type Clock, toButterflyError } from '@butterfly/common';
import {
  AnswerCollector,
  type GenerationSpec,
  type OutputEvent,
  type WholeAnswer,
  startAnswer,
} from '@butterfly/generation';

/** An answer under way: its events for those who iterate, or all of it for those who wait. It is read once, in one of both ways. */
export interface Answer extends AsyncIterable<OutputEvent> {
  /** @throws ButterflyError what ended it; CANCELLED for a signal; REQUEST_INVALID where it was read already */
  whole(): Promise<WholeAnswer>;
  /** The text of the first choice, in one piece. @throws ButterflyError as `whole` does */
  text(): Promise<string>;
}

export interface AnswerOptions {
  /** Loads the model where it is not. */
  readonly use: (signal: AbortSignal | undefined) => Promise<ModelUse>;
  readonly spec: GenerationSpec;
  readonly clock: Clock;
  readonly signal: AbortSignal | undefined;
}

/** Nothing is asked of the cluster before somebody reads; whoever stops reading cancels it. */
export function answerOf(options: AnswerOptions): Answer {
  let isRead = false;
  const read = (): void => {
    if (isRead) throw new ButterflyError('REQUEST_INVALID', 'An answer is read once; ask again for another.');
    isRead = true;
  };
  const whole = async (): Promise<WholeAnswer> => {
    read();
    const collector = new AnswerCollector();
    await follow(options, (event) => collector.take(event));
    return collector.whole();
  };
  return {
    whole,
    text: async () => (await whole()).choices[0]?.text ?? '',
    [Symbol.asyncIterator]: () => {
      read();
      return eventsOf(options);
    },
  };
}

async function follow(options: AnswerOptions, sink: (event: OutputEvent) => void): Promise<void> {
  const { spec, clock, signal } = options;
  if (signal?.aborted) throw cancelled();
  using use = await options.use(signal);
  const answering = await startAnswer(use.model, spec, clock);
  const cancel = (): void => answering.cancel();
  if (signal?.aborted) cancel();
  signal?.addEventListener('abort', cancel, { once: true });
  try {
    await answering.run(sink);
  } finally {
    signal?.removeEventListener('abort', cancel);
  }
}

/** What has come and is not read yet is bounded by the length of the answer. */
async function* eventsOf(options: AnswerOptions): AsyncGenerator<OutputEvent, void, undefined> {
  const stopping = new AbortController();
  const signal = options.signal ? AbortSignal.any([options.signal, stopping.signal]) : stopping.signal;
  const events: OutputEvent[] = [];
  let wake: () => void = () => undefined;
  let end: { readonly error: ButterflyError | null } | null = null;
  const following = follow({ ...options, signal }, (event) => {
    events.push(event);
    wake();
  });
  following.then(
    () => {
      end = { error: null };
      wake();
    },
    (error: unknown) => {
      end = { error: toButterflyError(error) };
      wake();
    },
  );
  try {
    for (;;) {
      for (let event = events.shift(); event; event = events.shift()) yield event;
      const ended = end as { readonly error: ButterflyError | null } | null;
      if (ended) {
        if (ended.error) throw ended.error;
        return;
      }
      await new Promise<void>((resolve) => (wake = resolve));
    }
  } finally {
    stopping.abort();
  }
}

function cancelled(): ButterflyError {
  return new ButterflyError('CANCELLED', 'The request was cancelled before it began.');
}
