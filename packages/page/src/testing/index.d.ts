import { type Browser, type BrowserContextOptions, type Page } from 'playwright-core';
/** Without a browser its tests are skipped, and say so. */
export declare const hasChromium: boolean;
/** The browser of Debian, without windows. */
export declare function launchChromium(): Promise<Browser>;
/** A page of a window of its own, and all that it complained of: errors, and breaches of its policy. */
export interface WatchedPage {
  readonly page: Page;
  readonly complaints: readonly string[];
  /** Addresses that it asked for. */
  readonly asked: readonly string[];
}
/** Opens a page at an address. */
export declare function openPage(
  browser: Browser,
  url: string,
  options?: BrowserContextOptions,
): Promise<WatchedPage>;
//# sourceMappingURL=index.d.ts.map
