import { beforeAll, describe, expect, it } from 'vitest';
import { formTokens, question, weatherSchema } from './testing/asked.js';
import { Server } from './testing/server.js';

const messages = [{ role: 'user', content: question }];
const tool = {
  type: 'function',
  function: { name: 'get_weather', description: 'Looks.', parameters: weatherSchema },
};
const hot = { temperature: 1.3, max_completion_tokens: formTokens };
const scored = { logprobs: true, top_logprobs: 3 };

/** What is asked, each with a seed: text, a call, a form, and a completion with its prompt scored. */
const asked: readonly (readonly [path: string, body: object])[] = [
  ['/v1/chat/completions', { messages, ...hot, ...scored, max_completion_tokens: 60, seed: 1, n: 2 }],
  [
    '/v1/chat/completions',
    { messages, ...hot, tools: [tool], tool_choice: 'required', parallel_tool_calls: false, seed: 2 },
  ],
  [
    '/v1/chat/completions',
    {
      messages,
      ...hot,
      ...scored,
      seed: 3,
      response_format: {
        type: 'json_schema',
        json_schema: { name: 'w', schema: weatherSchema, strict: true },
      },
    },
  ],
  [
    '/v1/completions',
    { prompt: 'Once upon a time', max_tokens: 60, temperature: 1, seed: 4, echo: true, logprobs: 2 },
  ],
];

const start = (stages: number): Promise<Server> =>
  new Server([
    ...['--workers', String(stages), '--stages', String(stages)],
    ...['--ctx', '1024', '--parallel', '8', '--deterministic'],
  ]).ready();

/** What an answer says and tells; names of calls and of answers differ each time. */
function saidIn(body: unknown): unknown {
  const { choices } = body as { readonly choices: readonly Readonly<Record<string, unknown>>[] };
  return JSON.parse(
    JSON.stringify(choices, (key, value: unknown) => (key === 'id' ? undefined : value)),
  ) as unknown;
}

const ask = async (server: Server, [path, body]: (typeof asked)[number]): Promise<unknown> => {
  const response = await server.post(path, body);
  const answer: unknown = await response.json();
  expect([response.status, answer]).toEqual([200, answer]);
  return saidIn(answer);
};
const askEach = async (server: Server): Promise<unknown[]> => {
  const answers = [];
  for (const each of asked) answers.push(await ask(server, each));
  return answers;
};
const askTogether = (server: Server): Promise<unknown[]> =>
  Promise.all(asked.map((each) => ask(server, each)));

describe('a seed over HTTP, in deterministic mode', () => {
  let alone: unknown[];
  beforeAll(async () => {
    await using server = await start(1);
    alone = await askEach(server);
    // Cached prefixes change nothing either, nor do neighbours.
    expect(await askTogether(server)).toEqual(alone);
  });

  it('says and tells the same in two stages, of a server that was started anew', async () => {
    await using server = await start(2);
    expect(await askEach(server)).toEqual(alone);
  });

  it('does so in three, among others, and when workers are killed', async () => {
    await using server = await start(3);
    const neighbours = [21, 22].map((seed) =>
      ask(server, ['/v1/chat/completions', { messages, ...hot, max_completion_tokens: 200, seed }]),
    );
    expect(await askTogether(server)).toEqual(alone);
    await Promise.all(neighbours);
    for (const victim of [0, -1]) {
      const plans = server.records('The plan is live.').length;
      const together = askTogether(server);
      // Not all of them at once: the shortest may end before the last begins.
      await expect
        .poll(async () => (await server.status()).running, { timeout: 60_000, interval: 10 })
        .toBeGreaterThan(1);
      process.kill(server.stages.at(victim)?.pid ?? 0, 'SIGKILL');
      expect(await together).toEqual(alone);
      await server.plans(plans + 1);
      await server.until('three stages', () => (server.stages.length === 3 ? true : null));
    }
  });
});
