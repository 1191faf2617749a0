import { ButterflyError } from '@butterfly/common';
import { assetsFolder, pageHeaders } from '@butterfly/page';
import type { FastifyReply } from 'fastify';
import type { AddRoute } from '../http/add-route.js';
import { prefersHtml } from './accept.js';
import { type Asset, readAssets } from './assets.js';

/** Its name tells what is in it: another content is another file. */
const keptForEver = 'public, max-age=31536000, immutable';

/**
 * Serves the page to everybody; what it shows is asked for by routes that know who may see it. `GET /` answers a line to whoever is no
 * browser: clients of Ollama look there whether a server runs.
 */
export function addPageRoutes(addOpen: AddRoute, folder = assetsFolder): void {
  const assets = readAssets(folder);
  addOpen('GET', '/', (request, reply) => {
    void reply.header('vary', 'accept');
    const index = prefersHtml(request.headers.accept) ? assets?.get('index.html') : undefined;
    if (index) return send(reply, index, 'no-cache');
    return reply.type('text/plain; charset=utf-8').send('Butterfly is running');
  });
  addOpen('GET', '/assets/:name', (request, reply) => {
    const { name } = request.params as { readonly name: string };
    const asset = name === 'index.html' ? undefined : assets?.get(name);
    if (asset) return send(reply, asset, keptForEver);
    throw new ButterflyError('NOT_FOUND', `The page has no file "${name}"; load it anew.`);
  });
}

function send(reply: FastifyReply, { type, bytes }: Asset, caching: string): FastifyReply {
  return reply
    .headers({ ...pageHeaders, 'cache-control': caching })
    .type(type)
    .send(bytes);
}
