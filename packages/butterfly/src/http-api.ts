import {
  type ApiAccess,
  type ApiContext,
  type CertificateFiles,
  type ClusterAdministration,
  type HttpSettings,
  type ListeningApi,
  type ModelDirectory,
  startApi,
} from '@butterfly/api';
import { type Observer, deadlines, systemClock } from '@butterfly/common';
import type { ClusterView } from '@butterfly/orchestrator';
import type { Metrics, TelemetryView } from '@butterfly/telemetry';

/** Where the HTTP API listens and for whom, by default for no pages but its own; port 0 lets the system choose. */
export type HttpOptions = {
  readonly host: string;
  readonly port: number;
  readonly access: ApiAccess;
  /** Of what proves the server over TLS; undefined for plain HTTP. */
  readonly tls?: CertificateFiles | undefined;
} & {
  readonly [K in keyof HttpSettings]?: HttpSettings[K] | undefined;
};

/** Offers models over HTTP. @throws ButterflyError PORT_IN_USE, ADDRESS_INVALID, CONFIG_INVALID */
export async function startHttpApi(options: {
  readonly http: HttpOptions;
  readonly models: ModelDirectory;
  /** What administrates the cluster. */
  readonly view: ClusterView;
  /** Opens what administrates the cluster. */
  readonly token: string | null;
  readonly observe: Observer;
  /** What happened and happens in it. */
  readonly telemetry: TelemetryView;
  readonly joinLine: ClusterAdministration['joinLine'];
  /** Shown beside it. */
  readonly metrics?: Metrics | undefined;
}): Promise<ListeningApi> {
  const { view, token, telemetry, joinLine, metrics } = options;
  const { host, port, access, tls, ...settings } = options.http;
  const context = apiContext(options, access, settings);
  const page = metrics && ((accept: string | undefined) => metrics.page(accept));
  const administration = { view, token, telemetry, joinLine, metrics: page };
  const api = await startApi({ ...context, administration }, { host, port, tls });
  if (api.certificateEndsMs !== null) metrics?.certificateEnds(api.certificateEndsMs);
  return api;
}

/** What the API serves, without what administrates the cluster. */
export function apiContext(
  { models, observe }: { readonly models: ModelDirectory; readonly observe: Observer },
  access: ApiAccess,
  {
    keepAliveMs = deadlines.keepAliveMs,
    corsOrigins = [],
    hostNames = [],
  }: { readonly [K in keyof HttpSettings]?: HttpSettings[K] | undefined } = {},
): ApiContext {
  return { models, http: { keepAliveMs, corsOrigins, hostNames }, access, clock: systemClock, observe };
}
