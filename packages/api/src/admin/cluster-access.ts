import { ButterflyError, secretsEqual } from '@butterfly/common';
import { isLoopbackAddress, isLoopbackHost } from '../http/host-check.js';

/** What a request shows of who sent it. */
export interface Caller {
  /** Address of the other end of the connection. */
  readonly remoteAddress: string;
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>;
  /** Whether it showed the key of an administrator. */
  readonly hasAdminKey: boolean;
}

/**
 * Lets in whoever calls from this very machine, or shows the join token or the key of an administrator.
 * @throws ButterflyError ACCESS_DENIED
 */
export function requireAdministrator(caller: Caller, token: string | null): void {
  if (caller.hasAdminKey || (token !== null && showsToken(caller, token))) return;
  if (isOfThisMachine(caller)) return;
  throw new ButterflyError(
    'ACCESS_DENIED',
    'This is for the administrator of the cluster: ask from the machine of the server, or send a key of "butterfly key create --admin", or the join token, as "authorization: Bearer KEY".',
  );
}

function showsToken({ headers }: Caller, token: string): boolean {
  const shown = /^Bearer +(.+)$/i.exec(one(headers.authorization) ?? '')?.[1];
  return shown !== undefined && secretsEqual(shown, token);
}

/**
 * A proxy on this machine speaks for others, and a browser for whatever page it shows: a page of elsewhere betrays
 * itself by its origin, or by the name under which it reached us.
 */
function isOfThisMachine({ remoteAddress, headers }: Caller): boolean {
  const host = one(headers.host);
  const origin = one(headers.origin);
  return (
    isLoopbackAddress(remoteAddress) &&
    headers.forwarded === undefined &&
    headers['x-forwarded-for'] === undefined &&
    host !== undefined &&
    isLoopbackHost(host) &&
    (origin === undefined || origin === `http://${host}` || origin === `https://${host}`)
  );
}

function one(value: string | readonly string[] | undefined): string | undefined {
  return typeof value === 'string' ? value : value?.[0];
}
