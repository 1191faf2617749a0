import { createServer } from 'node:net';
import { once } from 'node:events';
import { expect, it } from 'vitest';
import type { Finding } from './doctor/findings.js';
import { run } from './testing/butterfly.js';

it('looks at this machine, and says what to do', async () => {
  const blocker = createServer().listen(7600, '127.0.0.1');
  // Where another program has it, there is nothing to do for that.
  await Promise.race([once(blocker, 'listening'), once(blocker, 'error')]);
  try {
    const { code, stdout } = await run(['doctor', '--json']);
    expect(code).toBe(0);
    const findings = JSON.parse(stdout.join('\n')) as readonly Finding[];
    const of = (what: string): Finding | undefined => findings.find((each) => each.what === what);
    expect(of('versions')).toMatchObject({
      verdict: 'ok',
      found: expect.stringContaining(process.versions.node) as string,
    });
    expect(of('libraries')).toMatchObject({
      verdict: 'ok',
      found: expect.stringMatching(/^ggml \d/) as string,
    });
    expect(of('port 7600')).toMatchObject({ verdict: 'hint', found: 'taken' });
    expect(of('memory')?.found).toMatch(/\d.*available, \d+ cores/);
    const table = await run(['doctor']);
    expect(table.stdout.join('\n')).toMatch(/hint +port 7600 +taken\n +-> Another program/);
  } finally {
    blocker.close();
  }
});

it('fails where the libraries are missing', async () => {
  const { code, stdout } = await run(['doctor'], { BUTTERFLY_GGML_DIR: '/nowhere' });
  expect(code).toBe(5);
  expect(stdout.join('\n')).toMatch(/fault +libraries/);
});
