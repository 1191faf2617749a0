import { isIP } from 'node:net';
import { ButterflyError } from '@butterfly/common';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import { HttpRefusal } from './errors.js';

const loopbackName = /^(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])$/i;
const hostForm = /^(\[[\da-f:.]+\]|[^\s:/?#@[\]\\]+)(?::\d{0,5})?$/i;
const loopbackAddress = /^(?:::ffff:)?127(?:\.\d{1,3}){3}$|^::1$/i;

/** Whether the host of a URL, with or without a port, is this machine for itself. */
export function isLoopbackHost(host: string): boolean {
  return loopbackName.test(hostForm.exec(host)?.[1] ?? '');
}

/** Whether this is an address of the machine for itself. */
export function isLoopbackAddress(address: string): boolean {
  return loopbackAddress.test(address);
}

/**
 * Refuses requests to a server on a loopback address under any name but its own: a page of elsewhere whose name was made
 * to lead here (DNS rebinding) is of one origin with this server for its browser, and betrays itself by that name.
 * @param hostNames allowed besides `localhost` and loopback addresses, without a port
 * @returns ACCESS_DENIED, or status 400 for a host that is none; null for one that is let in
 */
export function hostRefusal(
  app: FastifyInstance,
  { headers, raw }: FastifyRequest,
  hostNames: readonly string[],
): ButterflyError | null {
  const { host = '' } = headers;
  const name = hostForm.exec(host)?.[1]?.toLowerCase().replace(/\.$/, '');
  // Only HTTP/1.0 may leave it out.
  if (name === undefined && (host !== '' || raw.httpVersion !== '1.0'))
    return new HttpRefusal(
      400,
      'The host header is missing or malformed; send one, such as "host: localhost:8080".',
    );
  const address = app.server.address();
  if (typeof address !== 'object' || address === null || !isLoopbackAddress(address.address)) return null;
  if (name !== undefined && (loopbackName.test(name) || hostNames.includes(name))) return null;
  return new ButterflyError(
    'ACCESS_DENIED',
    `This server is for its own machine, and the request ${name === undefined ? 'names no host' : `asks for "${name}"`}: ask for localhost or 127.0.0.1, or start it with "serve --allow-host ${name ?? 'NAME'}".`,
  );
}

/** A name as the host header has it: in small letters, an IPv6 address in brackets. */
export function hostName(name: string): string {
  return isIP(name) === 6 ? `[${name.toLowerCase()}]` : name.toLowerCase();
}
