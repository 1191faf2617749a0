import { type ButterflyEvent, type Observer, deadlines, limits } from '@butterfly/common';
import {
  type Context,
  type Tracer,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  defaultTextMapGetter,
  trace,
} from '@opentelemetry/api';
import { W3CTraceContextPropagator } from '@opentelemetry/core';
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-http';
import {
  type Resource,
  detectResources,
  envDetector,
  resourceFromAttributes,
} from '@opentelemetry/resources';
import { BatchSpanProcessor, type SpanProcessor, TracerProvider } from '@opentelemetry/sdk-trace';
import { FollowedRequests } from './followed-requests.js';
import { type PlannedSpan, requestSpans } from './request-spans.js';
import type { TracedServer, Traces, TracesWishes } from './traces.js';
import { WatchedExporter } from './watched-exporter.js';

const service = 'butterfly';
const reasonCharactersMax = 200;

/** Sends spans by OTLP over HTTP, as JSON, in batches. The global tracer, which a program may have, is left alone. */
export class OtlpTraces implements Traces {
  readonly #followed = new FollowedRequests();
  /** Those that are over, whose last word may be said in this turn of the event loop. */
  readonly #over = new Set<string>();
  readonly #processor: SpanProcessor;
  readonly #tracer: Tracer;
  readonly #workers = new Map<string, Tracer>();
  readonly #propagator = new W3CTraceContextPropagator();
  /** As OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say. */
  readonly #environment = detectResources({ detectors: [envDetector] });
  #server: TracedServer | null = null;

  /** @param wallMs milliseconds since 1970, which never go back */
  constructor(
    private readonly wishes: TracesWishes,
    private readonly wallMs: () => number = () => performance.timeOrigin + performance.now(),
  ) {
    const { endpoint, gatheredMs = deadlines.tracesGatheredMs, sendMs = deadlines.tracesSendMs } = wishes;
    const collector = new URL(endpoint).host;
    const exporter = new WatchedExporter(new OTLPTraceExporter({ url: endpoint, timeoutMillis: sendMs }), {
      failing: (error) =>
        this.#server?.observe({ kind: 'tracesNotTaken', collector, reason: reasonOf(error) }),
      takenAgain: (lostSpans) => this.#server?.observe({ kind: 'tracesTakenAgain', collector, lostSpans }),
    });
    this.#processor = new BatchSpanProcessor({
      exporter,
      maxQueueSize: limits.traceSpansQueuedMax,
      scheduledDelayMillis: gatheredMs,
      // The exporter's own deadline comes before.
      exportTimeoutMillis: 2 * sendMs,
    });
    const { version } = wishes;
    const own = { 'service.name': service, 'service.version': version };
    this.#tracer = this.#tracerOf(resourceFromAttributes(own).merge(this.#environment));
  }

  readonly observe: Observer = (event: ButterflyEvent) => {
    const over = this.#followed.take(event, this.wallMs());
    if (over === null) return;
    this.#over.add(over);
    this.wishes.clock.after(0, () => this.#finish(over));
  };

  watch(server: TracedServer): void {
    this.#server = server;
  }

  async close(): Promise<void> {
    for (const requestId of this.#over) this.#finish(requestId);
    const { clock, sendMs = deadlines.tracesSendMs } = this.wishes;
    let cancelDeadline = (): void => undefined;
    const late = new Promise<void>((resolve) => (cancelDeadline = clock.after(sendMs, resolve)));
    // What could not be sent was told of already.
    await Promise.race([this.#processor.shutdown().catch(() => undefined), late]);
    cancelDeadline();
  }

  #finish(requestId: string): void {
    if (!this.#over.delete(requestId)) return;
    const followed = this.#followed.forget(requestId);
    const timeline = this.#server?.timeline(requestId);
    // Of what only looked, or cancelled another one, nothing is remembered.
    if (!followed || !timeline) return;
    const parent = followed.trace
      ? this.#propagator.extract(ROOT_CONTEXT, followed.trace, defaultTextMapGetter)
      : ROOT_CONTEXT;
    this.#tell(requestSpans(followed, timeline), parent);
  }

  #tell(planned: PlannedSpan, parent: Context): void {
    const { kind, name, startMs, endMs, attributes, isFailed, workerId, children } = planned;
    const tracer = workerId === null ? this.#tracer : this.#ofWorker(workerId);
    const spanKind = kind === 'request' ? SpanKind.SERVER : SpanKind.INTERNAL;
    const options = { kind: spanKind, startTime: startMs, attributes: { ...attributes } };
    const span = tracer.startSpan(name, options, parent);
    // Its client does not want it to be recorded.
    if (!span.isRecording()) return;
    const context = trace.setSpan(parent, span);
    for (const child of children) this.#tell(child, context);
    if (isFailed) span.setStatus({ code: SpanStatusCode.ERROR });
    span.end(endMs);
  }

  /** Who computed a span is the service that it is shown under. */
  #ofWorker(workerId: string): Tracer {
    const known = this.#workers.get(workerId);
    if (known) return known;
    const [oldest] = this.#workers.size >= limits.workersRememberedMax ? this.#workers.keys() : [];
    if (oldest !== undefined) this.#workers.delete(oldest);
    const own = { 'service.name': `${service}-worker`, 'service.instance.id': workerId };
    const tracer = this.#tracerOf(this.#environment.merge(resourceFromAttributes(own)));
    this.#workers.set(workerId, tracer);
    return tracer;
  }

  #tracerOf(resource: Resource): Tracer {
    const provider = new TracerProvider({ resource, spanProcessors: [this.#processor] });
    return provider.getTracer(service, this.wishes.version);
  }
}

/** Of a connection that failed to all addresses of a name there is a code alone, and of a refusal its status. */
function reasonOf(error: Error & { readonly code?: unknown }): string {
  const { message } = error;
  const code = typeof error.code === 'string' || typeof error.code === 'number' ? String(error.code) : '';
  return (message.includes(code) ? message : `${message} (${code})`.trim()).slice(0, reasonCharactersMax);
}
