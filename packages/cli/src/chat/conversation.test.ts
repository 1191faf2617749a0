import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  InputLines,
  emptyConversation,
  messagesOf,
  readCommand,
  withSystem,
  withTurn,
  withoutAnswer,
  withoutQuestion,
} from './conversation.js';

describe('readCommand', () => {
  it.each([
    ['Hello /there', { kind: 'say', text: 'Hello /there' }],
    ['  two\n lines ', { kind: 'say', text: 'two\n lines' }],
    ['', { kind: 'nothing' }],
    ['/system Be brief.\nAlways.', { kind: 'system', text: 'Be brief.\nAlways.' }],
    ['/system', { kind: 'system', text: null }],
    ['/save a file.json', { kind: 'save', path: 'a file.json' }],
    ['/load x', { kind: 'load', path: 'x' }],
    ['/again', { kind: 'again' }],
    ['/bye', { kind: 'exit' }],
  ])('reads %j', (input, command) => {
    expect(readCommand(input)).toEqual(command);
  });

  it.each(['/save', '/dance', '/', '/System x'])('says what is wrong with %j', (input) => {
    expect(readCommand(input)).toMatchObject({ kind: 'mistake' });
  });
});

describe('InputLines', () => {
  const inputs = (lines: readonly string[]) => {
    const joined = new InputLines();
    return lines.map((line) => joined.push(line)).filter((input) => input !== null);
  };

  it('joins lines that go on, and blocks', () => {
    expect(inputs(['one', 'two \\', 'three', '"""four', '', 'five"""', 'six'])).toEqual([
      'one',
      'two \nthree',
      'four\n\nfive',
      'six',
    ]);
    expect(inputs(['"""in one line"""', '"""', 'block \\', '"""'])).toEqual(['in one line', '\nblock \\\n']);
  });

  it('drops what was begun', () => {
    const joined = new InputLines();
    joined.push('"""half');
    expect(joined.isOpen).toBe(true);
    joined.drop();
    expect([joined.isOpen, joined.push('whole')]).toEqual([false, 'whole']);
  });

  it('loses nothing of plain lines', () => {
    const plain = fc
      .string()
      .filter((line) => !line.includes('\\') && !line.includes('"') && !line.includes('\n'));
    fc.assert(
      fc.property(fc.array(plain), (lines) => {
        expect(inputs(lines)).toEqual(lines);
      }),
    );
  });
});

describe('a conversation', () => {
  const talk = withTurn(withTurn(withSystem(emptyConversation, 'Brief.'), 'user', 'Hi'), 'assistant', 'Ho');

  it('is sent with its instructions first', () => {
    expect(messagesOf(talk).map(({ role }) => role)).toEqual(['system', 'user', 'assistant']);
    expect(messagesOf(withSystem(talk, null)).map(({ role }) => role)).toEqual(['user', 'assistant']);
  });

  it('can be taken back', () => {
    expect(withoutAnswer(talk)?.turns).toEqual([{ role: 'user', content: 'Hi' }]);
    expect(withoutAnswer(emptyConversation)).toBeNull();
    expect(withoutQuestion(talk)).toEqual(withSystem(emptyConversation, 'Brief.'));
    expect(withoutQuestion(emptyConversation)).toBeNull();
  });
});
