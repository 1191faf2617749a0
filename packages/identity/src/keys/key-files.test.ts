import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { deadlines, limits } from '@butterfly/common';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { formatApiKey, newApiKey, parseApiKey } from './api-key.js';
import { KeyFiles, type KeyWishes } from './key-files.js';
import { KeyRing } from './key-ring.js';

const wishes: KeyWishes = {
  lifeMs: null,
  note: '',
  isAdmin: false,
  limits: { requestsPerMinute: null, tokensPerMinute: null, concurrent: null, models: null, priorityMax: 0 },
};

let parent: string;
let files: KeyFiles;
beforeEach(() => {
  parent = mkdtempSync(join(tmpdir(), 'butterfly-keys-'));
  files = new KeyFiles(join(parent, 'keys'));
});
afterEach(() => rmSync(parent, { recursive: true }));

/** A ring under a clock that stands still until it is moved. */
function ring(of: Pick<KeyFiles, 'read'> = files) {
  const clock = { nowMs: () => now.ms, after: () => () => undefined };
  const now = { ms: 0 };
  return { ring: new KeyRing(of, clock), now };
}

describe('the text of a key', () => {
  it('is the way to the same key and back, and no other text is one', () => {
    fc.assert(
      fc.property(fc.string(), fc.nat(43), fc.constantFrom('', ' ', 'A', '=', '!'), (text, at, mark) => {
        const key = newApiKey();
        const words = formatApiKey(key);
        expect(words).toMatch(/^bfk-[\w-]{40}$/);
        expect(parseApiKey(words)).toEqual(key);
        expect(parseApiKey(text)).toBeNull();
        const damaged = words.slice(0, at) + mark + words.slice(at);
        expect(parseApiKey(damaged)).toEqual(mark === '' ? key : null);
      }),
    );
  });
});

describe('KeyFiles', () => {
  it('keep what is needed to recognise a key, readable by this user alone, and nothing that asks with it', async () => {
    const key = await files.create({ ...wishes, note: 'for a chat' });
    const directory = join(parent, 'keys');
    expect(readdirSync(directory)).toEqual([`${key.id}.json`]);
    const path = join(directory, `${key.id}.json`);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    const text = readFileSync(path, 'utf8');
    for (const secret of [formatApiKey(key), key.secret.toString('hex'), key.secret.toString('base64url')])
      expect(text).not.toContain(secret);
    expect(await files.list()).toMatchObject([{ id: key.id, note: 'for a chat', expiresAtMs: null }]);
  });

  it('refuse limits that are none, and more keys than there may be', async () => {
    const bad = { ...wishes, limits: { ...wishes.limits, requestsPerMinute: 0 } };
    await expect(files.create(bad)).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    await files.create(wishes);
    for (let count = 1; count < limits.apiKeysMax; count++)
      writeFileSync(join(parent, 'keys', `${count.toString(16).padStart(12, '0')}.json`), '');
    await expect(files.create(wishes)).rejects.toMatchObject({
      code: 'CONFIG_INVALID',
      message: expect.stringContaining('butterfly key revoke') as string,
    });
  });

  it('say whether there was a key to revoke', async () => {
    const { id } = await files.create(wishes);
    expect([await files.revoke(id), await files.revoke(id), await files.revoke('../../etc')]).toEqual([
      true,
      false,
      false,
    ]);
    expect(await files.list()).toEqual([]);
  });
});

describe('KeyRing', () => {
  it('knows a key that was made meanwhile at once, and no longer than a second one that was revoked', async () => {
    const { ring: keys, now } = ring();
    const key = await files.create(wishes);
    const text = formatApiKey(key);
    expect(await keys.recognise(text)).toMatchObject({ kind: 'known', key: { id: key.id } });
    await files.revoke(key.id);
    now.ms += deadlines.filesLookedAtEveryMs;
    expect(await keys.recognise(text)).toEqual({ kind: 'unknown' });
  });

  it('knows nobody with another secret, of another id, or after the end', async () => {
    const { ring: keys } = ring();
    const key = await files.create(wishes);
    const ended = await files.create({ ...wishes, lifeMs: -1 });
    const shown = [{ ...newApiKey(), id: key.id }, newApiKey(), ended].map(formatApiKey);
    const kinds = await Promise.all([...shown, 'sk-none', ''].map((text) => keys.recognise(text)));
    expect(kinds.map(({ kind }) => kind)).toEqual(['unknown', 'unknown', 'expired', 'unknown', 'unknown']);
  });

  it('reads no file again within a second, and none at all for what is no key', async () => {
    const key = await files.create(wishes);
    const read: string[] = [];
    const { ring: keys, now } = ring({
      read: (id) => {
        read.push(id);
        return files.read(id);
      },
    });
    await keys.recognise('bfk-../../../etc/passwd');
    for (let count = 0; count < 3; count++) await keys.recognise(formatApiKey(key));
    expect(read).toEqual([key.id]);
    now.ms += deadlines.filesLookedAtEveryMs;
    await keys.recognise(formatApiKey(key));
    expect(read).toHaveLength(2);
  });

  it('lets nobody in by a file that is damaged', async () => {
    const key = await files.create(wishes);
    writeFileSync(join(parent, 'keys', `${key.id}.json`), '{"id":');
    await expect(ring().ring.recognise(formatApiKey(key))).rejects.toThrow();
  });
});
