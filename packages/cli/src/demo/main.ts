import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { cachedSyntheticModel } from '@butterfly/testkit';

/** Three workers, so that every kind of stage is there: first, middle and last. */
const workers = 3;
const deadlineMs = 120_000;
const prompt = 'Once upon a time, there was a butterfly';

/** The file given by `--model`, else one with random weights from a fixed seed. */
async function chooseModel(): Promise<string> {
  const { values } = parseArgs({ options: { model: { type: 'string' } } });
  if (values.model !== undefined) {
    say(`Model: ${values.model}`);
    return values.model;
  }
  say(
    'Model: a synthetic one with random weights (seed 7), so what it writes is noise; pass --model FILE.gguf for a real one.',
  );
  return cachedSyntheticModel(
    {
      architecture: 'llama',
      layers: 9,
      hidden: 256,
      heads: 8,
      kvHeads: 4,
      headSize: 32,
      feedForward: 512,
      vocabulary: 2000,
      tiedEmbeddings: false,
      type: 'Q8_0',
      seed: 7,
      contextTrained: 512,
    },
    join(tmpdir(), 'butterfly-synthetic'),
  );
}

/** Runs `butterfly serve` as a user would and gives the lines that it prints until it is ready. */
async function serve(
  model: string,
): Promise<{ readonly url: string; readonly summary: string; stop(): Promise<number> }> {
  const main = fileURLToPath(new URL('../main.js', import.meta.url));
  const child = spawn(
    process.execPath,
    [main, 'serve', model, '--workers', String(workers), '--port', '0', '--cluster-port', '0'],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
    },
  );
  const exited = once(child, 'exit') as Promise<[number | null]>;
  const lines: string[] = [];
  let url = '';
  for await (const line of createInterface({ input: child.stdout })) {
    url = /API on (\S+)\/v1/.exec(line)?.[1] ?? url;
    lines.push(line);
    if (lines.includes('Ready.') && lines.length - lines.indexOf('Ready.') > workers) break;
  }
  if (!lines.includes('Ready.')) throw new Error('The server ended before it was ready.');
  return {
    url,
    summary: lines.slice(lines.indexOf('Ready.') + 1).join('\n'),
    stop: async () => {
      child.kill('SIGTERM');
      const [code] = await exited;
      return code ?? 1;
    },
  };
}

/** Streams a completion to the terminal and prints its speed. */
async function ask(url: string): Promise<void> {
  const response = await fetch(`${url}/v1/completions`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({
      prompt,
      max_tokens: 80,
      temperature: 0,
      stream: true,
      stream_options: { include_usage: true },
    }),
    signal: AbortSignal.timeout(deadlineMs),
  });
  if (!response.ok || !response.body)
    throw new Error(`The server answered ${response.status}: ${await response.text()}`);
  process.stdout.write(`\n${prompt}`);
  const startedMs = performance.now();
  let firstMs = 0;
  let tokens = 0;
  for await (const line of createInterface({ input: Readable.fromWeb(response.body) })) {
    if (!line.startsWith('data: {')) continue;
    const event = JSON.parse(line.slice('data: '.length)) as {
      choices?: { text?: string }[];
      usage?: { completion_tokens: number } | null;
      error?: { message: string };
    };
    if (event.error) throw new Error(event.error.message);
    const text = event.choices?.[0]?.text ?? '';
    if (text !== '') firstMs ||= performance.now() - startedMs;
    process.stdout.write(text);
    tokens = event.usage?.completion_tokens ?? tokens;
  }
  const totalMs = performance.now() - startedMs;
  say(
    `\n\n${tokens} tokens: the first after ${firstMs.toFixed(1)} ms, then ${(((tokens - 1) * 1000) / (totalMs - firstMs)).toFixed(1)} per second.`,
  );
}

function say(text: string): void {
  process.stdout.write(`${text}\n`);
}

const server = await serve(await chooseModel());
try {
  say(`\nThe layers and who holds them:\n${server.summary}`);
  await ask(server.url);
} finally {
  process.exitCode = await server.stop();
}
