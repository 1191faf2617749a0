import { Agent, type IncomingMessage, request } from 'node:http';

/** Requests that are under way at once. */
const atOnce = 8;
const requestMs = 60_000;

interface Kind {
  readonly path: string;
  readonly body: (index: number) => unknown;
  /** What is answered; null where the client leaves before that. */
  readonly status: number | null;
  /** How much a client reads before it leaves; all, unless it does. */
  readonly leavesAfter?: 'asking' | 'firstBytes';
}

const prompt = (index: number): string => `Once upon a time there were ${index % 97} little`;
const text = (index: number) => ({ model: 'model', prompt: prompt(index), max_tokens: 4 });
const chat = (index: number) => ({
  model: 'model',
  messages: [{ role: 'user', content: prompt(index) }],
  max_tokens: 4,
});
const schema = (names: readonly string[]) => ({
  type: 'object',
  properties: Object.fromEntries(names.map((name) => [name, { enum: ['a', 'b'] }])),
  required: names,
  additionalProperties: false,
});
const like = (name: string, names: readonly string[]) => ({
  type: 'json_schema',
  json_schema: { name, schema: schema(names) },
});

/** In turn: streams and whole answers of every dialect, clients that leave, constraints old and new, and what is refused. */
const kinds: readonly Kind[] = [
  { path: '/v1/completions', body: (i) => ({ ...text(i), stream: true }), status: 200 },
  { path: '/v1/chat/completions', body: (i) => ({ ...chat(i), stream: true }), status: 200 },
  { path: '/v1/completions', body: (i) => ({ ...text(i), n: 2, logprobs: 2, seed: i }), status: 200 },
  {
    path: '/v1/completions',
    body: (i) => ({ ...text(i), max_tokens: 200, stream: true }),
    status: 200,
    leavesAfter: 'firstBytes',
  },
  { path: '/v1/chat/completions', body: chat, status: 200 },
  {
    path: '/v1/chat/completions',
    body: (i) => ({ ...chat(i), response_format: like('one', ['x']) }),
    status: 200,
  },
  {
    path: '/v1/chat/completions',
    body: (i) => ({ ...chat(i), max_tokens: 200 }),
    status: null,
    leavesAfter: 'asking',
  },
  { path: '/v1/messages', body: (i) => ({ ...chat(i), stream: true }), status: 200 },
  {
    path: '/v1/responses',
    body: (i) => ({ model: 'model', input: prompt(i), max_output_tokens: 16, store: false }),
    status: 200,
  },
  {
    path: '/api/generate',
    body: (i) => ({ model: 'model', prompt: prompt(i), options: { num_predict: 4 } }),
    status: 200,
  },
  { path: '/v1/completions', body: () => '{"model": "model", "prompt":', status: 400 },
  { path: '/v1/completions', body: (i) => ({ ...text(i), prompt: prompt(i).repeat(200) }), status: 400 },
  { path: '/v1/nowhere', body: () => ({}), status: 404 },
  { path: '/tokenize', body: (i) => ({ content: prompt(i) }), status: 200 },
  // A constraint that nobody asked for before.
  {
    path: '/v1/chat/completions',
    body: (i) => ({ ...chat(i), response_format: like('new', [`field ${i}`]) }),
    status: 200,
  },
  {
    path: '/v1/completions',
    body: (i) => ({ ...text(i), max_tokens: 400, ignore_eos: true, timeout_ms: 1 }),
    status: 504,
  },
];

export interface Asked {
  /** Requests that were answered as they should be. */
  readonly right: number;
  /** What the others came to. */
  readonly wrong: readonly string[];
}

/** Sends so many requests, of all kinds in turn, from the index on. */
export async function askMany(url: string, from: number, count: number): Promise<Asked> {
  // Of its own, so that no connection waits for the next requests when it is done.
  const agent = new Agent({ keepAlive: true, maxSockets: atOnce });
  const wrong: string[] = [];
  let next = from;
  const client = async (): Promise<void> => {
    while (next < from + count) {
      const index = next++;
      const kind = kinds[index % kinds.length];
      const failure = kind && (await ask(url, kind, index, agent));
      if (failure) wrong.push(failure);
    }
  };
  await Promise.all(Array.from({ length: atOnce }, client));
  agent.destroy();
  return { right: count - wrong.length, wrong };
}

/** Null when the answer is as it should be. */
function ask(url: string, kind: Kind, index: number, agent: Agent): Promise<string | null> {
  const { path, status, leavesAfter } = kind;
  const body = kind.body(index);
  const bytes = typeof body === 'string' ? body : JSON.stringify(body);
  return new Promise((resolve) => {
    const told = (what: string): string => `${path} ${bytes.slice(0, 200)}: ${what}`;
    const asked = request(
      url + path,
      { method: 'POST', agent, timeout: requestMs, headers: { 'content-type': 'application/json' } },
      (response) => {
        void answerOf(response, leavesAfter === 'firstBytes').then((answer) => {
          if (leavesAfter === 'firstBytes') asked.destroy();
          const isRight = response.statusCode === status && (answer !== '' || leavesAfter !== undefined);
          resolve(isRight ? null : told(`${response.statusCode ?? ''} ${answer.slice(0, 200)}`));
        });
      },
    );
    asked.on('timeout', () => asked.destroy(new Error('no answer in time')));
    asked.on('error', (error) => resolve(leavesAfter === undefined ? told(error.message) : null));
    asked.end(bytes, () => {
      if (leavesAfter === 'asking') setTimeout(() => asked.destroy(), 5);
    });
  });
}

async function answerOf(response: IncomingMessage, isFirstEnough: boolean): Promise<string> {
  let answer = '';
  try {
    for await (const piece of response) {
      answer += String(piece);
      if (isFirstEnough) break;
    }
  } catch {
    // The client left, or the server.
  }
  return answer;
}
