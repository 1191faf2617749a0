import { createInterface } from 'node:readline/promises';
import { ButterflyError } from '@butterfly/common';
import { tell } from '../terminal.js';

/** Whether somebody is there to answer. */
export function isAnswered(): boolean {
  return process.stdin.isTTY && process.stderr.isTTY;
}

/**
 * Asks whoever sits at the terminal, for as long as they like.
 * @throws ButterflyError CANCELLED where they leave instead, by Ctrl-C or Ctrl-D
 */
export async function ask(question: string): Promise<string> {
  const terminal = createInterface({ input: process.stdin, output: process.stderr });
  const leaving = new AbortController();
  // Without these, a question that nobody will answer would end the process in silence.
  for (const event of ['SIGINT', 'close'] as const) terminal.once(event, () => leaving.abort());
  try {
    return (await terminal.question(question, { signal: leaving.signal })).trim();
  } catch (cause) {
    if (!leaving.signal.aborted) throw cause;
    tell('\n');
    throw new ButterflyError('CANCELLED', 'Nothing was downloaded.', { cause });
  } finally {
    terminal.close();
  }
}

/** @throws ButterflyError CONFIG_INVALID where nobody can answer, CANCELLED for a no */
export async function confirmDownload(): Promise<void> {
  if (!isAnswered())
    throw new ButterflyError('CONFIG_INVALID', 'Nobody is there to say yes; add --yes to download that.');
  if (!/^y(?:es)?$/iu.test(await ask('Download it? [y/N] ')))
    throw new ButterflyError('CANCELLED', 'Nothing was downloaded.');
}
