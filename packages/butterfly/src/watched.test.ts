import { describe, expect, it } from 'vitest';
import { joinLineOf } from './watched.js';

const wishes = { lifeMs: 1000, usesMax: 1, host: 'desk.lan' };
const makeToken = () => Promise.resolve({ token: 'secret', expiresAtMs: 9, usesMax: 1 });

describe('the line for the next machine', () => {
  it('names the host by which this one was reached, and what the token is good for', async () => {
    expect(await joinLineOf(wishes, { host: '0.0.0.0', port: 7600 }, makeToken)).toEqual({
      line: 'BUTTERFLY_TOKEN=secret butterfly worker --join desk.lan:7600',
      expiresMs: 9,
      usesMax: 1,
    });
  });

  it('names no address that other machines take for themselves', async () => {
    const { line } = await joinLineOf(
      { ...wishes, host: 'localhost' },
      { host: '::', port: 7600 },
      makeToken,
    );
    expect(line).toMatch(/ --join (?!localhost|127\.)[\w.]+:7600$/);
  });

  it('is refused where no other machine can join', async () => {
    await expect(joinLineOf(wishes, { host: '127.0.0.1', port: 7600 }, makeToken)).rejects.toMatchObject({
      code: 'REQUEST_UNSUPPORTED',
      message: expect.stringContaining('--cluster-host 0.0.0.0') as string,
    });
  });
});
