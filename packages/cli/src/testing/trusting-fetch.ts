import { request } from 'node:https';
import { Readable } from 'node:stream';

/** `fetch` that trusts this authority alone, since Node's own takes none. @param ca PEM */
export function trustingFetch(ca: () => string): typeof fetch {
  return (input, init) =>
    new Promise((resolve, reject) => {
      const url = input instanceof Request ? input.url : input;
      const { method = 'GET', headers, body, signal } = init ?? {};
      const asked = request(
        url,
        { ca: ca(), agent: false, method, headers: Object.fromEntries(new Headers(headers)) },
        (response) => {
          const { statusCode: status = 0, headers: given } = response;
          const all = Object.entries(given).map(([name, value]) => [name, String(value)] as [string, string]);
          resolve(new Response(Readable.toWeb(response) as ReadableStream, { status, headers: all }));
        },
      );
      asked.on('error', reject);
      signal?.addEventListener('abort', () => asked.destroy());
      asked.end(typeof body === 'string' ? body : undefined);
    });
}
