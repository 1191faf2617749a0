import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { limits } from '@butterfly/common';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { formatJoinToken, newJoinToken, parseJoinToken } from '../join-token.js';
import { type JoinTokens, PassingTokens } from './join-tokens.js';
import { TokenFiles } from './token-files.js';

const fingerprint = Buffer.alloc(32, 7);
const always = { lifeMs: null, usesMax: null, note: '' };

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'butterfly-tokens-'));
});
afterEach(() => rmSync(directory, { recursive: true }));

describe.each([
  ['in memory', (): JoinTokens => new PassingTokens(fingerprint)],
  ['in files', (): JoinTokens => new TokenFiles(join(directory, 'tokens'), fingerprint)],
])('join tokens %s', (_, create) => {
  const refused = (words: string): object => ({
    code: 'JOIN_REFUSED',
    message: expect.stringContaining(words) as string,
  });

  it('let in as long as they are not revoked', async () => {
    const tokens = create();
    const token = await tokens.create(always);
    for (let use = 0; use < 3; use++) await tokens.spend(token);
    expect(await tokens.holds(token)).toBe(true);
    expect([await tokens.revoke(token.id), await tokens.revoke(token.id)]).toEqual([true, false]);
    await expect(tokens.spend(token)).rejects.toMatchObject(refused('unknown or was revoked'));
    expect(await tokens.holds(token)).toBe(false);
  });

  it('let in so many, however many ask at once', async () => {
    const tokens = create();
    const token = await tokens.create({ ...always, usesMax: 3 });
    const asked = await Promise.allSettled(Array.from({ length: 10 }, () => tokens.spend(token)));
    expect(asked.filter(({ status }) => status === 'fulfilled')).toHaveLength(3);
    await expect(tokens.spend(token)).rejects.toMatchObject(refused('used as often as it may be'));
    expect(await tokens.list()).toMatchObject([{ id: token.id, uses: 3, usesMax: 3 }]);
  });

  it('let in nobody after their time', async () => {
    const tokens = create();
    const token = await tokens.create({ ...always, lifeMs: -1 });
    await expect(tokens.spend(token)).rejects.toMatchObject(refused('has expired'));
    expect(await tokens.holds(token)).toBe(false);
  });

  it('are refused with another secret, or of nobody', async () => {
    const tokens = create();
    const token = await tokens.create(always);
    const guessed = { ...newJoinToken(fingerprint), id: token.id };
    await expect(tokens.spend(guessed)).rejects.toMatchObject(refused('unknown'));
    await expect(tokens.spend(newJoinToken(fingerprint))).rejects.toMatchObject(refused('unknown'));
  });

  it('are no more than there may be', async () => {
    const tokens = create();
    for (let made = 0; made < limits.joinTokensMax; made++) await tokens.create(always);
    await expect((async () => tokens.create(always))()).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
  });
});

it('tokens in files are seen by every process, and their secrets are in none', async () => {
  const ours = new TokenFiles(directory, fingerprint);
  const theirs = new TokenFiles(directory, fingerprint);
  const token = await ours.create({ ...always, usesMax: 1, note: 'of the laptop' });
  await theirs.spend(token);
  await expect(ours.spend(token)).rejects.toMatchObject({ code: 'JOIN_REFUSED' });
  for (const name of readdirSync(directory)) {
    expect(statSync(join(directory, name)).mode & 0o777).toBe(0o600);
    const text = readFileSync(join(directory, name), 'utf8');
    expect(text).not.toContain(token.secret.toString('hex'));
    expect(text).not.toContain(token.secret.toString('base64url'));
  }
  await theirs.revoke(token.id);
  expect(readdirSync(directory)).toEqual([]);
});

it('a damaged file of a token is named, and takes no other token along', async () => {
  const tokens = new TokenFiles(directory, fingerprint);
  const [damaged, whole] = [await tokens.create(always), await tokens.create(always)];
  writeFileSync(join(directory, `${damaged.id}.json`), '{"id":');
  await expect(tokens.spend(damaged)).rejects.toMatchObject({
    code: 'CONFIG_INVALID',
    message: expect.stringContaining(`${damaged.id}.json`) as string,
  });
  await tokens.spend(whole);
});

describe('the text of a join token', () => {
  it('is one word, and gives the token back', () => {
    const token = newJoinToken(fingerprint);
    expect(formatJoinToken(token)).toMatch(/^bf1-[\w-]{72}$/u);
    expect(parseJoinToken(formatJoinToken(token))).toEqual(token);
  });

  it('is refused when any character of it is missing, added or another one', () => {
    const text = formatJoinToken(newJoinToken(fingerprint));
    const index = fc.nat({ max: text.length - 1 });
    const invalid = expect.objectContaining({ code: 'CONFIG_INVALID' }) as unknown;
    fc.assert(
      fc.property(index, fc.constantFrom('', ' ', '=', '.', '/', 'ab'), (at, change) => {
        expect(() => parseJoinToken(text.slice(0, at) + change + text.slice(at + 1))).toThrow(invalid);
      }),
    );
    fc.assert(
      fc.property(fc.string(), (any) => {
        expect(() => parseJoinToken(any)).toThrow(invalid);
      }),
    );
  });
});
