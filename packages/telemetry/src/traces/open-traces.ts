import { ButterflyError } from '@butterfly/common';
import type { Traces, TracesWishes } from './traces.js';

/** Begins to send traces. What does that takes a while to load, and is for those who ask for it. */
export async function openTraces(wishes: TracesWishes): Promise<Traces> {
  const { OtlpTraces } = await import('./otlp-traces.js');
  return new OtlpTraces(wishes);
}

const path = '/v1/traces';

/**
 * Where a collector takes traces, as OpenTelemetry has it: `/v1/traces` behind the address of the collector, unless that is said.
 * @throws ButterflyError CONFIG_INVALID for what is no URL over HTTP, or has a password in it, which logs would show
 */
export function tracesEndpoint(collector: string): string {
  const url = checkedUrl(collector);
  if (!url.pathname.endsWith(path)) url.pathname = url.pathname.replace(/\/+$/, '') + path;
  return url.href;
}

/** The same for a URL that is meant as it is. @throws ButterflyError CONFIG_INVALID */
export function exactTracesEndpoint(url: string): string {
  return checkedUrl(url).href;
}

function checkedUrl(text: string): URL {
  const url = URL.canParse(text) ? new URL(text) : null;
  if (url && /^https?:$/.test(url.protocol) && url.username === '' && url.password === '') return url;
  throw new ButterflyError(
    'CONFIG_INVALID',
    'The collector of traces must be a URL over HTTP without a password, such as http://127.0.0.1:4318; headers for it go into OTEL_EXPORTER_OTLP_HEADERS.',
    { param: 'traces' },
  );
}
