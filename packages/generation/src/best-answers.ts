import type { Answering, OutputSink } from './answering.js';
import type { OutputEvent } from './events.js';

type ChoiceEvent = Exclude<OutputEvent, { readonly kind: 'usage' }>;

/** What of all answers is told. */
export interface BestOptions {
  /** How many of the likeliest. */
  readonly choices: number;
  /** Whether their tokens were asked for, and not for the ranking alone. */
  readonly tellsTokens: boolean;
}

/**
 * The likeliest of several answers, the likeliest first: by the mean of the log probabilities of their tokens, as OpenAI's
 * `best_of` and vLLM's have it. The token that ends an answer does not count, and an answer without tokens comes last. Nothing
 * is told before all are over; usage counts all.
 */
export class BestAnswers implements Answering {
  constructor(
    private readonly all: Answering,
    private readonly options: BestOptions,
  ) {}

  get promptTokens(): number {
    return this.all.promptTokens;
  }

  /** Of all, told or not. */
  get outputTokens(): number {
    return this.all.outputTokens;
  }

  async run(sink: OutputSink): Promise<void> {
    const candidates: ChoiceEvent[][] = [];
    const prompts: OutputEvent[] = [];
    const ends: OutputEvent[] = [];
    await this.all.run((event) => {
      if (event.kind === 'usage') ends.push(event);
      else if (event.kind === 'prompt') prompts.push({ ...event, choice: 0 });
      else (candidates[event.choice] ??= []).push(event);
    });
    const ranked = candidates
      .map((events) => ({ events, likelihood: meanLogprob(events) }))
      .sort((a, b) => order(b.likelihood, a.likelihood))
      .slice(0, this.options.choices);
    for (const event of prompts) sink(event);
    for (const [choice, { events }] of ranked.entries())
      for (const event of events) sink(this.#told(event, choice));
    for (const event of ends) sink(event);
  }

  cancel(): void {
    this.all.cancel();
  }

  #told(event: ChoiceEvent, choice: number): OutputEvent {
    if (event.kind !== 'text' || this.options.tellsTokens) return { ...event, choice };
    return { kind: 'text', choice, text: event.text };
  }
}

function meanLogprob(events: readonly ChoiceEvent[]): number {
  const tokens = events.flatMap((event) => (event.kind === 'text' ? (event.tokens ?? []) : []));
  if (tokens.length === 0) return -Infinity;
  return tokens.reduce((sum, { logprob }) => sum + (logprob ?? 0), 0) / tokens.length;
}

/** Infinities are as large as themselves. */
const order = (a: number, b: number): number => (a === b ? 0 : a - b);
