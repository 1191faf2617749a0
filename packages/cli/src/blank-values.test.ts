import { describe, expect, it } from 'vitest';
import { readEnvironment } from './environment.js';
import { createProgram } from './program.js';
import { run } from './testing/butterfly.js';
import { model } from './testing/models.js';

const blanks = ['', ' ', '\t\n'];
const variables = [
  ...['BUTTERFLY_TOKEN', 'BUTTERFLY_LOG', 'BUTTERFLY_LOG_FORMAT', 'BUTTERFLY_GGML_DIR', 'BUTTERFLY_MANAGED'],
  ...['HF_TOKEN', 'HUGGING_FACE_HUB_TOKEN', 'HF_ENDPOINT', 'XDG_CACHE_HOME', 'LOCALAPPDATA'],
  ...['NO_COLOR', 'FORCE_COLOR', 'TERM'],
];
const program = await createProgram('', {}, null);
const valued = program.commands.flatMap((command) => [
  ...command.options
    .filter(({ required, optional }) => required || optional)
    .map(({ long }) => [`${command.name()} ${long ?? ''}`, command.name(), long ?? ''] as const),
]);

describe('a blank variable', () => {
  it.each(variables)('%s counts as not set', (name) => {
    for (const blank of blanks)
      expect(readEnvironment({ [name]: blank })).toEqual({ environment: {}, problem: null });
    // Some value of it counts, so that the name is one that is read.
    const values = ['1', 'warn', 'json'].map((value) => readEnvironment({ [name]: value }).environment);
    expect(values).toContainEqual({ [name]: expect.any(String) as string });
  });

  it('leaves every command as it is, all of them together', async () => {
    const env = Object.fromEntries([...variables, 'HOME', 'USERPROFILE'].map((name) => [name, '']));
    expect(await run(['--version'], env)).toMatchObject({ code: 0, stderr: [] });
    const inspected = await run(['inspect', model, '--json'], env);
    expect(inspected).toMatchObject({ code: 0, stderr: [] });
    const args = ['generate', model, 'The', '--max-tokens', '2', '--threads', '1'];
    expect(await run(args, { ...env, BUTTERFLY_LOG: 'error' })).toMatchObject({ code: 0 });
  });
});

describe('a wrong variable', () => {
  it.each([['--version'], ['--help'], ['serve', '--help'], ['help', 'worker']])(
    'keeps nobody from %s %s',
    async (...args) => {
      const { code, stderr, stdout } = await run(
        args.filter((arg) => arg),
        { BUTTERFLY_LOG: 'loud' },
      );
      expect({ code, stderr }).toEqual({ code: 0, stderr: [] });
      expect(stdout.length).toBeGreaterThan(0);
    },
  );

  it('is named by what would need it, without its value', async () => {
    const { code, stderr } = await run(['status'], { BUTTERFLY_TOKEN: 'x'.repeat(513) });
    expect(code).toBe(2);
    expect(stderr).toEqual([expect.stringMatching(/^butterfly: CONFIG_INVALID: .*BUTTERFLY_TOKEN/)]);
    expect(stderr.join()).not.toContain('xxx');
  });
});

describe('a blank option', () => {
  it('is looked for in all that there are', () => {
    const names = valued.map(([name]) => name);
    expect(names).toEqual(expect.arrayContaining(['serve --token', 'serve --host', 'worker --name']));
    expect(names.length).toBeGreaterThan(60);
  });

  it.each(valued)('%s is refused', async (_, command, option) => {
    for (const blank of blanks) {
      const fresh = await createProgram(command, {}, null);
      const parsing = fresh.parseAsync([command, `${option}=${blank}`], { from: 'user' });
      await expect(parsing).rejects.toMatchObject({
        code: 'CONFIG_INVALID',
        message: expect.stringMatching(/It is blank; .*--help"\.$/s) as string,
      });
    }
  });

  it.each(program.commands.filter(({ registeredArguments: [first] }) => first && !first.variadic))(
    'and a blank argument of a command too, case %$',
    async (command) => {
      const fresh = await createProgram(command.name(), {}, null);
      const parsing = fresh.parseAsync([command.name(), ''], { from: 'user' });
      await expect(parsing).rejects.toMatchObject({ code: 'CONFIG_INVALID' });
    },
  );

  it('is one line and exit code 2', async () => {
    const { code, stderr } = await run(['serve', model, '--host', '']);
    expect(code).toBe(2);
    expect(stderr).toEqual([expect.stringMatching(/^butterfly: CONFIG_INVALID: .*--host.*blank/)]);
  });
});
