import axe from 'axe-core';
import type { Browser, Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { hasChromium, launchChromium, openPage, type WatchedPage } from './testing/index.js';
import { tabs } from './browser/route.js';
import { chunk, ContractServer } from './testing/contract-server.js';
import { requestsOf } from './testing/glance.js';

const measureMs = Number(process.env.PAGE_MEASURE_MS ?? 600);

let browser: Browser;
let server: ContractServer;
const opened: WatchedPage[] = [];

async function open(hash = '#/cluster', options: Parameters<typeof openPage>[2] = {}): Promise<Page> {
  const still = { reducedMotion: 'reduce' as const, ...options };
  const watched = await openPage(browser, `${server.url}/${hash}`, still);
  opened.push(watched);
  return watched.page;
}

const go = async (page: Page, tab: string): Promise<void> => {
  await page.getByRole('link', { name: new RegExp(`^${tab}$`, 'i') }).click();
};

describe.skipIf(!hasChromium)('the page in a browser', () => {
  beforeAll(async () => {
    server = new ContractServer();
    await server.start();
    browser = await launchChromium();
  });
  // Pages that nobody looks at any more would go on drawing.
  afterEach(async () => {
    for (const { page } of opened) await page.context().close();
  });
  afterAll(async () => {
    await browser.close();
    await server.stop();
  });

  it('shows a hundred workers and a thousand requests', async () => {
    [server.workers, server.stages, server.requests] = [100, 90, requestsOf(1_000, Date.now())];
    const page = await open('#/cluster', { reducedMotion: 'no-preference' });
    [server.workers, server.stages] = [12, 4];
    await page.locator('.stage').first().waitFor();
    expect(await page.locator('.stage').count()).toBe(90);
    expect(await page.locator('.hop').count()).toBe(91);
    // With the one that was lost.
    expect(await page.locator('.apart > li').count()).toBe(11);
    expect(await page.locator('.apart .lost').innerText()).toContain('old-machine');
    const measured = [await speedOf(page)];
    await go(page, 'Requests');
    await page.locator('tbody tr').first().waitFor();
    expect(await page.locator('tbody tr').count()).toBe(100);
    measured.push(await speedOf(page));
    await page.getByLabel('Which requests').selectOption('failed');
    expect(await page.locator('tbody .pill.bad').count()).toBe(100);
    server.requests = requestsOf(30, Date.now());
    console.log(`100 workers and 1,000 requests, cluster and requests: ${measured.join('; ')}`);
  });

  it('opens a request as a timeline, with its replay', async () => {
    const page = await open(`#/requests/${server.requests[0]?.id ?? ''}`);
    await page.locator('.timeline .row.life').waitFor();
    for (const kind of ['queue', 'prefill', 'decode', 'recovery', 'replay'])
      expect(await page.locator(`.row.life .span-${kind}`).count()).toBeGreaterThan(0);
    expect(await page.locator('.row.stage').count()).toBe(3);
    await page.getByText('In words').click();
    expect(await page.locator('details table').innerText()).toContain('machine-1 was lost');
  });

  it('has no violation of accessibility, in light and dark', async () => {
    const found: string[] = [];
    for (const colorScheme of ['light', 'dark'] as const) {
      const options = { bypassCSP: true, colorScheme, reducedMotion: 'reduce' } as const;
      const { page } = await openPage(browser, `${server.url}/`, options);
      await page.locator('.stage').first().waitFor();
      await page.evaluate(axe.source);
      // In the dark colours alone are another matter.
      const rules = colorScheme === 'dark' ? ['color-contrast'] : null;
      for (const tab of tabs) {
        await go(page, tab);
        if (tab === 'requests') await page.locator('tbody a').first().click();
        if (tab === 'requests') await page.locator('.timeline').waitFor();
        found.push(
          ...(await page.evaluate<string[]>(axeRun(rules))).map((each) => `${colorScheme} ${tab}: ${each}`),
        );
      }
      await page.context().close();
    }
    expect(found).toEqual([]);
  });

  it('fits a phone', async () => {
    const page = await open('#/cluster', { viewport: { width: 360, height: 740 } });
    await page.locator('.stage').first().waitFor();
    for (const tab of tabs) {
      await go(page, tab);
      expect([tab, await page.evaluate('document.documentElement.scrollWidth')]).toEqual([tab, 360]);
    }
  });

  it('streams a chat, with Markdown and without what a model would have fetched', async () => {
    server.chat = (response) => {
      response.write(chunk({ role: 'assistant', content: '' }));
      response.write(chunk({ reasoning_content: 'Let me think.' }));
      response.write(
        chunk({ content: '**Hello** <img src=x onerror=alert(1)>\n\n![x](http://example.com/x.png)\n\n' }),
      );
      response.write(chunk({ content: '| a | b |\n|--:|---|\n| 1 | 2 |\n' }));
      const call = { index: 0, id: 'c1', function: { name: 'weather', arguments: '{"city":"Ulm"}' } };
      response.write(chunk({ tool_calls: [call] }));
      response.end(`${chunk({}, { finish_reason: 'tool_calls' })}data: [DONE]\n\n`);
    };
    const page = await open('#/chat');
    await ask(page, 'Say hello');
    const answer = page.getByRole('article', { name: 'Answer' });
    await answer.locator('footer').waitFor();
    expect(await answer.locator('strong').innerText()).toBe('Hello');
    expect(await answer.locator('img').count()).toBe(0);
    expect(await answer.locator('th.align-right').count()).toBe(1);
    expect(await answer.locator('.reasoning').count()).toBe(1);
    expect(await answer.locator('.call').innerText()).toContain('weather');
    server.chat = (response) => response.end(`${chunk({ content: 'Sunny.' })}data: [DONE]\n\n`);
    await page.getByLabel('Result of weather').fill('sun');
    await page.getByRole('button', { name: 'Give it' }).click();
    await page.getByText('Sunny.').waitFor();
    await page.reload();
    await page.getByText('Sunny.').waitFor();
  });

  it('says of a stream that is cut, that fails, and that is stopped, what it is', async () => {
    const page = await open('#/chat');
    let cut: () => void = () => undefined;
    server.chat = (response) => {
      response.write(chunk({ content: 'Once upon' }));
      cut = () => response.destroy();
    };
    await ask(page, 'A tale');
    await page.getByText('Once upon').waitFor();
    cut();
    await page.getByText('The stream was cut before its end').waitFor();
    const error = { message: 'A worker is gone.', code: 'worker_lost' };
    server.chat = (response) => response.end(`data: ${JSON.stringify({ error })}\n\n`);
    await page.getByRole('button', { name: 'Regenerate' }).click();
    await page.getByText('A worker is gone.').waitFor();
    server.chat = (response) => response.write(chunk({ content: 'For ever' }));
    await page.getByRole('button', { name: 'Regenerate' }).click();
    await page.getByText('For ever').waitFor();
    await page.getByRole('button', { name: 'Stop' }).click();
    await page.getByText('You stopped it.').waitFor();
  });

  it('asks before it drains, and makes a line for the next machine', async () => {
    const page = await open();
    await page.getByRole('button', { name: 'Drain machine-3', exact: true }).click();
    expect(server.posted).not.toContain('/cluster/workers/w3/drain');
    const answered = page.waitForResponse(/drain$/);
    await page.getByRole('dialog').getByRole('button', { name: 'Drain machine-3' }).click();
    await answered;
    expect(server.posted).toContain('/cluster/workers/w3/drain');
    await go(page, 'Join');
    await page.getByRole('button', { name: 'Make the line' }).click();
    expect(await page.locator('.join-line').innerText()).toContain('butterfly worker --join 10.0.0.1:7070');
  });

  it('says that no sign of life comes, and shows a server that was started again as new', async () => {
    const page = await open();
    await page.locator('.stage').first().waitFor();
    await page.getByText('ready', { exact: true }).first().waitFor();
    await server.stop();
    await page.locator('.banner').waitFor();
    expect(await page.locator('.banner').innerText()).toMatch(/No sign of life since .*may be out of date/);
    expect(await page.locator('main.stale').count()).toBe(1);
    expect(await page.locator('.pill.good', { hasText: 'ready' }).count()).toBe(0);
    server.startedMs += 1_000_000;
    await server.start();
    await page.locator('.banner').waitFor({ state: 'detached' });
    expect(await page.locator('main.stale').count()).toBe(0);
    expect(await page.locator('.stage').count()).toBe(server.stages);
  });

  it('asks for a key where one is needed, and forgets it with its window', async () => {
    server.key = 'the token';
    const page = await open();
    await page.getByLabel(/Key of an administrator/).fill('another');
    await page.getByRole('button', { name: 'Use it' }).click();
    await page.getByText('The key that was given is not good for this.').waitFor();
    await page.getByLabel(/Key of an administrator/).fill('the token');
    await page.getByRole('button', { name: 'Use it' }).click();
    await page.locator('.stage').first().waitFor();
    expect(await page.evaluate(`[sessionStorage.length, localStorage.getItem('butterfly-key')]`)).toEqual([
      1,
      null,
    ]);
    server.key = null;
  });

  it('broke its policy nowhere, and asked nobody else', () => {
    expect(opened.flatMap(({ complaints }) => complaints)).toEqual([]);
    const asked = opened.flatMap((each) => each.asked);
    expect(asked.filter((url) => !url.startsWith(`${server.url}/`))).toEqual([]);
  });
});

async function ask(page: Page, text: string): Promise<void> {
  await page.getByLabel('Your message').fill(text);
  await page.getByRole('button', { name: 'Send' }).click();
}

/** Violations in the words of axe. */
const axeRun = (rules: readonly string[] | null): string =>
  `axe.run(document, ${JSON.stringify(rules ? { runOnly: rules } : {})}).then(({ violations }) =>
  violations.map(({ id, nodes }) => id + ': ' + nodes.slice(0, 3).map(({ html, failureSummary }) => html.slice(0, 120) + ' ' + failureSummary).join(' | ')))`;

/** Frames of a while, and the memory of its scripts: for people to read. */
async function speedOf(page: Page): Promise<string> {
  const frames = await page.evaluate<number>(`new Promise((resolve) => {
    const startMs = performance.now();
    let count = 0;
    const next = (nowMs) => {
      count += 1;
      if (nowMs - startMs < ${measureMs}) requestAnimationFrame(next);
      else resolve((count * 1000) / (nowMs - startMs));
    };
    requestAnimationFrame(next);
  })`);
  const session = await page.context().newCDPSession(page);
  await session.send('Performance.enable');
  const { metrics } = await session.send('Performance.getMetrics');
  const heap = metrics.find(({ name }) => name === 'JSHeapUsedSize')?.value ?? NaN;
  return `${frames.toFixed(0)} frames/s, ${(heap / 1e6).toFixed(1)} MB of heap`;
}
