import { type ToolFamilyName, toolTemplates } from '@butterfly/text/testing';
import { describe, expect, it } from 'vitest';
import { syntaxOf } from './families.js';

const signs = { specialTexts: new Set<string>(), describesTools: false };

describe('syntaxOf', () => {
  const found = (family: ToolFamilyName) => {
    const { calls, reasoning, hasChannels } = syntaxOf({ ...signs, chatTemplate: toolTemplates[family] });
    return [hasChannels ? 'channels' : (calls?.kind ?? null), reasoning?.begin ?? null];
  };

  it.each([
    ['llama3', 'object', null],
    ['hermes', 'object', '<think>'],
    ['qwenCoder', 'tagged', null],
    ['mistralList', 'object', null],
    ['mistralArgs', 'headed', '[THINK]'],
    ['harmony', 'channels', null],
    ['deepseekR1', 'headed', '<think>'],
    ['deepseekV31', 'headed', '<think>'],
    ['glm', 'tagged', '<think>'],
    ['kimi', 'headed', null],
    ['minimax', 'tagged', '<think>'],
    ['gemma', null, null],
    ['chatml', null, null],
  ] as const)('finds the family of %s', (family, calls, reasoning) => {
    expect(found(family)).toEqual([calls, reasoning]);
  });

  it('does not take a family for another one that shares a marker with it', () => {
    const callsOf = (chatTemplate: string) => syntaxOf({ ...signs, chatTemplate }).calls;
    expect(callsOf('<|python_tag|><function={{ name }}>{{ arguments }}</function>')).toBeNull();
    expect(callsOf('][<tool_call>][<invoke name="{{ name }}">][</invoke>][</tool_call>')).toBeNull();
    expect(callsOf('{{ messages }}')).toBeNull();
  });

  it('knows reasoning by tokens too, and the tokens that end a call', () => {
    const specialTexts = new Set(['<think>', '</think>', '<|eom_id|>', '<|eot_id|>']);
    const { reasoning, ends } = syntaxOf({ chatTemplate: null, specialTexts, describesTools: false });
    expect(reasoning).toEqual({ begin: '<think>', end: '</think>' });
    expect(ends).toEqual(['<|eom_id|>']);
  });

  it('has calls as words of ours asked for, where the template knows none', () => {
    const { calls } = syntaxOf({ ...signs, chatTemplate: toolTemplates.chatml, describesTools: true });
    expect(calls).toMatchObject({ kind: 'object', brackets: { begin: '<tool_call>', end: '</tool_call>' } });
  });
});
