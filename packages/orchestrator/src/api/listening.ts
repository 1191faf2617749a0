import { listenError } from '@butterfly/common';
import type { ApiContext } from './context.js';
import { hostName } from './host-check.js';
import { createApi } from './server.js';

/** The HTTP API while it listens. */
export interface ListeningApi {
  readonly port: number;
  /** Lets the answers that are under way end, for `deadlines.drainMs`, and then cuts every connection. */
  close(): Promise<void>;
}

/**
 * Offers what the context has over HTTP.
 * @param address port 0 lets the system choose
 * @throws ButterflyError PORT_IN_USE, ADDRESS_INVALID
 */
export async function startApi(
  context: ApiContext,
  address: { readonly host: string; readonly port: number },
): Promise<ListeningApi> {
  const names = [address.host, ...context.http.hostNames].map(hostName);
  const api = createApi({ ...context, http: { ...context.http, hostNames: names } });
  try {
    await api.listen({ ...address });
  } catch (cause) {
    await api.close();
    throw listenError(address.host, address.port, cause);
  }
  const bound = api.server.address();
  const port = typeof bound === 'object' && bound ? bound.port : address.port;
  return { port, close: () => api.close() };
}
