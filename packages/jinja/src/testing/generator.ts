import { filters, methods, numbers, sequences, strings, tests, texts } from './phrases.js';

/** Templates drawn at random, one from each seed: valid for the most part, and often with an error of types in them. */
export function drawTemplate(seed: number): string {
  return new TemplateGenerator(seed).template();
}

/** What generated templates find. */
export const generatedVariables = {
  messages: [
    { role: 'system', content: ' Be kind.\n' },
    { role: 'user', content: 'Hi <b>"you"</b> — it\'s 1+1' },
    {
      role: 'assistant',
      content: '<think>\nhm\n</think>\n\nYo',
      tool_calls: [{ name: 'f', arguments: { a: 1, b: [true, null, 2.5] } }],
    },
    { role: 'tool', content: '' },
    { role: 'user', content: 'Bye\tü 🦋\nnow ' },
  ],
  tools: [
    {
      type: 'function',
      function: {
        name: 'get',
        parameters: { type: 'object', properties: { x: { type: 'string' } }, required: ['x'] },
      },
    },
  ],
  numbers: [3, -7, 0, 12, 5],
  words: ['beta', 'Alpha', 'gamma', 'alpha', ''],
  nothing: null,
  yes: true,
  ratio: 2.5,
  count: 7,
  name: 'Ada Lovelace',
  bos_token: '<s>',
};

class TemplateGenerator {
  #state: number;
  #depth = 0;
  #inLoop = false;

  constructor(seed: number) {
    this.#state = (seed * 2_654_435_761 + 12_345) >>> 0;
  }

  template(): string {
    const parts = Array.from({ length: 1 + this.#below(2) }, () => this.#statement());
    return parts.join(this.#text());
  }

  /** mulberry32 */
  #next(): number {
    this.#state = (this.#state + 0x6d2b79f5) >>> 0;
    let mixed = this.#state;
    mixed = Math.imul(mixed ^ (mixed >>> 15), mixed | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  }

  #below(bound: number): number {
    return Math.floor(this.#next() * bound);
  }

  #pick(choices: readonly string[]): string {
    return choices[this.#below(choices.length)] ?? '';
  }

  #text(): string {
    return this.#pick(texts);
  }

  #open(kind: '%' | '{' | '#'): string {
    return `{${kind}${this.#pick(['', '', '', '-', '+'])} `;
  }

  #close(kind: '%' | '}' | '#'): string {
    return ` ${this.#pick(kind === '}' ? ['', '', '-'] : ['', '', '', '-', '+'])}${kind}}`;
  }

  #tag(inside: string): string {
    return this.#open('%') + inside + this.#close('%');
  }

  #block(begin: string, end: string, middle = ''): string {
    return this.#tag(begin) + this.#body() + middle + this.#tag(end);
  }

  #body(): string {
    const parts = Array.from({ length: 1 + this.#below(2) }, () => this.#statement());
    return this.#text() + parts.join(this.#text()) + this.#text();
  }

  #statement(): string {
    if (this.#depth > 1 + this.#below(2)) return this.#output();
    this.#depth++;
    const statement = this.#anyStatement();
    this.#depth--;
    return statement;
  }

  #anyStatement(): string {
    switch (this.#below(14)) {
      case 0:
      case 1:
        return this.#block(
          `if ${this.#expression()}`,
          'endif',
          this.#below(2) ? this.#tag('else') + this.#body() : '',
        );
      case 2:
        return (
          this.#tag(`if ${this.#expression()}`) +
          this.#body() +
          this.#tag(`elif ${this.#expression()}`) +
          this.#body() +
          this.#tag('endif')
        );
      case 3:
      case 4:
      case 5:
        return this.#loop();
      case 6:
        return this.#tag(`set ${this.#pick(['v', 'w', 'count'])} = ${this.#expression()}`);
      case 7:
        return (
          this.#tag('set ns = namespace(total=0, found=false)') +
          this.#tag(`set ns.total = ${this.#expression()}`) +
          '{{ ns.total }}'
        );
      case 8:
        return (
          this.#block(this.#pick(['set v', 'set v | trim', 'set w | upper | replace("A", "b")']), 'endset') +
          '[{{ v }}]'
        );
      case 9:
        return this.#macro();
      case 10:
        return this.#open('#') + this.#pick(['note', 'a {{ b }} c', '{% if %}']) + this.#close('#');
      case 11:
        return this.#pick([
          '{% raw %} {{ x }} {% if %} {% endraw %}',
          '{%- raw -%}\n {{ y }}\n {%- endraw -%}\n z',
          '{% generation %}{{ name }}{% endgeneration %}',
          '{% filter upper | trim %} {{ name }} {% endfilter %}',
          '{% with a = 1, b = "q" %}{{ a ~ b }}{% endwith %}{{ a }}',
          '{% for k, v in messages[2].tool_calls[0].arguments.items() %}{{ k }}={{ v }};{% endfor %}',
          '{% for n in [[1, [2]], [3, []]] recursive %}{{ n if n is number else loop(n) }}{{ loop.depth }}{% endfor %}',
        ]);
      default:
        return this.#output();
    }
  }

  #loop(): string {
    const was = this.#inLoop;
    this.#inLoop = true;
    const items = this.#pick([
      'messages',
      'numbers',
      'words',
      'range(4)',
      'tools',
      'messages[1:]',
      'numbers | sort',
      'name',
      'nothing',
      'absent',
      '[1, 2.0, "a"]',
      '{"k": 1}',
      'words | reverse',
      'messages | selectattr("role", "equalto", "user")',
    ]);
    const filter = this.#pick([
      '',
      '',
      '',
      ` if ${this.#pick(['item', 'item != 0', 'item is defined', 'item is string'])}`,
    ]);
    const leave = this.#pick([
      '',
      '',
      '',
      '{% if loop.index > 2 %}{% break %}{% endif %}',
      '{% if loop.first %}{% continue %}{% endif %}',
    ]);
    const otherwise = this.#below(4) === 0 ? this.#tag('else') + this.#text() : '';
    const loop =
      this.#tag(`for item in ${items}${filter}`) + leave + this.#body() + otherwise + this.#tag('endfor');
    this.#inLoop = was;
    return loop;
  }

  #macro(): string {
    const body = this.#body();
    const call = this.#pick(['f(1)', 'f("q", y=2)', 'f(name, numbers)', 'f()', 'f(x=1)', 'f(1, 2, 3)']);
    return `${this.#tag('macro f(x, y="d")')}${body}{{ x }}:{{ y }}${this.#tag('endmacro')}{{ ${call} }}`;
  }

  #output(): string {
    return this.#open('{') + this.#expression() + this.#close('}');
  }

  #expression(): string {
    if (this.#depth > 1 + this.#below(3)) return this.#atom();
    this.#depth++;
    const expression = this.#anyExpression();
    this.#depth--;
    return expression;
  }

  #anyExpression(): string {
    const e = (): string => this.#expression();
    switch (this.#below(17)) {
      case 0:
        return `${e()} ${this.#pick(['+', '-', '*', '/', '//', '%', '~', '~', '+'])} ${e()}`;
      case 1:
        return this.#below(5) === 0
          ? `(${this.#number()} ** ${this.#pick(['0', '2', '3', '-1', '5'])})`
          : `(${this.#number()} ${this.#pick(['+', '-', '*', '/', '//', '%'])} ${this.#number()})`;
      case 2:
        return `(${e()}) ${this.#pick(['==', '!=', '<', '>', '<=', '>=', 'in', 'not in', 'and', 'or'])} (${e()})`;
      case 3:
        return `not ${e()}`;
      case 4:
        return `(${e()} if ${e()} ${this.#below(3) ? `else ${e()}` : ''})`;
      case 5:
      case 6:
      case 7:
        return `${this.#atom()} | ${this.#filter()}`;
      case 8:
        return `${this.#atom()} is ${this.#pick(['', 'not '])}${this.#test()}`;
      case 9:
        return `${this.#string()}.${this.#method()}`;
      case 10:
        return `(${this.#sequence()})[${this.#pick(['0', '-1', '1:', ':2', '::-1', '1:-1', '-2:', '::2', '5', '1:3:2', ':-1'])}]`;
      case 11:
        return `[${e()}, ${e()}]`;
      case 12:
        return this.#pick([`{"a": ${e()}, 1: ${e()}}`, `(${e()}, ${e()})`, `(${e()},)`]);
      case 13:
        return `(${this.#atom()} | ${this.#filter()}) | ${this.#filter()}`;
      case 14:
        return `${this.#number()} ${this.#pick(['<', '<=', '==', '!='])} ${this.#number()} ${this.#pick(['<', '>', '=='])} ${this.#number()}`;
      default:
        return this.#atom();
    }
  }

  #number(): string {
    return this.#pick(numbers);
  }

  #string(): string {
    return this.#pick(strings);
  }

  #sequence(): string {
    return this.#pick(sequences);
  }

  #atom(): string {
    if (this.#inLoop && this.#below(3) === 0)
      return this.#pick([
        'item',
        'loop.index',
        'loop.index0',
        'loop.last',
        'loop.first',
        'loop.length',
        'loop.revindex',
        'loop.previtem',
        'loop.nextitem',
        'loop.cycle("a", "b")',
        'item.role',
        'item.content',
        'item["role"]',
        'loop.changed(item)',
      ]);
    switch (this.#below(6)) {
      case 0:
        return this.#number();
      case 1:
        return this.#string();
      case 2:
        return this.#sequence();
      case 3:
        return this.#pick([
          'true',
          'False',
          'none',
          'None',
          'nothing',
          'absent',
          'yes',
          'messages[0].absent',
          'tools[0].function.parameters',
          'messages[9]',
          'v',
          'w',
          'messages[0].items',
        ]).replace('messages[0].items', 'messages[0]');
      case 4:
        return this.#pick([
          'messages | length',
          'tools',
          'messages[-1]',
          '{"b": 1, "a": [1, none]}',
          '{}',
          '[]',
          '()',
          '[1, "a", none, true, 2.0]',
          'dict(a=1)',
          '"%s and %d" % (name, count)',
          '"%05.1f|%-5s|" % (ratio, "ab")',
          '"{} {x}".format(1, x=2)',
          '{0: "z", 512: "s"}[512]',
          'strftime_now("%Y-%m-%d %H:%M %b %B %A %j")',
        ]);
      default:
        return this.#string();
    }
  }

  #filter(): string {
    return this.#pick(filters);
  }

  #test(): string {
    return this.#pick(tests);
  }

  #method(): string {
    return this.#pick(methods);
  }
}
