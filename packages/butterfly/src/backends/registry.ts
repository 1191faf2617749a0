import { ButterflyError, deadlines, toButterflyError } from '@butterfly/common';
import type { FileSource } from '../download/download.js';
import type { BackendPackage } from './packages.js';

/**
 * The archive of a package in a registry of npm, where such registries have it.
 * @param registry URL, with or without a slash at its end
 */
export function archiveIn(registry: string, { package: name, version }: BackendPackage): FileSource {
  const base = registry.replace(/\/+$/u, '');
  const url = `${base}/${name}/-/${name.split('/').at(-1) ?? name}-${version}.tgz`;
  return {
    name: 'registry',
    open: async (offset, signal) => {
      try {
        return await open(url, offset, signal);
      } catch (thrown) {
        throw explain(thrown, base);
      }
    },
    explainCut: (thrown) => explain(thrown, base),
  };
}

/** @throws ButterflyError NOT_FOUND, ACCESS_DENIED, PEER_UNREACHABLE, TIMEOUT; as `fetch` does */
async function open(url: string, offset: number, signal: AbortSignal): Promise<ReadableStream<Uint8Array>> {
  const answered = new AbortController();
  const timer = setTimeout(
    () => answered.abort(new ButterflyError('TIMEOUT', `${url} does not answer; try again later.`)),
    deadlines.fetchMs,
  );
  try {
    const response = await fetch(url, {
      headers: offset === 0 ? {} : { range: `bytes=${offset}-` },
      signal: AbortSignal.any([signal, answered.signal]),
    });
    if (!response.ok || !response.body) {
      await response.body?.cancel();
      throw statusError(response.status, url);
    }
    const isPart = response.status === 206;
    if (!isPart) return offset === 0 ? response.body : response.body.pipeThrough(skipping(offset));
    if (!new RegExp(`^bytes ${offset}-`, 'u').test(response.headers.get('content-range') ?? '')) {
      await response.body.cancel();
      throw new ButterflyError(
        'PROTOCOL_INVALID',
        `${url} sent another part than was asked for; use another --registry.`,
      );
    }
    return response.body;
  } finally {
    clearTimeout(timer);
  }
}

/** For registries that send a file from its start always. */
function skipping(bytes: number): TransformStream<Uint8Array, Uint8Array> {
  let left = bytes;
  return new TransformStream({
    transform: (chunk, controller) => {
      const skipped = Math.min(left, chunk.byteLength);
      left -= skipped;
      if (skipped < chunk.byteLength) controller.enqueue(chunk.subarray(skipped));
    },
  });
}

function statusError(status: number, url: string): ButterflyError {
  if (status === 401 || status === 403)
    return new ButterflyError(
      'ACCESS_DENIED',
      `${url} wants a login (${status}), which is not supported; use another --registry.`,
    );
  if (status === 404) return new ButterflyError('NOT_FOUND', `There is no ${url}; use another --registry.`);
  return new ButterflyError('PEER_UNREACHABLE', `${url} failed with status ${status}; try again later.`);
}

/** What fetch throws, whether for a connection that never was or for one that ended. */
function explain(thrown: unknown, registry: string): ButterflyError {
  if (!(thrown instanceof TypeError)) return toButterflyError(thrown);
  const { cause } = thrown;
  const reason = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  return thrown.message === 'terminated' || reason === 'UND_ERR_SOCKET' || reason === 'ECONNRESET'
    ? new ButterflyError('CONNECTION_CLOSED', `The connection to ${registry} was cut.`, { cause: thrown })
    : new ButterflyError(
        'PEER_UNREACHABLE',
        `${registry} cannot be reached (${reason || thrown.message}); check the network and --registry.`,
        { cause: thrown },
      );
}
