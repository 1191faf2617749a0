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
import { join } from 'node:path';
import { type Observer, deadlines, limits, systemClock } from '@butterfly/common';
import { type Journal, openEmbeddedJournal, openNatsJournal } from '@butterfly/journal';
import type { ClusterView } from '@butterfly/orchestrator';
import type { Metrics, TelemetryView } from '@butterfly/telemetry';

/** Where the HTTP API listens and for whom, by default for no pages but its own; port 0 lets the system choose. */
export type HttpOptions = {
  readonly host: string;
  readonly port: number;
  readonly access: ApiAccess;
  /** Of what proves the server over TLS; undefined for plain HTTP. */
  readonly tls?: CertificateFiles | undefined;
  /** Where the answers to which clients may come back outlive this process; by default nowhere. */
  readonly journal?: JournalWishes | undefined;
} & {
  readonly [K in keyof HttpSettings]?: HttpSettings[K] | undefined;
};

/** Where requests are kept. */
export type JournalWishes = {
  /** Whether a token is told before it is kept. */
  readonly isRelaxed: boolean;
} & (
  | {
      readonly kind: 'folder';
      /** Each port has a folder of its own in it, so that two servers do not take each other's. */
      readonly directory: string;
    }
  | {
      readonly kind: 'nats';
      /** `HOST:PORT` of JetStream servers: one that keeps all, or three or five that each do. */
      readonly servers: readonly string[];
      /** Which requests of theirs are those of this server, and of whoever takes its place. */
      readonly pool: string;
    }
);

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
  const { host, port, access, tls, journal: wishes, ...settings } = options.http;
  const journal = await openJournal(wishes, port);
  const resumption = { journal, isRelaxed: wishes?.isRelaxed ?? true, graceMs: deadlines.resumeGraceMs };
  const context = { ...apiContext(options, access, settings), resumption };
  const page = metrics && ((accept: string | undefined) => metrics.page(accept));
  const administration = { view, token, telemetry, joinLine, metrics: page };
  const api = await startApi({ ...context, administration }, { host, port, tls }).catch(
    async (error: unknown) => {
      await journal?.close();
      throw error;
    },
  );
  if (api.certificateEndsMs !== null) metrics?.certificateEnds(api.certificateEndsMs);
  return {
    ...api,
    close: async () => {
      await api.close();
      await journal?.close();
    },
  };
}

/** Null where nothing is kept. @throws ButterflyError JOURNAL_FAILED, CONFIG_INVALID */
async function openJournal(wishes: JournalWishes | undefined, port: number): Promise<Journal | null> {
  const bounds = { bytesMax: limits.journalBytesMax, requestsMax: limits.resumableAnswersMax };
  switch (wishes?.kind) {
    case undefined:
      return null;
    case 'folder':
      // A port of the system's choice is another one at the next start.
      if (port === 0) return null;
      return openEmbeddedJournal({ ...bounds, directory: join(wishes.directory, String(port)) });
    case 'nats': {
      const { servers, pool } = wishes;
      return openNatsJournal({ ...bounds, servers, pool, replicas: servers.length });
    }
    default:
      return wishes satisfies never;
  }
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
