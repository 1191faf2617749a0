import { expect, it } from 'vitest';
import { TiedChild } from './tied-child.js';

const deadlineMs = 20_000;

function node(script: string, onLine?: (line: string) => void): TiedChild {
  return new TiedChild(process.execPath, ['-e', script], onLine);
}

it('hands on lines, is waited for, and is ended', async () => {
  const lines: string[] = [];
  const child = node(`console.log('ready'); setInterval(() => {}, 1000)`, (line) => lines.push(line));
  await child.until(() => lines.includes('ready'), deadlineMs);
  await child[Symbol.asyncDispose]();
  expect(() => process.kill(child.pid, 0)).toThrow('ESRCH');
});

it('says how it ended and what it wrote, instead of waiting on', async () => {
  await using child = node(`console.error('no such model'); process.exitCode = 3`);
  await expect(child.until(() => false, deadlineMs)).rejects.toThrow(/ ended with 3\.\nno such model/);
});

it('says that there is no such program', async () => {
  await using child = new TiedChild('/nowhere/llama-server', []);
  await expect(child.until(() => false, deadlineMs)).rejects.toThrow(/could not be run: .*ENOENT/);
});

it('gives up at the deadline', async () => {
  await using child = node(`setInterval(() => {}, 1000)`);
  await expect(child.until(() => false, 1)).rejects.toThrow('is not ready after 1 ms');
});
