import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ownModel } from 'butterfly/command';
import { hasChromium, launchChromium, openPage } from '@butterfly/page/testing';
import type { Page } from 'playwright-core';
import { expect, it } from 'vitest';
import { Server, startWorker } from './testing/server.js';

const images = fileURLToPath(new URL('../../../docs/images/', import.meta.url));
const isShooting = process.env.SCREENSHOTS === '1';

/** For the documents, where they are asked for. */
async function shoot(page: Page, name: string): Promise<void> {
  if (!isShooting) return;
  mkdirSync(images, { recursive: true });
  await page.screenshot({ path: join(images, `page-${name}.png`) });
}

const go = async (page: Page, tab: string): Promise<void> => {
  await page.getByRole('link', { name: tab, exact: true }).click();
};

/** Asks in a new chat, of at most so many tokens. */
async function ask(page: Page, text: string, tokensMax: number, more = ''): Promise<void> {
  await go(page, 'Chat');
  await page.getByRole('button', { name: 'New chat', exact: true }).click();
  await page.getByLabel('Temperature').fill('0');
  await page.getByLabel('Tokens at most').fill(String(tokensMax));
  await page.getByLabel('Further fields').fill(more);
  await page.getByLabel('Your message').fill(text);
  await page.getByRole('button', { name: 'Send' }).click();
}

const answered = (page: Page): Promise<void> =>
  page.getByRole('article', { name: 'Answer' }).last().locator('footer').waitFor();

it.skipIf(!hasChromium)('the page shows a worker die, and the chat that outlives it', async () => {
  await using server = new Server(
    ['--workers', '0', '--wait-for', '3', '--stages', '3', '--ctx', '2048', '--deterministic'],
    { path: ownModel, clusterHost: '0.0.0.0' },
  );
  await server.line(/^Join with/);
  await using _first = startWorker(server, ['--name', 'attic']);
  await using victim = startWorker(server, ['--name', 'cellar']);
  await using _last = startWorker(server, ['--name', 'desk']);
  await server.ready();
  const browser = await launchChromium();
  try {
    const viewport = { width: 1280, height: 800 };
    const { page, complaints, asked } = await openPage(browser, `${server.url}/`, { viewport });
    // As long as the test may take.
    page.setDefaultTimeout(170_000);
    await page.locator('.stage').nth(2).waitFor();
    expect(await page.locator('.stage').count()).toBe(3);
    expect((await page.locator('.stage h4').allInnerTexts()).sort()).toEqual(['attic', 'cellar', 'desk']);
    expect(await page.locator('.hop-words').count()).toBe(4);

    await ask(page, 'Tell me a story about a moth.', 90);
    await answered(page);
    await shoot(page, 'chat');

    const tokens = isShooting ? 1_500 : 700;
    await ask(page, 'Tell me a long story.', tokens, '{"ignore_eos": true}');
    await page.locator('.message.assistant .markdown', { hasText: /\S.{40}/ }).waitFor();
    if (isShooting) {
      await go(page, 'Cluster');
      await page.locator('.pipeline.moving').waitFor();
      await shoot(page, 'cluster');
    }
    victim.kill('SIGKILL');
    await go(page, 'Cluster');
    await page.locator('.lost', { hasText: 'cellar' }).waitFor();
    await page.locator('.stage').nth(2).waitFor({ state: 'detached' });
    expect(await page.locator('.events').innerText()).toContain('cellar');
    await page.locator('.panel .pill.good', { hasText: 'ready' }).first().waitFor();
    await shoot(page, 'loss');

    await go(page, 'Chat');
    await answered(page);
    expect(await page.locator('.message .failure').count()).toBe(0);
    expect(await page.locator('.message.assistant footer').innerText()).toContain(
      `${tokens.toLocaleString('en')} tokens`,
    );

    await go(page, 'Requests');
    await page.locator('tbody a').first().click();
    await page.locator('.row.life .span-replay').first().waitFor();
    expect(await page.locator('.row.life .span-recovery').count()).toBeGreaterThan(0);
    expect(await page.locator('.row.life .span-decode').count()).toBeGreaterThan(1);
    // Three before, two after.
    expect(await page.locator('.row.stage').count()).toBe(3);
    await shoot(page, 'request');
    await go(page, 'Performance');
    await page.locator('.chart').first().waitFor();
    await shoot(page, 'performance');

    await go(page, 'Join');
    await page.getByRole('button', { name: 'Make the line' }).click();
    expect(await page.locator('.join-line').innerText()).toMatch(/BUTTERFLY_TOKEN=\S+ .*worker --join/);
    expect(complaints).toEqual([]);
    expect(asked.filter((url) => !url.startsWith(`${server.url}/`))).toEqual([]);
  } finally {
    await browser.close();
  }
});

it('gives its files to everybody, and what they show to administrators', async () => {
  await using server = new Server(['--ctx', '128'], { path: ownModel });
  await server.ready();
  const elsewhere = { 'x-forwarded-for': '10.0.0.9' };
  const page = await fetch(server.url, { headers: { ...elsewhere, accept: 'text/html' } });
  expect([page.status, page.headers.get('content-type')]).toEqual([200, 'text/html; charset=utf-8']);
  for (const path of ['/cluster/live', '/cluster/requests', '/cluster/requests/x', '/cluster', '/models']) {
    const refused = await fetch(server.url + path, { headers: elsewhere });
    expect([path, refused.status, refused.headers.get('x-butterfly-code')]).toEqual([
      path,
      403,
      'ACCESS_DENIED',
    ]);
  }
});
