import type { Constraint, Path, PlainConstraint } from './constraint.js';
import { gbnfGrammar } from './gbnf.js';
import { RuleBook, type Expression } from './grammar-text.js';
import { invalid } from './refusals.js';
import { patternRules } from './pattern-rules.js';
import { matching, plainForm } from './regex-grammar.js';
import { anyObject, anyValue, schemaGrammar } from './schema-grammar.js';
import { taggedGrammar } from './tagged-grammar.js';
import { eitherGrammar, tagsGrammar } from './tags-grammar.js';

/**
 * The grammar, in xgrammar's EBNF, of all answers that a constraint allows. It is the same for the same constraint, and its
 * bytes are bounded.
 * @throws ButterflyError REQUEST_INVALID for what is malformed, too large or allows no answer, REQUEST_UNSUPPORTED for what
 * answers cannot be held to; `param` is the path, such as `schema.properties.age.multipleOf`
 */
export function constraintGrammar(constraint: Constraint): string {
  const book = new RuleBook();
  const contentOf = (tag: { readonly content: PlainConstraint }, path: Path): Expression =>
    plain(tag.content, book, [...path, 'content']);
  switch (constraint.kind) {
    case 'tags':
      return book.text(tagsGrammar(constraint, contentOf, book, []));
    case 'either': {
      const text = constraint.text === null ? null : plain(constraint.text, book, []);
      return book.text(eitherGrammar(constraint, text, contentOf, book));
    }
    default:
      return book.text(plain(constraint, book, []));
  }
}

function plain(constraint: PlainConstraint, book: RuleBook, path: Path): Expression {
  switch (constraint.kind) {
    case 'json':
      anyValue(book);
      return anyObject(book);
    case 'schema': {
      const exact = (): Expression => schemaGrammar(constraint.schema, book, [...path, 'schema']);
      return constraint.isLenient === true
        ? book.attempt(exact, () => plain({ kind: 'json' }, book, path))
        : exact();
    }
    case 'tagged':
      return taggedGrammar(constraint, book, [...path, 'schema']);
    case 'regex': {
      const at = [...path, 'pattern'];
      if (constraint.pattern === '') throw invalid(at, 'must not be empty.');
      const pattern = matching(constraint.pattern, { path: at, form: plainForm, isWhole: true });
      return patternRules(pattern, book, at);
    }
    case 'grammar':
      return gbnfGrammar(constraint.grammar, book, [...path, 'grammar']);
    default:
      return constraint satisfies never;
  }
}
