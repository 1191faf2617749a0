import { spawn } from 'node:child_process';
import { mkdtemp, readFile, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { Butterfly } from './testing/butterfly.js';
import { Server } from './testing/server.js';

const main = fileURLToPath(new URL('../dist/main.js', import.meta.url));

let server: Server;
let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'butterfly-clients-'));
  server = await new Server(['--workers', '2']).ready();
});
afterAll(() => server[Symbol.asyncDispose]());

/** Types lines into a chat, which are read as if they came from a pipe, to its end. */
async function chat(lines: readonly string[], flags: readonly string[] = []) {
  const child = spawn(process.execPath, [main, 'chat', '--url', server.url, '--temperature', '0', ...flags]);
  let [stdout, stderr] = ['', ''];
  child.stdout.setEncoding('utf8').on('data', (text: string) => (stdout += text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => (stderr += text));
  child.stdin.end(lines.map((line) => `${line}\n`).join(''));
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, stdout, stderr };
}

describe('butterfly chat', () => {
  it('answers with what was said before, and saves it', async () => {
    const path = join(folder, 'talk.json');
    const { code, stdout, stderr } = await chat(
      ['Tell me about', '/again', 'More \\', 'please.', `/save ${path}`, '/dance'],
      ['--max-tokens', '12'],
    );
    expect(code).toBe(0);
    const { messages } = JSON.parse(await readFile(path, 'utf8')) as {
      messages: { role: string; content: string }[];
    };
    expect(messages.map(({ role }) => role)).toEqual(['user', 'assistant', 'user', 'assistant']);
    expect(messages[2]?.content).toBe('More \nplease.');
    // The first answer came twice, and greedily: the same.
    expect(stdout).toBe([1, 1, 3].map((at) => `${messages[at]?.content}\n`).join(''));
    expect(stderr).toMatch(
      /\[12 tokens, first after \d+ ms, then [\d.]+ per second; .*--max-tokens ended it\]/,
    );
    expect(stderr).toContain('There is no command /dance');
    const loaded = await chat([`/load ${path}`, '/undo', '/again'], ['--max-tokens', '12']);
    expect(loaded.stdout).toBe(`${messages[1]?.content}\n`);
  });

  it('says what went wrong, and goes on', async () => {
    const { code, stdout, stderr } = await chat([`/load ${folder}/none`, 'Hi'], ['--max-tokens', '4']);
    expect([code, stdout.length > 1]).toEqual([0, true]);
    expect(stderr).toContain('CONFIG_INVALID');
    const unheard = new Butterfly(['chat', '--url', 'http://127.0.0.1:1', '--max-tokens', '4']);
    expect((await unheard.ended()).code).toBe(0);
  });
});

describe('butterfly batch', () => {
  const request = (id: number, fields: object = {}) => ({
    custom_id: `r${id}`,
    method: 'POST',
    url: '/v1/completions',
    body: { prompt: `Once there were ${id}`, max_tokens: 8, temperature: 0, ignore_eos: true, ...fields },
  });

  it('answers every request, also after it was killed', async () => {
    const path = join(folder, 'batch.jsonl');
    const output = join(folder, 'batch.answers.jsonl');
    const requests = [...Array.from({ length: 30 }, (_, id) => request(id)), request(30, { temperature: 9 })];
    await writeFile(path, requests.map((each) => `${JSON.stringify(each)}\n`).join(''));
    const answered = async () =>
      (await readFile(output, 'utf8').catch(() => '')).split('\n').filter((line) => line.endsWith('}'));
    const args = ['batch', path, '--url', server.url, '--parallel', '2'];
    const first = new Butterfly(args);
    while ((await answered()).length < 5 && first.ending === null)
      await new Promise((resolve) => setTimeout(resolve, 5));
    first.kill('SIGKILL');
    await first.ended();
    const before = await answered();
    const second = new Butterfly(args);
    expect((await second.ended()).code).toBe(0);
    expect(second.stdout.join('\n')).toMatch(
      /^31 of 31 answered, to .*\(1 refused, (\d+) were there already\)/,
    );
    const lines = (await answered()).map(
      (line) => JSON.parse(line) as { custom_id: string; response: { status_code: number } },
    );
    expect(before.length).toBeGreaterThanOrEqual(1);
    expect(lines.map(({ custom_id: id }) => id).sort()).toEqual(
      requests.map(({ custom_id: id }) => id).sort(),
    );
    expect(lines.filter(({ response }) => response.status_code === 400)).toHaveLength(1);
  });

  it('serves a model to itself', async () => {
    const path = join(folder, 'own.jsonl');
    await writeFile(path, [0, 1, 2].map((id) => `${JSON.stringify(request(id))}\n`).join(''));
    const own = new Butterfly(['batch', path, '--output', join(folder, 'own.out'), '--threads', '1']);
    expect((await own.ended()).code).toBe(0);
    const lines = (await readFile(join(folder, 'own.out'), 'utf8')).trim().split('\n');
    const answers = lines.map((line) => JSON.parse(line) as { response: { body: { usage: object } } });
    expect(answers.map(({ response }) => response.body.usage)).toMatchObject(
      Array.from({ length: 3 }, () => ({ completion_tokens: 8 })),
    );
  });
});
