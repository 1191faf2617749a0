import { packageVersion, systemClock } from '@butterfly/common';
import { exactTracesEndpoint, openTraces, type Traces, tracesEndpoint } from '@butterfly/telemetry';

/** A collector by its address, or by the whole URL where it takes traces. */
export type TracesTarget = { readonly collector: string } | { readonly url: string };

/** Begins to send traces of a server. @throws ButterflyError CONFIG_INVALID for what is no URL over HTTP, or has a password in it */
export function openServerTraces(target: TracesTarget): Promise<Traces> {
  const endpoint = 'url' in target ? exactTracesEndpoint(target.url) : tracesEndpoint(target.collector);
  return openTraces({ endpoint, version: packageVersion, clock: systemClock });
}
