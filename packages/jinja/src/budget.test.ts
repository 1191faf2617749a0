import { describe, expect, it } from 'vitest';
import { JinjaTemplate } from './template.js';

const grown = (made: string, times: number, shown: string): string =>
  `{% set ns = namespace(a=[1]) %}{% for i in range(${times}) %}{% set ns.a = ${made} %}{% endfor %}{{ ${shown} }}`;

const lists = '{% set a = range(100000) | list %}{% for i in range(200) %}{% set x = a + a %}{% endfor %}';

describe('a template of a file', () => {
  it.each([
    ['makes long lists over and over', lists, /writes more than/u],
    ['prints a list that holds one twice, and so on', grown('[ns.a, ns.a]', 22, 'ns.a'), /parts is printed/u],
    ['writes such a one as JSON', grown('[ns.a, ns.a]', 22, 'ns.a | tojson'), /parts is printed/u],
  ])('is stopped where it %s', (_what, source, message) => {
    expect(() => new JinjaTemplate(source).render(new Map())).toThrow(message);
  });
});
