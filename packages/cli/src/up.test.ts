import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { run } from './testing/butterfly.js';
import { HubServer } from './testing/hub-server.js';
import { Folder, model } from './testing/models.js';
import { Conversation, hasPseudoTerminals, shellCommand } from './testing/pseudo-terminal.js';

const ports = ['--port', '0', '--cluster-port', '0'];

/** A user who has nothing yet, and a hub with one model. */
class Newcomer implements AsyncDisposable {
  readonly #folder = new Folder();
  readonly environment = {
    XDG_CACHE_HOME: join(this.#folder.path, 'cache'),
    XDG_DATA_HOME: join(this.#folder.path, 'data'),
  };
  readonly repo = join(this.environment.XDG_CACHE_HOME, 'butterfly', 'models', 'org', 'repo');

  private constructor(readonly hub: HubServer) {}

  static async arrive(): Promise<Newcomer> {
    return new Newcomer(await HubServer.start({ 'model.gguf': readFileSync(model) }));
  }

  /** `exec`, since the shell would have another exit code after Ctrl-C. */
  up(...args: readonly string[]): Conversation {
    const command = shellCommand(['up', ...args, ...ports, '--hub-url', this.hub.url]);
    return new Conversation(`exec ${command}`, this.environment);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.hub[Symbol.asyncDispose]();
    this.#folder[Symbol.dispose]();
  }
}

describe.runIf(hasPseudoTerminals)('butterfly up, on a terminal', () => {
  it.concurrent(
    'shows what fits, asks again for what there is not, and fetches nothing for a no',
    async () => {
      await using newcomer = await Newcomer.arrive();
      const up = newcomer.up();
      await up.answer(/stories +Butterfly Stories +came with Butterfly/, '');
      await up.answer(/Which one\? \[1\] /, 'nothing\n');
      await up.answer(/NOT_FOUND: There is no model "nothing" on the list/, '');
      await up.answer(/Which one\? \[1\] /, 'hf:org/repo\n');
      await up.answer(/hf:org\/repo from http:\S+: as much .*Download it\? \[y\/N\] /s, '\n');
      const { code, output } = await up.ended();
      expect(output).toMatch(/butterfly: CANCELLED: Nothing was downloaded\.\r\n$/);
      expect(code).toBe(1);
      expect(newcomer.hub.seen).toEqual([]);
    },
  );

  it.concurrent(
    'fetches for a yes, serves, says who joins how, and offers it first from then on',
    async () => {
      await using newcomer = await Newcomer.arrive();
      const up = newcomer.up('hf:org/repo:model.gguf');
      await up.answer(/Download it\? \[y\/N\] /, 'y\n');
      await up.answer(
        /Another machine joins with: BUTTERFLY_TOKEN=bf1-\S+ butterfly worker --join \S+:\d+/,
        '',
      );
      const [, url = ''] = await up.answer(/API on (http:\S+)\/v1/, '');
      await up.answer(/Ready\./, '');
      const { data } = (await (await fetch(`${url}/v1/models`)).json()) as { data: { id: string }[] };
      expect(data.map(({ id }) => id)).toEqual(['model']);
      await up.answer(/KV cache/, '\u0003');
      expect((await up.ended()).code).toBe(0);
      expect(readFileSync(join(newcomer.repo, 'model.gguf')).equals(readFileSync(model))).toBe(true);

      writeFileSync(join(newcomer.repo, 'broken.gguf'), 'no model');
      const { stdout } = await run(['up', '--list'], newcomer.environment);
      expect(stdout.find((line) => line.startsWith('1 '))).toMatch(/hf:org\/repo:model\.gguf .*here already/);
      expect(stdout.find((line) => line.startsWith('2 '))).toMatch(/stories /);
      expect(stdout.join('\n')).toMatch(/Cannot be used: hf:org\/repo:broken\.gguf: .*not a GGUF file/);
    },
  );

  it.concurrent('leaves for Ctrl-D', async () => {
    await using newcomer = await Newcomer.arrive();
    const up = newcomer.up();
    await up.answer(/Which one\? \[1\] /, '\u0004');
    const { code, output } = await up.ended();
    expect([code, output]).toEqual([1, expect.stringMatching(/CANCELLED/)]);
  });
});

describe('butterfly up, where nobody is', () => {
  it.concurrent.each([
    [['up'], /CONFIG_INVALID: Nobody is there to choose a model; .*butterfly up stories/],
    [['up', 'hf:org/repo'], /CONFIG_INVALID: Nobody is there to say yes; add --yes/],
  ])('%j is refused', async (args, message) => {
    await using newcomer = await Newcomer.arrive();
    const { code, stderr } = await run([...args, '--hub-url', newcomer.hub.url], newcomer.environment);
    expect(code).toBe(2);
    expect(stderr.at(-1)).toMatch(message);
    expect(newcomer.hub.seen).toEqual([]);
    expect(existsSync(newcomer.repo)).toBe(false);
  });
});
