import type { ButterflyEvent, Observer } from '@butterfly/common';
import { type Gauge, type Metric, Registry } from 'prom-client';
import { FleetMetrics } from './fleet-metrics.js';
import { handle, type Handlers } from './handlers.js';
import { Instruments } from './instruments.js';
import type { Metrics, MetricsPage, MetricsWishes } from './metrics-page.js';
import { measureProcess } from './process-metrics.js';
import { RequestMetrics } from './request-metrics.js';
import { SequenceMetrics } from './sequence-metrics.js';
import { type MeasuredServer, StateMetrics } from './state-metrics.js';

/** Told for each request, step or token, and measured by what they are. */
const frequent = new Set<ButterflyEvent['kind']>([
  'requestArrived',
  'requestBegun',
  'requestEnded',
  'responseSent',
  'sequenceEnded',
  'sequenceQueued',
  'stepDone',
  'tokensCame',
]);

export class PrometheusMetrics implements Metrics {
  readonly #state: StateMetrics;
  readonly #certificate: Gauge<'of'>;
  #server: MeasuredServer | null = null;

  readonly observe: Observer;

  /** @param registry never the global one: a program that has a cluster inside has metrics of its own */
  constructor(
    { version, clock, isOfProcess }: MetricsWishes,
    private readonly registry = new Registry(),
  ) {
    const make = new Instruments(registry);
    make
      .gauge('butterfly_build_info', 'Always 1, for the version that runs.', ['version', 'node'])
      .set({ version, node: process.version }, 1);
    this.#state = new StateMetrics(make);
    this.#certificate = make.gauge(
      'butterfly_certificate_expiry_timestamp_seconds',
      'When the certificate of the API ends, where it has one, in seconds since 1970.',
      ['of'],
    );
    const requests = new RequestMetrics(make, clock);
    const fleet = new FleetMetrics(make, clock);
    const onToken: RequestMetrics['onToken'] = (...token) => requests.onToken(...token);
    const sequences = new SequenceMetrics(make, { clock, fleet, onToken });
    const events = make.counter(
      'butterfly_events_total',
      'What else happened, by the kind of event: what the log tells of too.',
      ['kind'],
    );
    const all: readonly Handlers[] = [requests.handlers, sequences.handlers, fleet.handlers];
    this.observe = (event) => {
      if (!frequent.has(event.kind)) events.inc({ kind: event.kind });
      if (event.kind === 'certificateReplaced') this.certificateEnds(Date.parse(event.expiresAt));
      for (const handlers of all) handle(handlers, event.kind, event);
    };
    if (isOfProcess) measureProcess(registry);
  }

  watch(server: MeasuredServer): void {
    this.#server = server;
  }

  certificateEnds(atMs: number): void {
    if (Number.isFinite(atMs)) this.#certificate.set({ of: 'api' }, atMs / 1000);
  }

  async page(accept = ''): Promise<MetricsPage> {
    if (this.#server) this.#state.read(this.#server);
    const asked = takesOpenMetrics(accept) ? asOpenMetrics(this.registry) : this.registry;
    return { contentType: asked.contentType, text: await asked.metrics() };
  }
}

const takesOpenMetrics = (accept: string): boolean =>
  /application\/openmetrics-text(?!\s*;[^,]*\bq=0(?:\.0*)?\s*(?:,|$))/i.test(accept);

/**
 * The same metrics in the other format. prom-client takes the end off the names of counters there, and for good: so it gets
 * something else to take it from.
 */
function asOpenMetrics(registry: Registry): Registry {
  const other = new Registry();
  other.setContentType(Registry.OPENMETRICS_CONTENT_TYPE as typeof other.contentType);
  for (const metric of registry.getMetricsAsArray())
    other.registerMetric(Object.create(metric as unknown as object) as Metric);
  return other;
}
