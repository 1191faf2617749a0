import { limits } from '@butterfly/common';
import { expect, it } from 'vitest';
import { admit } from './admission.js';

const refused = (message: RegExp): unknown =>
  expect.objectContaining({ code: 'JOIN_REFUSED', message: expect.stringMatching(message) as string });

it.each([null, '', 'anything'])('lets in everybody without a token of its own: %j', (token) => {
  expect(() => admit(null, token, 0)).not.toThrow();
});

it('lets in who knows the token', () => {
  expect(() => admit('secret', 'secret', limits.workersMax - 1)).not.toThrow();
});

it.each([null, '', 'Secret', 'secret ', 'secre', 'secretsecret'])(
  'refuses the token %j, and says what to do',
  (token) => {
    expect(() => admit('secret', token, 0)).toThrow(refused(/--token/));
  },
);

it('refuses one worker more than there is room for', () => {
  expect(() => admit(null, null, limits.workersMax)).toThrow(refused(/already has 1024 workers/));
  // Whoever does not know the token does not learn how many there are.
  expect(() => admit('secret', 'guess', limits.workersMax)).toThrow(refused(/token/));
});
