import { existsSync } from 'node:fs';
import { type Browser, type BrowserContextOptions, chromium, type Page } from 'playwright-core';

const executablePath = '/usr/bin/chromium';

/** Without a browser its tests are skipped, and say so. */
export const hasChromium = existsSync(executablePath);
if (!hasChromium) console.warn(`${executablePath} is not installed: what a browser shows is not tested.`);

/** The browser of Debian, without windows. */
export function launchChromium(): Promise<Browser> {
  return chromium.launch({
    executablePath,
    args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'],
  });
}

/** A page of a window of its own, and all that it complained of: errors, and breaches of its policy. */
export interface WatchedPage {
  readonly page: Page;
  readonly complaints: readonly string[];
  /** Addresses that it asked for. */
  readonly asked: readonly string[];
}

/** Opens a page at an address. */
export async function openPage(
  browser: Browser,
  url: string,
  options: BrowserContextOptions = {},
): Promise<WatchedPage> {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const complaints: string[] = [];
  const asked: string[] = [];
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('console', (message) => {
    // What the server refuses or drops is told there too, and is no fault of the page.
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource'))
      complaints.push(message.text());
  });
  page.on('request', (request) => asked.push(request.url()));
  await page.exposeFunction('tellOfBreach', (words: string) => complaints.push(words));
  await page.addInitScript(
    `addEventListener('securitypolicyviolation', (event) => tellOfBreach(event.violatedDirective + ' ' + event.blockedURI));`,
  );
  await page.goto(url);
  return { page, complaints, asked };
}
