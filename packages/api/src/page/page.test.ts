import { execFileSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ClusterView } from '@butterfly/orchestrator';
import { assetsFolder } from '@butterfly/page';
import { startApi, type TestApi } from '../testing/api.js';
import { prefersHtml } from './accept.js';
import { readAssets } from './assets.js';

const browser = 'text/html,application/xhtml+xml,application/xml;q=0.9,image/webp,*/*;q=0.8';

it.each([
  [browser, true],
  ['text/html', true],
  ['text/html;q=0.5, application/json', false],
  ['*/*', false],
  ['application/json, text/plain, */*', false],
  ['', false],
  [undefined, false],
  ['text/html;q=0', false],
])('who accepts %j would rather have HTML: %j', (accept, expected) => {
  expect(prefersHtml(accept)).toBe(expected);
});

describe('the page', () => {
  let api: TestApi;
  beforeAll(async () => {
    if (!existsSync(join(assetsFolder, 'index.html')))
      execFileSync(process.execPath, [
        fileURLToPath(new URL('../../../../scripts/page.mjs', import.meta.url)),
      ]);
    // Nobody looks at the cluster here.
    api = await startApi({ view: {} as ClusterView, token: null });
  });
  afterAll(() => api.close());

  const get = (path: string, accept = browser): Promise<Response> =>
    fetch(api.url + path, { headers: { accept } });
  const asset = (ending: string): string =>
    `/assets/${readdirSync(assetsFolder).find((name) => name.endsWith(ending)) ?? ''}`;

  it('is what browsers get, with a policy that lets nothing in from elsewhere', async () => {
    const page = await get('/');
    expect(page.status).toBe(200);
    expect(Object.fromEntries(page.headers)).toMatchObject({
      'content-type': 'text/html; charset=utf-8',
      'cache-control': 'no-cache',
      vary: 'accept',
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
      'cross-origin-opener-policy': 'same-origin',
      'content-security-policy':
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; font-src 'self'; connect-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    });
    const html = await page.text();
    const named = [...html.matchAll(/(?:src|href)="([^"]*)"/g)].map(([, path]) => path);
    expect(named.sort()).toEqual([asset('.css'), asset('.js'), asset('.svg')].sort());
    expect(html).not.toMatch(/<style|style=|<script>|\son\w+=/);
  });

  it.each(['*/*', 'application/json', 'application/json, text/plain, */*'])(
    'is a line for who accepts %s, as clients of Ollama look for one',
    async (accept) => {
      const answer = await get('/', accept);
      expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'text/plain; charset=utf-8']);
      expect(await answer.text()).toBe('Butterfly is running');
    },
  );

  it('has files that browsers may keep for ever, and no others', async () => {
    const script = await get(asset('.js'));
    expect(script.status).toBe(200);
    expect(script.headers.get('cache-control')).toBe('public, max-age=31536000, immutable');
    expect(script.headers.get('content-security-policy')).toContain("default-src 'none'");
    expect((await script.arrayBuffer()).byteLength).toBeGreaterThan(10_000);
    for (const path of [
      '/assets/index.html',
      '/assets/none.js',
      '/assets/..%2f..%2fpackage.json',
      '/assets/',
    ]) {
      const missing = await get(path);
      expect([missing.status, missing.headers.get('x-butterfly-code')]).toEqual([404, 'NOT_FOUND']);
    }
    expect((await fetch(api.url + asset('.js'), { method: 'HEAD' })).status).toBe(200);
    expect((await fetch(api.url, { method: 'POST' })).status).toBe(405);
  });

  it('leaves what is nowhere the JSON that it was', async () => {
    const missing = await get('/nothing');
    expect([missing.status, missing.headers.get('content-type')]).toEqual([
      404,
      'application/json; charset=utf-8',
    ]);
  });

  it('is not there where it was not built', () => {
    expect(readAssets('/nowhere')).toBeNull();
  });
});
