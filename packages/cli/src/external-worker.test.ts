import { describe, expect, it } from 'vitest';
import { run } from './testing/butterfly.js';
import { Folder, model } from './testing/models.js';
import { Server, startWorker } from './testing/server.js';

const prompt = 'Once upon a time';

describe('workers from elsewhere', () => {
  it('serve as soon as they hold the model together, with weights from the orchestrator', async () => {
    using elsewhere = new Folder();
    await using server = new Server(['--workers', '0', '--wait-for', '1']);
    await server.line(/^API on/);
    expect(await server.status()).toMatchObject({
      ready: false,
      detail: '0 of 1 expected workers have joined',
    });

    await using small = startWorker(server, ['--memory', '1M', '--name', 'small'], { cwd: elsewhere.path });
    await small.line(/^Joined .* as w1/);
    await server.until(
      'the trouble',
      () => server.stderr.find((line) => line.startsWith('butterfly: MODEL_TOO_LARGE')) ?? null,
    );
    const { ready, detail } = await server.status();
    expect(ready).toBe(false);
    expect(detail).toMatch(/The model needs .* 1 worker offers 1\.0 MiB.* add workers or memory/);

    const options = { cwd: elsewhere.path };
    await using first = startWorker(server, ['--remote-only', '--name', 'first'], options);
    await server.line(/first: layers 0-3/);
    const answer = await server.openai.completions.create({
      model: 'aidreams-260k',
      prompt,
      max_tokens: 100,
      temperature: 0,
    });
    const { stdout } = await run([
      'generate',
      model,
      prompt,
      '--threads',
      '1',
      '--max-tokens',
      '100',
      '--temperature',
      '0',
    ]);
    expect(answer.choices[0]?.text).toBe(stdout.join('\n'));

    // Its successor streams all weights too; nobody started it for us.
    first.kill('SIGTERM');
    expect(await first.ended()).toEqual({ code: 0, signal: null });
    await using second = startWorker(server, ['--remote-only', '--name', 'second'], options);
    await server.plans(2);
    const again = await server.openai.completions.create({
      model: 'aidreams-260k',
      prompt,
      max_tokens: 100,
      temperature: 0,
    });
    expect(again.choices[0]?.text).toBe(answer.choices[0]?.text);

    server.kill('SIGTERM');
    expect(await server.ended()).toEqual({ code: 0, signal: null });
    expect(await Promise.all([small.ended(), second.ended()])).toEqual([
      { code: 0, signal: null },
      { code: 0, signal: null },
    ]);
  });

  it('wait for the orchestrator to come back when it is killed, until they are stopped', async () => {
    await using server = new Server(['--workers', '0']);
    await server.line(/--join HOST/);
    await using worker = startWorker(server);
    await worker.line(/^Joined/);
    server.kill('SIGKILL');
    await worker.line(/^Lost .* Trying to come back\.$/);
    worker.kill('SIGTERM');
    expect(await worker.ended()).toEqual({ code: 0, signal: null });
    expect(worker.stderr).toEqual([]);
  });
});
