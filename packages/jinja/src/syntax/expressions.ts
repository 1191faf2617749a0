import type { Arguments, Expression, FilterUse } from './ast.js';
import {
  type BinaryOperator,
  type ComparisonOperator,
  Text,
  type Value,
  unsupported,
} from '@butterfly/python';
import { foreignFilters } from '../library/filters.js';
import type { TokenStream } from './tokens.js';

/** Expressions of jinja2, method by method as in jinja2/parser.py. */
export class ExpressionParser {
  constructor(private readonly tokens: TokenStream) {}

  /** @param withCondition Whether `a if b else c` is read; not in the items of a `for`. */
  expression(withCondition = true): Expression {
    return withCondition ? this.#conditional() : this.#or();
  }

  /** One expression, or a tuple without parentheses. */
  tuple(withCondition = true, ends: readonly string[] = []): Expression {
    const items: Expression[] = [];
    let isTuple = false;
    while (!this.#isTupleEnd(ends)) {
      items.push(this.expression(withCondition));
      if (!this.tokens.take('operator', ',')) break;
      isTuple = true;
    }
    const [only] = items;
    if (!isTuple && only === undefined)
      throw this.tokens.failure(`expected an expression, got ${this.tokens.describe()}`);
    return isTuple || only === undefined ? { kind: 'tuple', items } : only;
  }

  #isTupleEnd(ends: readonly string[]): boolean {
    const { tokens } = this;
    return (
      tokens.is('variable-end') || tokens.is('block-end') || tokens.isOperator(')') || tokens.isName(...ends)
    );
  }

  #conditional(): Expression {
    let expression = this.#or();
    while (this.tokens.take('name', 'if')) {
      const test = this.#or();
      const otherwise = this.tokens.take('name', 'else') ? this.#conditional() : null;
      expression = { kind: 'conditional', test, then: expression, otherwise };
    }
    return expression;
  }

  #or(): Expression {
    let left = this.#and();
    while (this.tokens.take('name', 'or')) left = { kind: 'logic', operator: 'or', left, right: this.#and() };
    return left;
  }

  #and(): Expression {
    let left = this.#not();
    while (this.tokens.take('name', 'and'))
      left = { kind: 'logic', operator: 'and', left, right: this.#not() };
    return left;
  }

  #not(): Expression {
    return this.tokens.take('name', 'not') ? { kind: 'not', operand: this.#not() } : this.#compare();
  }

  #compare(): Expression {
    const first = this.#sum();
    const rest: { operator: ComparisonOperator; operand: Expression }[] = [];
    for (;;) {
      const operator = this.#comparison();
      if (operator === null) break;
      rest.push({ operator, operand: this.#sum() });
    }
    return rest.length === 0 ? first : { kind: 'compare', first, rest };
  }

  #comparison(): ComparisonOperator | null {
    const { tokens } = this;
    for (const operator of ['==', '!=', '<=', '>=', '<', '>'] as const)
      if (tokens.take('operator', operator)) return operator;
    if (tokens.take('name', 'in')) return 'in';
    if (!tokens.isName('not') || tokens.following.kind !== 'name' || tokens.following.text !== 'in')
      return null;
    tokens.next();
    tokens.next();
    return 'not in';
  }

  #binary(operators: readonly BinaryOperator[], operand: () => Expression): Expression {
    let left = operand();
    for (;;) {
      const operator = operators.find((candidate) => this.tokens.take('operator', candidate));
      if (operator === undefined) return left;
      left = { kind: 'binary', operator, left, right: operand() };
    }
  }

  #sum(): Expression {
    return this.#binary(['+', '-'], () => this.#concat());
  }

  #concat(): Expression {
    const first = this.#product();
    const parts = [first];
    while (this.tokens.take('operator', '~')) parts.push(this.#product());
    return parts.length === 1 ? first : { kind: 'concat', parts };
  }

  #product(): Expression {
    return this.#binary(['*', '/', '//', '%'], () => this.#binary(['**'], () => this.#unary(true)));
  }

  #unary(withFilters: boolean): Expression {
    let node: Expression;
    if (this.tokens.take('operator', '-')) node = { kind: 'negative', operand: this.#unary(false) };
    else if (this.tokens.take('operator', '+')) node = { kind: 'positive', operand: this.#unary(false) };
    else node = this.primary();
    node = this.#postfix(node);
    return withFilters ? this.#filtersAndTests(node) : node;
  }

  primary(): Expression {
    const token = this.tokens.next();
    switch (token.kind) {
      case 'name':
        return constantNamed(token.text) ?? { kind: 'name', name: token.text };
      case 'string': {
        let text = token.text;
        while (this.tokens.is('string')) text += this.tokens.next().text;
        return constant(Text.own(text));
      }
      case 'integer':
        return constant(BigInt(token.text));
      case 'float':
        return constant(Number(token.text));
      case 'operator':
        if (token.text === '(') {
          if (this.tokens.take('operator', ')')) return { kind: 'tuple', items: [] };
          const inside = this.tuple();
          this.tokens.expect('operator', ')');
          return inside;
        }
        if (token.text === '[') return { kind: 'list', items: this.#items(']') };
        if (token.text === '{') return this.#dict();
        break;
      default:
    }
    throw this.tokens.failure(`unexpected '${token.text === '' ? token.kind : token.text}'`);
  }

  #items(close: string): Expression[] {
    const items: Expression[] = [];
    while (!this.tokens.isOperator(close)) {
      if (items.length > 0) this.tokens.expect('operator', ',');
      if (this.tokens.isOperator(close)) break;
      items.push(this.expression());
    }
    this.tokens.expect('operator', close);
    return items;
  }

  #dict(): Expression {
    const entries: [Expression, Expression][] = [];
    while (!this.tokens.isOperator('}')) {
      if (entries.length > 0) this.tokens.expect('operator', ',');
      if (this.tokens.isOperator('}')) break;
      const key = this.expression();
      this.tokens.expect('operator', ':');
      entries.push([key, this.expression()]);
    }
    this.tokens.expect('operator', '}');
    return { kind: 'dict', entries };
  }

  #postfix(start: Expression): Expression {
    let node = start;
    for (;;) {
      if (this.tokens.take('operator', '.')) node = this.#attribute(node);
      else if (this.tokens.take('operator', '[')) node = this.#subscript(node);
      else if (this.tokens.isOperator('(')) node = { kind: 'call', callee: node, args: this.args() };
      else return node;
    }
  }

  #attribute(object: Expression): Expression {
    const token = this.tokens.next();
    if (token.kind === 'name') return { kind: 'attribute', object, name: token.text };
    if (token.kind !== 'integer') throw this.tokens.failure('expected name or number');
    return { kind: 'item', object, index: constant(BigInt(token.text)) };
  }

  #subscript(object: Expression): Expression {
    const bounds: (Expression | null)[] = [];
    let isSlice = false;
    if (!this.tokens.isOperator(':')) bounds.push(this.expression());
    else bounds.push(null);
    while (this.tokens.take('operator', ':')) {
      isSlice = true;
      const isEmpty = this.tokens.isOperator(']') || this.tokens.isOperator(':');
      bounds.push(isEmpty ? null : this.expression());
    }
    const [start = null, stop = null, step = null] = bounds;
    if (!isSlice && this.tokens.isOperator(',')) {
      const items = start === null ? [] : [start];
      while (this.tokens.take('operator', ',')) items.push(this.expression());
      this.tokens.expect('operator', ']');
      return { kind: 'item', object, index: { kind: 'tuple', items } };
    }
    this.tokens.expect('operator', ']');
    if (isSlice) return { kind: 'slice', object, start, stop, step };
    if (start === null) throw this.tokens.failure('expected subscript expression');
    return { kind: 'item', object, index: start };
  }

  /** What a call, filter or test is given, in parentheses. */
  args(): Arguments {
    const { tokens } = this;
    const positional: Expression[] = [];
    const named: { name: string; value: Expression }[] = [];
    let [spread, namedSpread]: (Expression | null)[] = [null, null];
    tokens.expect('operator', '(');
    for (let isFirst = true; !tokens.isOperator(')'); isFirst = false) {
      if (!isFirst) tokens.expect('operator', ',');
      if (!isFirst && tokens.isOperator(')')) break;
      if (tokens.take('operator', '**')) namedSpread = this.expression();
      else if (tokens.take('operator', '*')) spread = this.expression();
      else if (tokens.is('name') && tokens.following.kind === 'operator' && tokens.following.text === '=') {
        const name = tokens.next().text;
        tokens.next();
        named.push({ name, value: this.expression() });
      } else if (named.length > 0 || spread !== null || namedSpread !== null)
        throw tokens.failure('invalid syntax for function call expression');
      else positional.push(this.expression());
    }
    tokens.expect('operator', ')');
    return { positional, named, spread: spread ?? null, namedSpread: namedSpread ?? null };
  }

  #filtersAndTests(start: Expression): Expression {
    let node = start;
    for (;;) {
      if (this.tokens.take('operator', '|')) node = { kind: 'filter', operand: node, filter: this.filter() };
      else if (this.tokens.take('name', 'is')) node = this.#test(node);
      else if (this.tokens.isOperator('(')) node = { kind: 'call', callee: node, args: this.args() };
      else return node;
    }
  }

  filter(): FilterUse {
    const { text } = this.tokens.current;
    if (foreignFilters.has(text)) throw unsupported(`the filter ${text}`);
    return { name: this.#dottedName(), args: this.tokens.isOperator('(') ? this.args() : noArguments };
  }

  #dottedName(): string {
    let name = this.tokens.expect('name').text;
    while (this.tokens.take('operator', '.')) name += `.${this.tokens.expect('name').text}`;
    return name;
  }

  #test(operand: Expression): Expression {
    const isNegated = this.tokens.take('name', 'not');
    const name = this.#dottedName();
    const test: Expression = { kind: 'test', operand, name, args: this.#testArguments() };
    return isNegated ? { kind: 'not', operand: test } : test;
  }

  #testArguments(): Arguments {
    const { tokens } = this;
    if (tokens.isOperator('(')) return this.args();
    const { kind, text } = tokens.current;
    const begins =
      kind === 'string' ||
      kind === 'integer' ||
      kind === 'float' ||
      (kind === 'operator' && (text === '[' || text === '{')) ||
      (kind === 'name' && !['else', 'or', 'and'].includes(text));
    if (!begins) return noArguments;
    if (tokens.isName('is')) throw tokens.failure('You cannot chain multiple tests with is');
    return { ...noArguments, positional: [this.#postfix(this.primary())] };
  }
}

const noArguments: Arguments = { positional: [], named: [], spread: null, namedSpread: null };

const constant = (value: Value): Expression => ({ kind: 'constant', value });

function constantNamed(name: string): Expression | null {
  switch (name) {
    case 'true':
    case 'True':
      return constant(true);
    case 'false':
    case 'False':
      return constant(false);
    case 'none':
    case 'None':
      return constant(null);
    default:
      return null;
  }
}
