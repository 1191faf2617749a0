import type { z } from 'zod';
import { ButterflyError } from './errors.js';

/** Where something listens. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/**
 * Validates a value once at the edge and freezes it.
 * @throws ButterflyError CONFIG_INVALID that names the field at fault.
 */
export function parseConfig<S extends z.ZodType>(
  schema: S,
  value: unknown,
  what: string,
): Readonly<z.output<S>> {
  const parsed = schema.safeParse(value);
  if (parsed.success) return Object.freeze(parsed.data);
  const issue = parsed.error.issues[0];
  const param = issue?.path.join('.') ?? '';
  throw new ButterflyError(
    'CONFIG_INVALID',
    `${what}: ${param ? `${param}: ` : ''}${issue?.message ?? 'invalid'}`,
    {
      param,
    },
  );
}

/**
 * Parses `HOST:PORT` (or `[IPV6]:PORT`).
 * @throws ButterflyError ADDRESS_INVALID
 */
export function parseAddress(text: string): Address {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^\s:[\]]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3]);
  if (host === undefined || port < 1 || port > 65_535)
    throw new ButterflyError(
      'ADDRESS_INVALID',
      `"${text}" is not an address; write HOST:PORT, such as 192.168.1.10:7600.`,
    );
  return { host, port };
}

/** Writes an address as `parseAddress` reads it, and as URLs have it. */
export function formatAddress({ host, port }: Address): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** Whether a host, by name or address, is this machine for itself, where nobody from elsewhere comes in. */
export function isLoopbackHost(host: string): boolean {
  return /^(?:localhost|127(?:\.\d{1,3}){3}|::1|::ffff:127(?:\.\d{1,3}){3})$/iu.test(host);
}
