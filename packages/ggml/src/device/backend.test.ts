import { describe, expect, it } from 'vitest';
import { computed } from './backend.js';

describe('computed', () => {
  it('is over once the native call is', async () => {
    await expect(computed((done) => setImmediate(() => done(null, 0)))).resolves.toBeUndefined();
  });

  it('tells the status of a device that did not compute', async () => {
    await expect(computed((done) => done(null, -1))).rejects.toThrow(
      expect.objectContaining({
        code: 'COMPUTE_FAILED',
        message: expect.stringContaining('status -1') as unknown,
      }),
    );
  });

  it('tells of a call that was not made', async () => {
    const cause = new Error('no thread');
    await expect(computed((done) => done(cause, 0))).rejects.toThrow(
      expect.objectContaining({ code: 'COMPUTE_FAILED', cause }),
    );
  });
});
