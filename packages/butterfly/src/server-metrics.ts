import { packageVersion, systemClock } from '@butterfly/common';
import { type Metrics, openMetrics } from '@butterfly/telemetry';

/**
 * Begins to count for a server.
 * @param isOfProcess whether its process is measured too, until that ends; a program that has a cluster inside measures itself
 */
export function openServerMetrics({ isOfProcess }: { readonly isOfProcess: boolean }): Promise<Metrics> {
  return openMetrics({ version: packageVersion, clock: systemClock, isOfProcess });
}
