import { ButterflyError } from '@butterfly/common';
import type { ChatMessage } from './chat-message.js';
import type { ChatTemplate } from './chat-template.js';
import { type TemplateTraits, plainTraits } from './template-traits.js';
import { tryTools } from './tool-trial.js';

/** What came of trying a template on sample conversations. */
interface TemplateTrial {
  /** What is worth a warning, each a sentence. */
  readonly findings: readonly string[];
  /** Why no chat works, where none does. */
  readonly fault: ButterflyError | null;
  /** Whether what a system message says does not reach the model. */
  readonly dropsSystem: boolean;
  /** Whether a conversation may begin with a system message, which reaches the model. */
  readonly takesSystem: boolean;
  readonly traits: TemplateTraits;
}

const systemText = 'Answer with the word butterfly-4711.';
const user: ChatMessage = { role: 'user', content: 'What is a butterfly?' };
const assistant: ChatMessage = { role: 'assistant', content: 'An insect with wings.' };
const system: ChatMessage = { role: 'system', content: systemText };

const samples: readonly { readonly name: string; readonly messages: readonly ChatMessage[] }[] = [
  { name: 'a user', messages: [user] },
  { name: 'system and user', messages: [system, user] },
  { name: 'user, assistant and user', messages: [user, assistant, user] },
  { name: 'system, user, assistant and user', messages: [system, user, assistant, user] },
  {
    name: 'user, assistant, tool and user',
    messages: [user, assistant, { role: 'tool', content: '{"legs": 6}' }, user],
  },
];

/** Tries a template before a client does. A conversation that it refuses in its own words is no fault of it. */
export function tryTemplate(template: ChatTemplate): TemplateTrial {
  const findings: string[] = [];
  const refusals: ButterflyError[] = [];
  let dropsSystem = false;
  let takesSystem = false;
  for (const { name, messages } of samples) {
    try {
      const text = template.render(messages, { addGenerationPrompt: true });
      if (messages[0] === system && text.includes(systemText)) takesSystem = true;
      if (messages[0] === system && !text.includes(systemText)) dropsSystem = true;
      else if (!text.includes('What is a butterfly?'))
        findings.push(`The chat template drops what the user says in a conversation of ${name}.`);
    } catch (error) {
      if (!(error instanceof ButterflyError)) throw error;
      if (error.code === 'REQUEST_INVALID') refusals.push(error);
      else findings.push(`The chat template does not work for ${name}: ${error.message}`);
      // What fails at a single message of a user fails at all of them.
      if (error.code !== 'REQUEST_INVALID' && messages.length === 1)
        return { findings, fault: error, dropsSystem, takesSystem, traits: plainTraits };
    }
  }
  const [refusal] = refusals;
  const refusesAll = refusals.length === samples.length && refusal !== undefined;
  if (refusesAll) findings.push(`The chat template refuses every conversation: ${refusal.message}`);
  if (dropsSystem)
    findings.push(
      'The chat template drops system messages: requests with one are refused; start with --chat-template FILE to use another one.',
    );
  return {
    findings,
    fault: refusesAll ? refusal : null,
    dropsSystem,
    takesSystem: takesSystem && !dropsSystem,
    traits: refusesAll ? plainTraits : tryTools(template),
  };
}
