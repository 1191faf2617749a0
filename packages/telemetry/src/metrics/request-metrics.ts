import { type Clock, type EventOf, limits } from '@butterfly/common';
import { operationOf, requestsFollowedMax } from '../asked-routes.js';
import { BoundedLabel } from './bounded-label.js';
import { buckets } from './buckets.js';
import { type Handlers, modelOf, seconds } from './handlers.js';
import type { Instruments } from './instruments.js';

/** Those of our routes; whatever else somebody tries is one. */
const methods = new Set(['GET', 'HEAD', 'POST', 'DELETE', 'OPTIONS']);

const genAiLabels = ['gen_ai_operation_name', 'gen_ai_request_model'] as const;

/** A request from its arrival until its response is out and its answer over, which comes last. */
interface Followed {
  readonly operation: string | null;
  readonly arrivedMs: number;
  readonly modelId?: string;
  readonly tenant?: string | null;
  readonly hasFirstToken: boolean;
  readonly isAnswering: boolean;
  readonly isSent: boolean;
  /** Of the error that it ended with. */
  readonly code?: string | undefined;
}

/** What clients ask for and get. */
export class RequestMetrics {
  readonly #followed = new Map<string, Followed>();
  readonly #keys = new BoundedLabel(limits.metricKeysMax);
  readonly #metrics: ReturnType<typeof requestInstruments>;

  constructor(
    instruments: Instruments,
    private readonly clock: Clock,
  ) {
    this.#metrics = requestInstruments(instruments);
  }

  readonly handlers: Handlers = {
    requestArrived: ({ requestId, route }) => {
      const [oldest] = this.#followed.size >= requestsFollowedMax ? this.#followed.keys() : [];
      if (oldest !== undefined) this.#followed.delete(oldest);
      const operation = operationOf(route);
      const arrivedMs = this.clock.nowMs();
      const begins = { hasFirstToken: false, isAnswering: false, isSent: false };
      this.#followed.set(requestId, { operation, arrivedMs, ...begins });
    },
    requestBegun: (event) => {
      const { requestId, tenant } = event;
      const modelId = modelOf(event);
      this.#metrics.keyRequests.inc({ key: this.#keyOf(tenant), model: modelId });
      this.#change(requestId, { modelId, tenant, isAnswering: true });
    },
    requestEnded: (event) => this.#ended(event),
    responseSent: (event) => this.#sent(event),
    requestFailed: ({ requestId, error }) => this.#failed(requestId, error.code),
    streamBroken: ({ requestId, isClientGone, error }) => {
      this.#metrics.streamsBroken.inc({ by: isClientGone ? 'client' : 'server' });
      this.#failed(requestId, error.code);
    },
    readerTooSlow: () => this.#metrics.slowReaders.inc(),
  };

  /** A token of its answer came: the first is measured from its arrival. */
  onToken(requestId: string, modelId: string, nowMs: number): void {
    const request = this.#followed.get(requestId);
    if (!request || request.hasFirstToken) return;
    this.#change(requestId, { hasFirstToken: true });
    const labels = labelsOf(request.operation, modelId);
    this.#metrics.firstToken.observe(labels, seconds(nowMs - request.arrivedMs));
  }

  #ended(event: EventOf<'requestEnded'>): void {
    const { requestId, promptTokens, outputTokens } = event;
    const request = this.#followed.get(requestId);
    const modelId = modelOf(event);
    const key = this.#keyOf(request?.tenant ?? null);
    const labels = labelsOf(request?.operation ?? null, modelId);
    for (const [type, tokens] of [
      ['input', promptTokens],
      ['output', outputTokens],
    ] as const) {
      this.#metrics.tokenUsage.observe({ ...labels, gen_ai_token_type: type }, tokens);
      this.#metrics.keyTokens.inc({ key, model: modelId, type }, tokens);
    }
    this.#change(requestId, { isAnswering: false });
    // The response of an answer in the background is out long before; and of one whose client went away, the error is told next.
    if (request?.isSent) this.clock.after(0, () => this.#over(requestId));
  }

  #sent({ requestId, method, route, status }: EventOf<'responseSent'>): void {
    const known = methods.has(method) ? method : 'other';
    this.#metrics.responses.inc({ method: known, route: route ?? 'none', status: String(status) });
    const request = this.#followed.get(requestId);
    if (!request) return;
    this.#change(requestId, {
      isSent: true,
      code: request.code ?? (status < 400 ? undefined : String(status)),
    });
    if (!request.isAnswering) this.#over(requestId);
  }

  #failed(requestId: string, code: string): void {
    this.#metrics.errors.inc({ code });
    this.#change(requestId, { code });
  }

  #over(requestId: string): void {
    const request = this.#followed.get(requestId);
    this.#followed.delete(requestId);
    if (request?.operation == null) return;
    const { operation, modelId, arrivedMs, code } = request;
    this.#metrics.duration.observe(
      { ...labelsOf(operation, modelId), ...(code === undefined ? {} : { error_type: code }) },
      seconds(this.clock.nowMs() - arrivedMs),
    );
  }

  #change(requestId: string, changes: Partial<Followed>): void {
    const request = this.#followed.get(requestId);
    if (request) this.#followed.set(requestId, { ...request, ...changes });
  }

  #keyOf(tenant: string | null): string {
    return tenant === null ? 'none' : this.#keys.of(tenant);
  }
}

function labelsOf(
  operation: string | null,
  modelId: string | undefined,
): Partial<Record<(typeof genAiLabels)[number], string>> {
  return {
    ...(operation === null ? {} : { gen_ai_operation_name: operation }),
    ...(modelId === undefined ? {} : { gen_ai_request_model: modelId }),
  };
}

function requestInstruments(make: Instruments) {
  return {
    responses: make.counter(
      'butterfly_http_requests_total',
      'Requests to the API whose response is out, or whose client went away; of all routes.',
      ['method', 'route', 'status'],
    ),
    errors: make.counter(
      'butterfly_request_errors_total',
      'Requests that were refused or failed, by error code, after the head of a stream went out too.',
      ['code'],
    ),
    streamsBroken: make.counter(
      'butterfly_streams_broken_total',
      'Answers that ended early after their head had gone out, by who ended them.',
      ['by'],
    ),
    slowReaders: make.counter(
      'butterfly_slow_readers_total',
      'Requests that were cancelled because their client reads too slowly.',
    ),
    keyRequests: make.counter(
      'butterfly_key_requests_total',
      'Requests that began, by the id of their API key and model.',
      ['key', 'model'],
    ),
    keyTokens: make.counter(
      'butterfly_key_tokens_total',
      'Tokens of requests that are over, by the id of their API key and model.',
      ['key', 'model', 'type'],
    ),
    tokenUsage: make.histogram(
      'gen_ai_client_token_usage',
      'Tokens of a request that is over, as its usage tells them.',
      [...genAiLabels, 'gen_ai_token_type'],
      buckets.tokens,
    ),
    duration: make.histogram(
      'gen_ai_server_request_duration_seconds',
      'From the arrival of a request to the end of its answer.',
      [...genAiLabels, 'error_type'],
      buckets.requestSeconds,
    ),
    firstToken: make.histogram(
      'gen_ai_server_time_to_first_token_seconds',
      'From the arrival of a request to the first token of its answer.',
      genAiLabels,
      buckets.firstTokenSeconds,
    ),
  };
}
