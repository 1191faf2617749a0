import { hostname } from 'node:os';
import type { Logger } from '@butterfly/common';
import { protocolVersion } from '@butterfly/wire';
import { openMulticast, serviceType, type MulticastOptions } from './multicast.js';

export interface AnnounceOptions {
  /** Where workers join. */
  readonly clusterHost: string;
  readonly clusterPort: number;
  /** Name of the model. */
  readonly modelId: string;
  readonly log: Logger;
  readonly multicast?: MulticastOptions;
}

export interface Announcement {
  /** Says goodbye and closes. */
  stop(): Promise<void>;
}

/** Bytes of a label of DNS, and of a text of a record. */
const labelBytesMax = 63;
const textCharactersMax = 100;

/**
 * Tells the local network where workers can join, but never the token. Where that cannot be done, a warning says so:
 * nobody is served worse for it.
 */
export function announce(options: AnnounceOptions): Announcement {
  const { clusterHost, clusterPort, modelId, log, multicast = {} } = options;
  const opened = openMulticast(multicast, (error) => {
    log.warn({ err: error }, `The cluster is not announced. ${error.message}`);
    void opened.close();
  });
  const isEveryAddress = clusterHost === '0.0.0.0' || clusterHost === '::';
  opened.bonjour.publish({
    // Unique, since the library would print to the terminal when it is not.
    name: serviceName(hostname(), clusterPort),
    type: serviceType,
    port: clusterPort,
    probe: false,
    txt: {
      model: modelId.slice(0, textCharactersMax),
      protocol: String(protocolVersion),
      ...(isEveryAddress ? {} : { host: clusterHost }),
    },
  });
  return { stop: () => opened.close() };
}

function serviceName(host: string, port: number): string {
  const suffix = `-${port}`;
  const plain = host.replaceAll(/[^A-Za-z0-9-]/g, '-') || 'butterfly';
  return `${plain.slice(0, labelBytesMax - suffix.length)}${suffix}`;
}
