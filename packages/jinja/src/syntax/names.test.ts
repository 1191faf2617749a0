import { describe, expect, it } from 'vitest';
import { JinjaTemplate } from '../template.js';

const namesOf = (source: string): string[] => [...new JinjaTemplate(source).names].sort();

describe('the names that a template asks for', () => {
  it('are found wherever an expression may stand', () => {
    const source =
      "{% if enable_thinking is defined and not enable_thinking %}{{ a.b[c] | default(d) }}{% endif %}{% macro m(x=e) %}{{ f ~ 'g' }}{% endmacro %}{{ m(h, k=i) }}";
    expect(namesOf(source)).toEqual(['a', 'c', 'd', 'e', 'enable_thinking', 'f', 'h', 'i', 'm']);
  });

  it('are not those that are set, attributes, or words', () => {
    expect(namesOf("{% set a = b.c %}{% for d in e %}{{ 'f' }}{% endfor %}{# g #}h")).toEqual(['b', 'e']);
  });
});
