import { describe, expect, it } from 'vitest';
import { TemplateFailure, Text } from '@butterfly/python';
import { JinjaTemplate, valueOf } from './template.js';
import { conversations } from './testing/conversations.js';
import { familyTemplates } from './testing/families.js';
import { drawTemplate, generatedVariables } from './testing/generator.js';
import { hasJinja, renderByPython, type Job, type Rendering } from './testing/python.js';

if (!hasJinja)
  console.warn("Debian's python3-jinja2 is not installed: templates are not compared with Python's jinja2.");

/** The moment of testing/render.py. */
const now = (): Date => new Date(2024, 6, 6, 5, 4, 3);

function render({ template, variables }: Job): Rendering {
  const values = new Map(
    Object.entries(variables).map(
      ([name, value]) => [name, valueOf(value, (text) => Text.client(text))] as const,
    ),
  );
  try {
    return { text: new JinjaTemplate(template, now).render(values).value };
  } catch (error) {
    if (error instanceof TemplateFailure) return { error: error.message };
    throw error;
  }
}

/** The same text, or an error on both sides: words of errors may differ. */
async function expectSame(jobs: readonly Job[]): Promise<{ readonly rendered: number }> {
  const byPython = await renderByPython(jobs);
  let rendered = 0;
  const differences = jobs.flatMap((job, index) => {
    const [ours, theirs] = [render(job), byPython[index] ?? {}];
    if (theirs.text !== undefined) rendered++;
    // Addresses of Python's objects are of no meaning.
    const isAlike =
      theirs.text === undefined
        ? ours.error !== undefined
        : ours.text === theirs.text || / at 0x|<built-in /.test(theirs.text);
    return isAlike ? [] : [{ template: job.template, ours, theirs }];
  });
  expect(differences).toEqual([]);
  expect(byPython).toHaveLength(jobs.length);
  return { rendered };
}

const fixed: Readonly<Record<string, string>> = {
  'a plus that keeps white space':
    '{% for m in messages %}{%+ if true +%}[{{ m.role }}]{% endif %} {{ m.content }}\n{% endfor %}',
  'a filter on none':
    "{% set tools = none %}{{ tools | selectattr('type', 'equalto', 'x') | list | length }} {{ tools | string }}",
  'a filter on undefined':
    "{{ absent | selectattr('a') | list }}{{ absent | default('d') }}{{ absent | trim }}|",
  'whole numbers as keys': "{% set b = {0: 'none', 512: 'short'} %}{{ b[512] }}{{ b[0] }}{{ b.get(512) }}",
  'nothing at all': '',
  'windows line ends': '{% if true %}\r\n a\r\n{% endif %}\r\n b\r\n',
  'numbers and truth':
    '{{ 1 == 1.0 }}{{ "1" == 1 }}{{ -7 // 2 }}{{ -7 % 3 }}{{ 7 / 2 }}{{ 1e16 }}{{ 0.1 + 0.2 }}{{ true + 1 }}{{ 2 ** -1 }}',
  'lists as Python prints them': '{{ [1, 2.0, "it\'s", none, true, {"a": (1,)}] }}',
  'none said by a template': '{{ none }}{{ none ~ 1 }}{{ "a" ~ true }}{{ messages[0].absent ~ "x" }}',
  scopes:
    '{% set x = 1 %}{% for i in [1, 2] %}{{ x }}{% set x = 5 %}{{ x }}{% endfor %}{{ x }}{% if true %}{% set x = 9 %}{% endif %}{{ x }}',
  'tests with arguments': "{{ 9 is divisibleby 3 }}{{ 'a' is in ['a'] }}{{ 3 is eq(3) and not 4 is odd }}",
  'comparisons in a row': '{{ 1 < 2 < 3 }}{{ 1 < 2 > 3 }}',
  'methods before keys': "{% for k, v in {'items': 1, 'b': 2}.items() %}{{ k }}{{ v }}{% endfor %}",
  'values that are none':
    "{{ {'a': none}.a }}{{ {'a': none}['a'] is none }}{{ [none] | first }}{{ none | default('d') }}",
};

describe.skipIf(!hasJinja)("the templates beside Python's jinja2", () => {
  it.each(Object.entries(fixed))('renders %s alike', async (_, template) => {
    const messages = [
      { role: 'user', content: 'Hi' },
      { role: 'assistant', content: ' Yo\n' },
    ];
    const { rendered } = await expectSame([{ template, variables: { messages } }]);
    expect(rendered).toBe(1);
  });

  it.each(Object.entries(familyTemplates))('renders conversations of %s alike', async (_, template) => {
    const jobs = Object.values(conversations).flatMap((conversation) =>
      [true, false].map((add_generation_prompt) => ({
        template,
        variables: {
          tools: null,
          documents: null,
          bos_token: '<s>',
          eos_token: '</s>',
          add_generation_prompt,
          ...conversation,
        },
      })),
    );
    const { rendered } = await expectSame(jobs);
    expect(rendered).toBeGreaterThan(3);
  });

  it('renders generated templates alike', async () => {
    const first = 100_000 * Number(process.env.FC_SEED ?? 1);
    const jobs = Array.from({ length: 2000 }, (_, index) => ({
      template: drawTemplate(first + index),
      variables: generatedVariables,
    }));
    const { rendered } = await expectSame(jobs);
    expect(rendered).toBeGreaterThan(500);
  });
});
