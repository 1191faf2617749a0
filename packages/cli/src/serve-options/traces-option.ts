import { openServerTraces } from 'butterfly/command';
import { Option } from 'commander';
import type { Environment } from '../environment.js';

/** What a command takes from its command line to send traces. */
export interface TracesFlags {
  readonly traces?: string;
}

/** `--traces`, for the command that serves. */
export function tracesOption(): Option {
  return new Option(
    '--traces <url>',
    'collector that takes OpenTelemetry over HTTP, such as http://127.0.0.1:4318, to send a trace of each request to (default: OTEL_EXPORTER_OTLP_ENDPOINT, else none)',
  );
}

/** Begins to send them, where somebody asks for it. @throws ButterflyError CONFIG_INVALID */
export function tracesOf(
  { traces }: TracesFlags,
  environment: Environment,
): ReturnType<typeof openServerTraces> | undefined {
  const { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: url, OTEL_EXPORTER_OTLP_ENDPOINT: collector } = environment;
  if (traces !== undefined) return openServerTraces({ collector: traces });
  if (url !== undefined) return openServerTraces({ url });
  return collector === undefined ? undefined : openServerTraces({ collector });
}
