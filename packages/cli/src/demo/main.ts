import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { Readable } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { readEnvironment } from '../environment.js';
import { ownModel } from 'butterfly/command';
import { print, printAnswer } from '../terminal.js';

/** Three workers, so that every kind of stage is there: first, middle and last. */
const workers = 3;
const deadlineMs = 120_000;
const storyPrompt = 'Once upon a time';
const question = 'Who is the best friend of Finn?';

/** The file given by `--model`, else the small model that ships with Butterfly. */
function chooseModel(): string {
  const { values } = parseArgs({ options: { model: { type: 'string' } } });
  const named = values.model?.trim() ? values.model : null;
  say(`Model: ${named ?? 'butterfly-stories, the small one that ships with Butterfly'}`);
  return named ?? ownModel;
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
      // Log lines would stand in the middle of the story; whoever wants them asks.
      env: { ...process.env, BUTTERFLY_LOG: readEnvironment().environment.BUTTERFLY_LOG ?? 'silent' },
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

interface Event {
  readonly choices?: readonly { readonly text?: string; readonly delta?: { readonly content?: string } }[];
  readonly usage?: { readonly completion_tokens: number } | null;
  readonly error?: { readonly message: string };
}

/** Streams an answer to the terminal and prints its speed. */
async function ask(url: string, route: string, request: object): Promise<void> {
  // The answer's headers mostly come with the first token, so the clock starts before.
  const startedMs = performance.now();
  const response = await fetch(`${url}/v1/${route}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ ...request, stream: true, stream_options: { include_usage: true } }),
    signal: AbortSignal.timeout(deadlineMs),
  });
  if (!response.ok || !response.body)
    throw new Error(`The server answered ${response.status}: ${await response.text()}`);
  let firstMs = 0;
  let tokens = 0;
  for await (const line of createInterface({ input: Readable.fromWeb(response.body) })) {
    if (!line.startsWith('data: {')) continue;
    const event = JSON.parse(line.slice('data: '.length)) as Event;
    if (event.error) throw new Error(event.error.message);
    const text = event.choices?.[0]?.text ?? event.choices?.[0]?.delta?.content ?? '';
    if (text !== '') firstMs ||= performance.now() - startedMs;
    printAnswer(text);
    tokens = event.usage?.completion_tokens ?? tokens;
  }
  const decodeMs = performance.now() - startedMs - firstMs;
  const perSecond = (((tokens - 1) * 1000) / decodeMs).toFixed(1);
  say(`\n[${tokens} tokens: the first after ${firstMs.toFixed(1)} ms, then ${perSecond} per second]\n`);
}

function say(text: string): void {
  print(`${text}\n`);
}

const model = chooseModel();
const server = await serve(model);
try {
  say(`\nThe layers and who holds them:\n${server.summary}\n`);
  print(storyPrompt);
  await ask(server.url, 'completions', {
    prompt: storyPrompt,
    max_tokens: model === ownModel ? 220 : 100,
    temperature: 0.7,
    seed: 1,
  });
  say(`> ${question}`);
  await ask(server.url, 'chat/completions', {
    messages: [{ role: 'user', content: question }],
    max_tokens: 60,
    temperature: 0,
  });
} finally {
  process.exitCode = await server.stop();
}
