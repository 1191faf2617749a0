import { constants, type PerformanceEntry, PerformanceObserver } from 'node:perf_hooks';
import { collectDefaultMetrics, type Registry } from 'prom-client';
import { Instruments } from './instruments.js';

const prefix = 'butterfly_';

/** Their names say that they are counters, which they are not. */
const misnamed = ['active_handles_total', 'active_requests_total', 'active_resources_total'];
/** Which prom-client makes of the first pause alone, where several are told at once. */
const pauses = 'gc_duration_seconds';

const kinds: ReadonlyMap<number | undefined, string> = new Map([
  [constants.NODE_PERFORMANCE_GC_MAJOR, 'major'],
  [constants.NODE_PERFORMANCE_GC_MINOR, 'minor'],
  [constants.NODE_PERFORMANCE_GC_INCREMENTAL, 'incremental'],
  [constants.NODE_PERFORMANCE_GC_WEAKCB, 'weakcb'],
]);

/** As Node has it; its types leave the kind out. */
type Pause = PerformanceEntry & { readonly detail?: { readonly kind?: number } };

/** Measures this process until it ends: memory, processor time, event loop, garbage collector. */
export function measureProcess(registry: Registry): void {
  collectDefaultMetrics({ register: registry, prefix });
  for (const name of [...misnamed, pauses]) registry.removeSingleMetric(`${prefix}nodejs_${name}`);
  const metric = new Instruments(registry).histogram(
    `${prefix}nodejs_${pauses}`,
    'Pauses of the garbage collector, by kind: major, minor, incremental or weakcb.',
    ['kind'],
    [0.001, 0.01, 0.1, 1, 2, 5],
  );
  const observer = new PerformanceObserver((list) => {
    for (const pause of list.getEntries() as readonly Pause[])
      metric.observe({ kind: kinds.get(pause.detail?.kind) ?? 'other' }, pause.duration / 1000);
  });
  observer.observe({ entryTypes: ['gc'] });
}
