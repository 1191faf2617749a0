import type { Metrics, MetricsWishes } from './metrics-page.js';

/** Begins to count. What does that takes a while to load, and is for servers alone. */
export async function openMetrics(wishes: MetricsWishes): Promise<Metrics> {
  const { PrometheusMetrics } = await import('./prometheus-metrics.js');
  return new PrometheusMetrics(wishes);
}
