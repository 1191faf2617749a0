import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { run } from '../testing/butterfly.js';
import { Folder } from '../testing/models.js';
import { Conversation, hasPseudoTerminals } from '../testing/pseudo-terminal.js';

const has = (shell: string): boolean => spawnSync(shell, ['--version']).status === 0;
const folder = new Folder();
afterAll(() => folder[Symbol.dispose]());

/** Where there is a model, a folder of models, and what is neither. */
beforeAll(() => {
  for (const name of ['small model.gguf', 'notes.txt', 'butterfly.json']) folder.write(name, '');
  mkdirSync(join(folder.path, 'models'));
});

async function scriptFor(shell: string): Promise<string> {
  const { code, stdout } = await run(['completion', shell]);
  expect(code).toBe(0);
  return folder.write(`script-of-${shell}.txt`, `${stdout.join('\n')}\n`);
}

const cases: [string, string[]][] = [
  ['dra', ['drain']],
  ['ben', ['bench']],
  ['bench --prompt-f', ['--prompt-file']],
  ['serve --kv', ['--kv-cache-type']],
  ['serve --kv-cache-type q', ['q8_0']],
  ['serve --port 80 --experts h', ['host']],
  ['serve ', ['models', 'small model.gguf']],
  ['serve sm', ['small model.gguf']],
  ['serve --cache-dir ', ['models']],
  ['serve --chat-template not', ['notes.txt']],
  ['serve --port ', []],
  ['token ', ['create', 'help', 'list', 'revoke']],
  ['token create --h', ['--help', '--hours']],
  ['revoke --t', ['--token']],
  ['help disc', ['discover']],
  ['completion ', ['bash', 'fish', 'zsh']],
];

describe.runIf(has('bash'))('bash', () => {
  let script: string;
  beforeAll(async () => (script = await scriptFor('bash')));

  /** What bash would offer for words, of which the last is being typed. */
  function completed(words: readonly string[]): string[] {
    const program =
      'source "$1"; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _butterfly; printf "%s\\n" "${COMPREPLY[@]}"';
    const { status, stdout, stderr } = spawnSync(
      'bash',
      ['--norc', '--noprofile', '-c', program, 'bash', script, 'butterfly', ...words],
      { cwd: folder.path, encoding: 'utf8' },
    );
    expect([status, stderr]).toEqual([0, '']);
    return stdout
      .split('\n')
      .filter((line) => line !== '')
      .sort();
  }

  it.each(cases)('completes "%s"', (line, words) => expect(completed(line.split(' '))).toEqual(words));

  it.each<[string, string[], string[]]>([
    ['all commands', [''], expect.arrayContaining(['up', 'serve', 'token', 'completion']) as string[]],
    ['a value behind =, which bash makes a word of', ['serve', '--kv-cache-type', '=', 'bf'], ['bf16']],
    ['all values behind =', ['serve', '--experts', '='], ['auto', 'device', 'host']],
    ['what an option may have', ['worker', '--insecure', ''], ['anywhere', 'loopback']],
    ['what follows a value that was left out', ['worker', '--insecure', '--disc'], ['--discover']],
    ['a second argument', ['batch', 'butterfly.json', ''], ['models', 'small model.gguf']],
    ['no third one', ['batch', 'butterfly.json', 'small model.gguf', ''], []],
    ['a prompt by nothing', ['generate', 'small model.gguf', ''], []],
  ])('completes %s', (_, words, found) => expect(completed(words)).toEqual(found));
});

describe.runIf(has('fish'))('fish', () => {
  let script: string;
  beforeAll(async () => (script = await scriptFor('fish')));

  it.each(cases)('completes "%s"', (line, words) => {
    const { status, stdout, stderr } = spawnSync(
      'fish',
      ['--no-config', '-c', 'source $argv[1]; complete -C $argv[2]', script, `butterfly ${line}`],
      { cwd: folder.path, encoding: 'utf8', env: { ...process.env, HOME: folder.path } },
    );
    expect([status, stderr]).toEqual([0, '']);
    const offered = stdout
      .split('\n')
      .filter((text) => text !== '')
      .map((text) => text.split('\t')[0]?.replace(/\/$/, ''));
    expect([...new Set(offered)].sort()).toEqual(words);
  });
});

describe.runIf(has('zsh') && hasPseudoTerminals)('zsh', () => {
  it('completes commands, options, choices and models as they are typed', async () => {
    const script = await scriptFor('zsh');
    const shell = new Conversation(`cd '${folder.path}'; exec zsh -f -i`, { HOME: folder.path });
    await shell.answer(/[%#] /, `autoload -Uz compinit; compinit -u -D; source ${script}; echo is  loaded\n`);
    await shell.answer(/is loaded/, 'butterfly dra\t');
    await shell.answer(/drain/, '\u0015butterfly serve --kv\t');
    await shell.answer(/-cache-type/, ' q\t');
    await shell.answer(/8_0/, 'sm\t');
    await shell.answer(/all\\ model\.gguf/, '\u0015butterfly token cr\t');
    await shell.answer(/eate/, '--no\t');
    await shell.answer(/te/, '\u0015exit\n');
    expect((await shell.ended()).output).not.toMatch(/command not found|parse error/);
  });
});
