import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { run } from './testing/butterfly.js';
import { Server } from './testing/server.js';

const question = 'Who is the best friend of Finn?';
const messages = [{ role: 'user' as const, content: question }];

describe.concurrent('the model that ships with Butterfly', () => {
  it('is what serve runs without a model, and ends its answers itself', async () => {
    await using server = await new Server(['--workers', '3'], { path: null }).ready();
    const answer = await server.openai.chat.completions.create({
      model: 'butterfly-stories',
      messages,
      temperature: 0,
    });
    expect(answer.choices[0]?.message.content).toMatch(/best friend is [A-Z][a-z]+\.$/);
    expect(answer.choices[0]?.finish_reason).toBe('stop');
    const stream = await server.openai.completions.create({
      model: 'butterfly-stories',
      prompt: 'Once upon a time',
      max_tokens: 230,
      temperature: 0,
      stream: true,
    });
    let story = '';
    for await (const { choices } of stream) story += choices[0]?.text ?? '';
    expect(story.split(/[.!?]/).length).toBeGreaterThan(5);
    // How many layers each has depends on its measured speed.
    expect(server.stages).toHaveLength(3);
    expect(
      server.stages.flatMap(({ layers: [first, last] }) => last - first + 1).reduce((a, b) => a + b),
    ).toBe(8);
  });

  it('hears what a system message says', async () => {
    await using server = await new Server([], { path: null }).ready();
    const tokensOf = async (system: string) => {
      const { usage } = await server.openai.chat.completions.create({
        model: 'butterfly-stories',
        messages: [{ role: 'system' as const, content: system }, ...messages],
        max_completion_tokens: 1,
      });
      return usage?.prompt_tokens ?? 0;
    };
    expect(await tokensOf('Finn has many friends, and all of them are kind.')).toBeGreaterThan(
      (await tokensOf('Finn.')) + 5,
    );
  });

  it('is what generate runs without a model', async () => {
    const { code, stdout } = await run([
      'generate',
      question,
      '--chat',
      '--temperature',
      '0',
      '--threads',
      '1',
    ]);
    expect({ code, answer: stdout.join(' ').trim() }).toMatchObject({
      code: 0,
      answer: expect.stringMatching(/^His best friend is \w+\.$/) as string,
    });
  });

  it('tells a story and answers a question in the demo, over three workers', async () => {
    const demo = fileURLToPath(new URL('../dist/demo/main.js', import.meta.url));
    // Rejects unless it exits with 0.
    const { stdout } = await promisify(execFile)(process.execPath, [demo], { timeout: 150_000 });
    expect(stdout.match(/^ {2}local-\d: layers \d-\d, 1 thread/gm)).toHaveLength(3);
    expect(stdout).toMatch(/^Once upon a time,? .+\./m);
    expect(stdout).toMatch(/> Who is the best friend of Finn\?\n.*best friend is/);
    expect(stdout.match(/\d+ tokens: the first after [\d.]+ ms, then [\d.]+ per second/g)).toHaveLength(2);
  });
});
