import { setTimeout as sleep } from 'node:timers/promises';
import { type Address, ButterflyError, formatAddress } from '@butterfly/common';
import { protocolVersion } from '@butterfly/wire';
import type { Service } from 'bonjour-service';
import { z } from 'zod';
import { openMulticast, serviceType, type MulticastOptions } from './multicast.js';

/** An orchestrator that announces itself on the local network. Whatever it says of itself is not to be trusted. */
export interface FoundOrchestrator extends Address {
  readonly name: string;
  readonly model: string;
  /** Version of the wire protocol; 0 when it does not say. */
  readonly protocol: number;
}

/** Most orchestrators that are listed: anybody on the network may send as many as they like. */
const foundMax = 256;
const askAgainMs = 1000;
export const discoverMs = 3000;

/**
 * Listens for orchestrators, and asks for them, for some time.
 * @throws ButterflyError PEER_UNREACHABLE when multicast DNS does not work here
 */
export async function discover(
  options: { readonly durationMs?: number; readonly multicast?: MulticastOptions } = {},
): Promise<FoundOrchestrator[]> {
  const failed = new AbortController();
  const multicast = openMulticast(options.multicast ?? {}, (error) => failed.abort(error));
  const found = new Map<string, FoundOrchestrator>();
  const browser = multicast.bonjour.find({ type: serviceType }, (service) => {
    const orchestrator = readService(service);
    if (orchestrator && found.size < foundMax) found.set(formatAddress(orchestrator), orchestrator);
  });
  // A datagram may be lost.
  const timer = setInterval(() => browser.update(), askAgainMs);
  try {
    await sleep(options.durationMs ?? discoverMs, undefined, { signal: failed.signal }).catch(() =>
      failed.signal.throwIfAborted(),
    );
  } finally {
    clearInterval(timer);
    browser.stop();
    await multicast.close();
  }
  return [...found.values()].sort((a, b) => formatAddress(a).localeCompare(formatAddress(b)));
}

const text = z
  .string()
  .max(256)
  .transform((value) => value.replaceAll(/\p{Cc}+/gu, ' '));
const serviceSchema = z.object({
  name: text,
  port: z.int().min(1).max(65_535),
  addresses: z.array(z.string().max(64)).max(64).catch([]),
  referer: z.object({ address: z.string().max(64) }).optional(),
  txt: z
    .object({
      model: text.catch('unknown'),
      protocol: z.coerce.number().int().min(0).catch(0),
      host: z
        .string()
        .regex(/^[\w.:-]{1,255}$/)
        .optional()
        .catch(undefined),
    })
    .catch({ model: 'unknown', protocol: 0 }),
});

/** Null for what is no sound announcement. */
export function readService(
  service: Pick<Service, 'name' | 'port' | 'addresses' | 'referer' | 'txt'>,
): FoundOrchestrator | null {
  const parsed = serviceSchema.safeParse(service);
  if (!parsed.success) return null;
  const { name, port, addresses, referer, txt } = parsed.data;
  // What it says it listens on; else where its packet came from, which this machine can reach; else what it lists.
  const host = txt.host ?? referer?.address ?? addresses[0];
  return host === undefined ? null : { name, port, host, model: txt.model, protocol: txt.protocol };
}

/**
 * The only one that can be joined.
 * @throws ButterflyError PEER_UNREACHABLE for none, PROTOCOL_VERSION for none of this version, CONFIG_INVALID for several
 */
export function chooseOrchestrator(found: readonly FoundOrchestrator[]): FoundOrchestrator {
  const fitting = found.filter(({ protocol }) => protocol === protocolVersion);
  const [chosen, ...others] = fitting;
  if (chosen && others.length === 0) return chosen;
  const list = (some: readonly FoundOrchestrator[]) =>
    some.map((each) => `${formatAddress(each)} (${each.model})`).join(', ');
  if (chosen)
    throw new ButterflyError(
      'CONFIG_INVALID',
      `${fitting.length} orchestrators were found; join one of them with --join: ${list(fitting)}.`,
    );
  if (found.length > 0)
    throw new ButterflyError(
      'PROTOCOL_VERSION',
      `What was found speaks another protocol version than ${protocolVersion}: ${list(found)}; upgrade the older side.`,
    );
  throw new ButterflyError(
    'PEER_UNREACHABLE',
    'No orchestrator announces itself on this network: start one with "butterfly serve --announce", or give its address with --join HOST:PORT if multicast (UDP port 5353) does not pass here.',
  );
}
