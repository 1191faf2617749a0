import type { Clock, EventOf, SequenceEnd } from '@butterfly/common';
import { buckets } from './buckets.js';
import type { FleetMetrics } from './fleet-metrics.js';
import { type Handlers, modelOf, seconds } from './handlers.js';
import type { Instruments } from './instruments.js';

/** A prompt with its answer, from its queueing on. */
interface Sequence {
  readonly requestId: string | null;
  readonly promptTokens: number;
  readonly queuedMs: number;
  /** Null while it waits for a place. */
  readonly replica: number | null;
  /** Its epoch ended, so that its next step begins again. */
  readonly isRewound: boolean;
  /** Of its last step. */
  readonly guesses: number;
  readonly firstMs: number;
  readonly lastMs: number;
  readonly tokens: number;
}

/** Those whose answer is whole. */
const wholeEnds: ReadonlySet<SequenceEnd> = new Set(['stop', 'length', 'embedding']);

/** What steps compute, and what comes of it. */
export class SequenceMetrics {
  /** Of each model, by their number. */
  readonly #sequences = new Map<string, Map<number, Sequence>>();
  readonly #metrics: ReturnType<typeof sequenceInstruments>;

  constructor(
    instruments: Instruments,
    private readonly around: {
      readonly clock: Clock;
      /** Knows which worker computes which stage. */
      readonly fleet: FleetMetrics;
      readonly onToken: (requestId: string, modelId: string, nowMs: number) => void;
    },
  ) {
    this.#metrics = sequenceInstruments(instruments);
  }

  readonly handlers: Handlers = {
    sequenceQueued: (event) => {
      const { sequenceId, requestId, promptTokens } = event;
      const queuedMs = this.around.clock.nowMs();
      const begins = { replica: null, isRewound: false, guesses: 0, firstMs: 0, lastMs: 0, tokens: 0 };
      this.#of(modelOf(event)).set(sequenceId, { requestId, promptTokens, queuedMs, ...begins });
    },
    stepDone: (event) => this.#stepped(event),
    tokensCame: (event) => this.#tokensCame(event),
    sequenceEnded: (event) => this.#ended(event),
    planRetired: (event) => {
      const sequences = this.#of(modelOf(event));
      for (const [id, sequence] of sequences)
        if (sequence.replica === event.replica) sequences.set(id, { ...sequence, isRewound: true });
    },
  };

  #of(modelId: string): Map<number, Sequence> {
    const found = this.#sequences.get(modelId) ?? new Map<number, Sequence>();
    this.#sequences.set(modelId, found);
    return found;
  }

  #stepped(event: EventOf<'stepDone'>): void {
    const { replica, rows, parts, elapsedMicros, stageTimes, scheduleMicros, completeMicros } = event;
    const model = modelOf(event);
    this.#metrics.rows.observe({ model }, rows);
    this.#metrics.stepSeconds.observe({ model }, seconds(elapsedMicros / 1000));
    this.#metrics.stepHost.inc({ model, part: 'schedule' }, seconds(scheduleMicros / 1000));
    this.#metrics.stepHost.inc({ model, part: 'complete' }, seconds(completeMicros / 1000));
    this.around.fleet.computed(model, replica, stageTimes);
    const sequences = this.#of(model);
    const formedMs = this.around.clock.nowMs() - elapsedMicros / 1000;
    for (const { sequenceId, guesses } of parts) {
      const sequence = sequences.get(sequenceId);
      if (!sequence) continue;
      if (sequence.replica === null)
        this.#metrics.queueSeconds.observe({ model_name: model }, seconds(formedMs - sequence.queuedMs));
      if (sequence.isRewound) this.#metrics.replays.inc({ model });
      if (guesses > 0) this.#metrics.guesses.inc({ model_name: model }, guesses);
      if (sequence.replica === replica && !sequence.isRewound && sequence.guesses === guesses) continue;
      sequences.set(sequenceId, { ...sequence, replica, isRewound: false, guesses });
    }
  }

  #tokensCame(event: EventOf<'tokensCame'>): void {
    const { sequenceId, tokens } = event;
    const model = modelOf(event);
    const sequences = this.#of(model);
    const sequence = sequences.get(sequenceId);
    this.#metrics.outputTokens.inc({ model_name: model }, tokens);
    if (!sequence) return;
    const { requestId, guesses, promptTokens } = sequence;
    const nowMs = this.around.clock.nowMs();
    const isFirst = sequence.tokens === 0;
    if (isFirst) this.#metrics.promptTokens.inc({ model_name: model }, promptTokens);
    if (isFirst && requestId !== null) this.around.onToken(requestId, model, nowMs);
    // One token of a step is none that was guessed.
    const confirmed = Math.min(guesses, tokens - 1);
    if (confirmed > 0) this.#metrics.confirmed.inc({ model_name: model }, confirmed);
    const firstMs = isFirst ? nowMs : sequence.firstMs;
    sequences.set(sequenceId, {
      ...{ ...sequence, guesses: 0, firstMs, lastMs: nowMs },
      tokens: sequence.tokens + tokens,
    });
  }

  #ended(event: EventOf<'sequenceEnded'>): void {
    const { sequenceId, reason, cachedPromptTokens } = event;
    const model = modelOf(event);
    const sequences = this.#of(model);
    const sequence = sequences.get(sequenceId);
    sequences.delete(sequenceId);
    this.#metrics.ends.inc({ model, reason });
    if (!sequence || !wholeEnds.has(reason)) return;
    const { promptTokens, tokens, firstMs, lastMs } = sequence;
    if (tokens === 0) this.#metrics.promptTokens.inc({ model_name: model }, promptTokens);
    if (cachedPromptTokens !== null && reason !== 'embedding') {
      this.#metrics.prefixAsked.inc({ model_name: model }, promptTokens);
      this.#metrics.prefixHits.inc({ model_name: model }, cachedPromptTokens);
    }
    if (tokens > 1)
      this.#metrics.perToken.observe(
        { gen_ai_request_model: model },
        seconds((lastMs - firstMs) / (tokens - 1)),
      );
  }
}

function sequenceInstruments(make: Instruments) {
  return {
    ...tokenInstruments(make),
    queueSeconds: make.histogram(
      'vllm:request_queue_time_seconds',
      'From the queueing of a prompt until the first step that computes of it is formed.',
      ['model_name'],
      buckets.queueSeconds,
    ),
    perToken: make.histogram(
      'gen_ai_server_time_per_output_token_seconds',
      'Between two tokens of an answer, on average over each whole answer, from the first token on.',
      ['gen_ai_request_model'],
      buckets.perTokenSeconds,
    ),
    ends: make.counter(
      'butterfly_sequences_ended_total',
      'Prompts with their answers that are over, by the reason; a request may have several.',
      ['model', 'reason'],
    ),
    replays: make.counter(
      'butterfly_replays_total',
      'How often a sequence began again from its known tokens, since the epoch that it ran in had ended.',
      ['model'],
    ),
    rows: make.histogram('butterfly_step_rows', 'Rows of a step.', ['model'], buckets.rows),
    stepSeconds: make.histogram(
      'butterfly_step_duration_seconds',
      'From the forming of a step to its result; several are under way at once.',
      ['model'],
      buckets.stepSeconds,
    ),
    stepHost: make.counter(
      'butterfly_step_host_seconds_total',
      'What the orchestrator itself takes for steps: to form and send them, and to take their results in.',
      ['model', 'part'],
    ),
  };
}

function tokenInstruments(make: Instruments) {
  return {
    promptTokens: make.counter(
      'vllm:prompt_tokens_total',
      'Tokens of prompts that were computed or found in the cache, of each sequence.',
      ['model_name'],
    ),
    outputTokens: make.counter(
      'vllm:generation_tokens_total',
      'Tokens of answers; of a draft model those too that it guesses for another one.',
      ['model_name'],
    ),
    prefixAsked: make.counter(
      'vllm:prefix_cache_queries_total',
      'Tokens of prompts with whole answers, which were looked for in the cache.',
      ['model_name'],
    ),
    prefixHits: make.counter(
      'vllm:prefix_cache_hits_total',
      'Of these, those that were found in the cache and not computed.',
      ['model_name'],
    ),
    guesses: make.counter(
      'vllm:spec_decode_num_draft_tokens_total',
      'Guessed tokens that steps computed, whoever guessed them.',
      ['model_name'],
    ),
    confirmed: make.counter(
      'vllm:spec_decode_num_accepted_tokens_total',
      'Of these, those that became tokens of an answer.',
      ['model_name'],
    ),
  };
}
