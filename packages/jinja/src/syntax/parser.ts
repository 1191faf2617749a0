import type { FilterUse, Macro, Parameter, Statement, Target } from './ast.js';
import { unsupported } from '@butterfly/python';
import { ExpressionParser } from './expressions.js';
import { tokenize } from './lexer.js';
import { TokenStream } from './tokens.js';

/** Tags of jinja2 that a template of one file has no use for. */
const foreignTags: ReadonlySet<string> = new Set([
  'extends',
  'block',
  'include',
  'import',
  'from',
  'autoescape',
  'do',
  'trans',
  'debug',
]);

/** @throws TemplateFailure syntax, or unsupported with the tag */
export function parse(template: string): readonly Statement[] {
  const parser = new StatementParser(new TokenStream(tokenize(template)));
  return parser.all();
}

class StatementParser {
  readonly #expressions: ExpressionParser;
  /** Depth of loops that `break` and `continue` may leave. */
  #loops = 0;

  constructor(private readonly tokens: TokenStream) {
    this.#expressions = new ExpressionParser(tokens);
  }

  all(): readonly Statement[] {
    const body = this.#until();
    if (!this.tokens.is('end')) throw this.tokens.failure(`unknown tag ${this.tokens.describe()}`);
    return body;
  }

  /** Statements up to a tag of one of the names, whose name is the next token then. */
  #until(...ends: readonly string[]): readonly Statement[] {
    const body: Statement[] = [];
    for (;;) {
      const token = this.tokens.next();
      switch (token.kind) {
        case 'data':
          body.push({ kind: 'text', text: token.text });
          break;
        case 'variable-begin':
          body.push({ kind: 'output', expression: this.#expressions.tuple() });
          this.tokens.expect('variable-end');
          break;
        case 'block-begin':
          if (this.tokens.isName(...ends)) return body;
          body.push(this.#statement());
          break;
        case 'end':
          if (ends.length > 0) throw this.tokens.failure(`the template ends before ${ends.join(' or ')}`);
          return body;
        default:
          throw this.tokens.failure(`unexpected ${token.kind}`);
      }
    }
  }

  #body(end: string): readonly Statement[] {
    this.tokens.expect('block-end');
    const body = this.#until(end);
    this.#close(end);
    return body;
  }

  #close(end: string): void {
    this.tokens.expect('name', end);
    this.tokens.expect('block-end');
  }

  #statement(): Statement {
    const { text: tag } = this.tokens.expect('name');
    switch (tag) {
      case 'if':
        return this.#if();
      case 'for':
        return this.#for();
      case 'set':
        return this.#set();
      case 'macro':
        return { kind: 'macro', macro: this.#macro() };
      case 'call':
        return this.#call();
      case 'filter':
        return { kind: 'filter-block', filters: this.#filterChain(), body: this.#body('endfilter') };
      case 'with':
        return this.#with();
      case 'generation':
        return { kind: 'group', body: this.#body('endgeneration') };
      case 'print': {
        const expression = this.#expressions.tuple();
        this.tokens.expect('block-end');
        return { kind: 'output', expression };
      }
      case 'break':
      case 'continue':
        if (this.#loops === 0) throw this.tokens.failure(`${tag} outside of a loop`);
        this.tokens.expect('block-end');
        return { kind: tag };
      default:
        if (foreignTags.has(tag)) throw unsupported(`the tag {% ${tag} %}`);
        throw this.tokens.failure(`Encountered unknown tag '${tag}'`);
    }
  }

  #if(): Statement {
    const test = this.#expressions.tuple(false);
    this.tokens.expect('block-end');
    const body = this.#until('elif', 'else', 'endif');
    if (this.tokens.take('name', 'elif')) return { kind: 'if', test, body, otherwise: [this.#if()] };
    const otherwise = this.tokens.take('name', 'else') ? this.#elseBody('endif') : [];
    this.#close('endif');
    return { kind: 'if', test, body, otherwise };
  }

  #elseBody(end: string): readonly Statement[] {
    this.tokens.expect('block-end');
    return this.#until(end);
  }

  #for(): Statement {
    const target = this.#target();
    this.tokens.expect('name', 'in');
    const items = this.#expressions.tuple(false, ['recursive']);
    const filter = this.tokens.take('name', 'if') ? this.#expressions.expression() : null;
    const isRecursive = this.tokens.take('name', 'recursive');
    this.tokens.expect('block-end');
    this.#loops++;
    const body = this.#until('else', 'endfor');
    this.#loops--;
    const otherwise = this.tokens.take('name', 'else') ? this.#elseBody('endfor') : [];
    this.#close('endfor');
    return { kind: 'for', target, items, filter, isRecursive, body, otherwise };
  }

  #set(): Statement {
    const target = this.#target(true);
    if (this.tokens.take('operator', '=')) {
      const value = this.#expressions.tuple();
      this.tokens.expect('block-end');
      return { kind: 'set', target, value };
    }
    const filters = this.tokens.take('operator', '|') ? this.#filterChain() : [];
    return { kind: 'set-block', target, filters, body: this.#body('endset') };
  }

  #target(withAttribute = false): Target {
    const targets: Target[] = [];
    let isTuple = false;
    while (this.tokens.is('name') || this.tokens.isOperator('(')) {
      if (this.tokens.isName('in') || this.tokens.isName('recursive')) break;
      targets.push(this.#oneTarget(withAttribute));
      if (!this.tokens.take('operator', ',')) break;
      isTuple = true;
    }
    const [only] = targets;
    if (only === undefined) throw this.tokens.failure(`can't assign to ${this.tokens.describe()}`);
    return isTuple ? { kind: 'targets', targets } : only;
  }

  #oneTarget(withAttribute: boolean): Target {
    if (this.tokens.take('operator', '(')) {
      const inside = this.#target(withAttribute);
      this.tokens.expect('operator', ')');
      return inside;
    }
    const { text: name } = this.tokens.expect('name');
    if (['true', 'false', 'none', 'True', 'False', 'None'].includes(name))
      throw this.tokens.failure(`can't assign to '${name}'`);
    if (withAttribute && this.tokens.take('operator', '.'))
      return { kind: 'attribute', object: name, name: this.tokens.expect('name').text };
    return { kind: 'name', name };
  }

  #filterChain(): readonly FilterUse[] {
    const filters = [this.#expressions.filter()];
    while (this.tokens.take('operator', '|')) filters.push(this.#expressions.filter());
    return filters;
  }

  #macro(): Macro {
    const { text: name } = this.tokens.expect('name');
    const parameters = this.#parameters();
    return { name, parameters, body: this.#outsideLoops('endmacro') };
  }

  /** A body that `break` cannot leave. */
  #outsideLoops(end: string): readonly Statement[] {
    const loops = this.#loops;
    this.#loops = 0;
    const body = this.#body(end);
    this.#loops = loops;
    return body;
  }

  #parameters(): readonly Parameter[] {
    const parameters: Parameter[] = [];
    this.tokens.expect('operator', '(');
    while (!this.tokens.isOperator(')')) {
      if (parameters.length > 0) this.tokens.expect('operator', ',');
      const { text: name } = this.tokens.expect('name');
      const fallback = this.tokens.take('operator', '=') ? this.#expressions.expression() : null;
      if (fallback === null && parameters.at(-1)?.fallback)
        throw this.tokens.failure('non-default argument follows default argument');
      parameters.push({ name, fallback });
    }
    this.tokens.expect('operator', ')');
    return parameters;
  }

  #call(): Statement {
    const parameters = this.tokens.isOperator('(') ? this.#parameters() : [];
    const call = this.#expressions.expression();
    if (call.kind !== 'call') throw this.tokens.failure('expected call');
    const body = this.#outsideLoops('endcall');
    return { kind: 'call-block', call, caller: { name: 'caller', parameters, body } };
  }

  #with(): Statement {
    const assignments: [Target, ReturnType<ExpressionParser['expression']>][] = [];
    while (!this.tokens.is('block-end')) {
      if (assignments.length > 0) this.tokens.expect('operator', ',');
      const target = this.#oneTarget(false);
      this.tokens.expect('operator', '=');
      assignments.push([target, this.#expressions.expression()]);
    }
    return { kind: 'with', assignments, body: this.#body('endwith') };
  }
}
